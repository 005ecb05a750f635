"""Typed secrets for those who need them: cached for minutes, audited before they are released.

1. The audit log is written before the store is asked: no audit, no secret. What is in the cache was
   released already. Shredding alone goes on without an audit log, and says so.
2. A read from the store happens once, however many wait for it.
3. A change is told to every process; one that did not listen for a while forgets everything.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.flights import Flights
from trading_platform.secrets.model import (
    AIProviderCredentials,
    DataSourceCredentials,
    ExchangeCredentials,
)
from trading_platform.secrets.paths import SecretKind, SecretName, parse
from trading_platform.secrets.payloads import Credentials, from_payload, to_payload
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretDescription, SecretStore

CHANNEL = "secrets-changed"
TTL_S = 300.0
ENTRIES_MAX = 10_000
PLATFORM_ACTOR = "platform"

Publish = Callable[[str, bytes], Awaitable[None]]
Subscribe = Callable[[str], AsyncIterator[bytes | None]]
Test = Callable[[Credentials], Awaitable[None]]

TYPES: Mapping[SecretKind, type[Credentials]] = {
    SecretKind.EXCHANGE: ExchangeCredentials,
    SecretKind.AI_PROVIDER: AIProviderCredentials,
    SecretKind.DATA_SOURCE: DataSourceCredentials,
}


class Audit(Protocol):
    """Where it is written down who reads and changes secrets."""

    async def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        target: str,
        details: Mapping[str, str] = ...,
    ) -> object:
        """Durable when it returns; raises when it could not be written."""


class Log(Protocol):
    """Structured log lines."""

    def warning(self, event: str, **fields: Any) -> Any: ...


_Slot = tuple[str, str, str | None, str]
"""What is cached under one key: kind, provider, tenant, stage. Plain texts: this is on the way of
every order, and the members of an Enum take long to hash.
"""

_EXCHANGES, _CURRENT = str(SecretKind.EXCHANGE.value), str(Stage.CURRENT.value)


class SecretsManager:
    """The requirements' secrets service; a secret's id is its path."""

    def __init__(
        self,
        store: SecretStore,
        audit: Audit,
        clock: Clock,
        *,
        environment: str,
        publish: Publish | None = None,
        subscribe: Subscribe | None = None,
        ttl_s: float = TTL_S,
        log: Log | None = None,
    ) -> None:
        self._store = store
        self._audit = audit
        self._environment = environment
        self._publish = publish
        self._subscribe = subscribe
        self._log = log
        self._flights: Flights[Credentials] = Flights(clock, ttl_s=ttl_s, entries_max=ENTRIES_MAX)

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: str, *, stage: Stage = Stage.CURRENT
    ) -> ExchangeCredentials:
        """A tenant's key pair; NOT_FOUND."""
        label = _CURRENT if stage is Stage.CURRENT else stage.value
        slot = (_EXCHANGES, exchange_id.lower(), tenant_id, label)
        found = self._flights.known(slot) or await self._read(slot)
        assert isinstance(found, ExchangeCredentials)  # noqa: S101 - the slot's kind says so
        return found

    async def get_ai_provider_credentials(self, provider_id: str) -> AIProviderCredentials:
        """The platform's key at an AI provider; NOT_FOUND."""
        slot = (SecretKind.AI_PROVIDER.value, provider_id.lower(), None, _CURRENT)
        found = self._flights.known(slot) or await self._read(slot)
        assert isinstance(found, AIProviderCredentials)  # noqa: S101 - the slot's kind says so
        return found

    async def get_data_source_credentials(self, source_id: str) -> DataSourceCredentials:
        """The platform's key at a data source; NOT_FOUND."""
        slot = (SecretKind.DATA_SOURCE.value, source_id.lower(), None, _CURRENT)
        found = self._flights.known(slot) or await self._read(slot)
        assert isinstance(found, DataSourceCredentials)  # noqa: S101 - the slot's kind says so
        return found

    def secret_id(self, tenant_id: str, exchange_id: str) -> str:
        """The path of a tenant's key pair."""
        return self._name((_EXCHANGES, exchange_id.lower(), tenant_id, _CURRENT)).path

    async def put_exchange_credentials(
        self,
        tenant_id: str,
        exchange_id: str,
        credentials: ExchangeCredentials,
        *,
        actor: str,
        stage: Stage = Stage.CURRENT,
        version_id: str | None = None,
    ) -> str:
        """Keep a new version and tell its id. The same `version_id` may be put again."""
        secret_id = self.secret_id(tenant_id, exchange_id)
        return await self.put(
            secret_id, credentials, actor=actor, stage=stage, version_id=version_id
        )

    async def put(
        self,
        secret_id: str,
        credentials: Credentials,
        *,
        actor: str,
        stage: Stage = Stage.CURRENT,
        version_id: str | None = None,
    ) -> str:
        """Keep a new version of any secret and tell its id."""
        name = parse(secret_id)
        if not isinstance(credentials, TYPES[name.kind]):
            raise ServiceError(
                f"{secret_id} holds {TYPES[name.kind].__name__}, nothing else", "INVALID_REQUEST"
            )
        version_id = version_id or str(uuid4())
        await self._note(name, actor, "SECRET_STORED", version_id, stage=stage)
        try:
            await self._store.put(secret_id, version_id, to_payload(credentials), stage=stage)
        finally:
            # Also after a failure: the store may have written before its answer was lost.
            await self.announce(secret_id)
        return version_id

    async def rotate_secret(
        self, secret_id: str, *, test: Test, actor: str = PLATFORM_ACTOR
    ) -> str:
        """Test the staged version and make it current; its id. May be repeated after a crash at
        any step. A test that raises leaves everything as it was.

        The version before stays AWSPREVIOUS until `retire`: requests under way may still need it.
        """
        staged = (await self._store.describe(secret_id)).version_at(Stage.PENDING)
        if staged is None:
            raise ServiceError(
                f"nothing is staged for {secret_id}. Keys are made at their issuer: stage the new "
                "one first.",
                "CONFLICT",
            )
        name = parse(secret_id)
        await test(await self._released(name, Stage.PENDING, actor))
        await self.promote(secret_id, staged, actor=actor)
        return staged

    async def promote(self, secret_id: str, version_id: str, *, actor: str) -> None:
        """Make a version current; the one before it becomes the previous one."""
        await self._note(parse(secret_id), actor, "SECRET_SWITCHED", version_id)
        try:
            await self._store.promote(secret_id, version_id)
        finally:
            await self.announce(secret_id)

    async def retire(self, secret_id: str, version_id: str, *, actor: str) -> None:
        """Let go of a version that is not current."""
        await self._note(parse(secret_id), actor, "SECRET_RETIRED", version_id)
        try:
            await self._store.retire(secret_id, version_id)
        finally:
            await self.announce(secret_id)

    async def shred(self, secret_id: str, *, actor: str) -> None:
        """Let go of the secret, all versions, whatever else is broken."""
        unwritten = None
        try:
            await self._note(parse(secret_id), actor, "SECRET_SHREDDED", "all")
        except ServiceError as error:
            unwritten = error
        try:
            await self._store.shred(secret_id)
        finally:
            await self.announce(secret_id)
        if unwritten is not None:
            raise ServiceError(
                f"{secret_id} is shredded, but that is not written down: {unwritten.message}",
                unwritten.code,
                metadata={**unwritten.metadata, "done": True},
            ) from unwritten

    async def describe(self, secret_id: str) -> SecretDescription:
        """Versions, labels and times; never a secret."""
        return await self._store.describe(secret_id)

    def invalidate_cache(self, secret_id: str) -> None:
        """Forget a secret in this process."""
        name = parse(secret_id)
        for stage in Stage:
            self._flights.forget((name.kind.value, name.provider, name.tenant_id, stage.value))

    async def announce(self, secret_id: str) -> None:
        """Forget a secret in every process that listens; the others forget it by its age."""
        self.invalidate_cache(secret_id)
        if self._publish is None:
            return
        try:
            await self._publish(CHANNEL, secret_id.encode())
        except ServiceError as error:
            if self._log is not None:
                self._log.warning("secret change not announced", error=error.message)

    async def run(self) -> None:
        """Follow the changes that other processes announce; raises when the connection breaks."""
        if self._subscribe is None:
            return
        async for message in self._subscribe(CHANNEL):
            if message is None:
                # Listening has just begun: what was said before was missed.
                self._flights.forget_all()
                continue
            try:
                self.invalidate_cache(message.decode())
            except (ServiceError, UnicodeDecodeError):
                self._flights.forget_all()

    async def _read(self, slot: _Slot) -> Credentials:
        name = self._name(slot)
        return await self._flights.read(
            slot, lambda: self._released(name, Stage(slot[3]), PLATFORM_ACTOR)
        )

    async def _released(self, name: SecretName, stage: Stage, actor: str) -> Credentials:
        await self._audit.append(
            name.owner,
            actor=actor,
            action="SECRET_READ",
            target=name.path,
            details={"stage": stage.value},
        )
        stored = await self._store.get(name.path, stage=stage)
        return from_payload(stored.payload, TYPES[name.kind])

    async def _note(
        self,
        name: SecretName,
        actor: str,
        action: str,
        version_id: str,
        *,
        stage: Stage | None = None,
    ) -> None:
        details = {"version": version_id} | ({"stage": stage.value} if stage else {})
        await self._audit.append(
            name.owner, actor=actor, action=action, target=name.path, details=details
        )

    def _name(self, slot: _Slot) -> SecretName:
        kind, provider, tenant_id, _ = slot
        name = SecretName(
            environment=self._environment,
            kind=SecretKind(kind),
            provider=provider,
            tenant_id=tenant_id,
        )
        return parse(name.path)

"""Two keys that overlap: stage -> test -> switch -> retire, each by the tenant's own hand.

1. Exchanges issue keys, we do not: the tenant makes the new one there and ends the old one there.
2. Every step may be repeated, and a stop between any two leaves both keys in custody: orders go on
   with the one that is current.
3. Only a key that was tested within TESTED_FOR is switched to.
"""

from datetime import timedelta

from msgspec.structs import replace

from trading_platform.exchanges.credential_rows import GONE, CredentialRow, KeyFacts, fingerprint
from trading_platform.exchanges.credentials import CredentialService, validated
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.stages import Stage

TESTED_FOR = timedelta(hours=1)


class KeyRotation:
    """Rotations of all tenants' keys."""

    def __init__(self, service: CredentialService) -> None:
        self._service = service

    async def stage(
        self,
        tenant_id: str,
        exchange_id: ExchangeId,
        credentials: ExchangeCredentials,
        *,
        actor: str,
    ) -> CredentialRow:
        """Put the new key beside the one in use; one staged before it is replaced."""
        service, account = self._service, (tenant_id, exchange_id)
        service.check_form(exchange_id, credentials)
        row = _with_key(await self.settled(tenant_id, exchange_id))
        facts = service.facts(credentials, None)
        if row.current is not None and facts.fingerprint == row.current.fingerprint:
            raise ServiceError(
                "this is the key in use; make a new one at the exchange.", "INVALID_REQUEST"
            )
        await service.note(*account, actor, "CREDENTIAL_STAGED", {"fingerprint": facts.fingerprint})
        now = service.clock.now()
        await service.rows.change(
            *account, lambda row: replace(_with_key(row), pending=facts, changed_at=now)
        )
        await service.custody.put(
            *account,
            replace(credentials, created_at=now),
            version_id=facts.version_id,
            stage=Stage.PENDING,
            actor=actor,
        )
        return await service.view(*account)

    async def test(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> CredentialRow:
        """Ask the exchange about the staged key. CREDENTIAL_REFUSED leaves it staged."""
        service, account = self._service, (tenant_id, exchange_id)
        pending = _pending(await self.settled(tenant_id, exchange_id))
        credentials = await self._staged(tenant_id, exchange_id, pending)
        rights = await service.judged(*account, credentials, actor=actor)
        now = service.clock.now()

        def tested(row: CredentialRow | None) -> CredentialRow:
            row = _with_key(row)
            if _pending(row).version_id != pending.version_id:
                raise ServiceError("another key was staged meanwhile; test that one.", "CONFLICT")
            return replace(row, pending=validated(pending, rights, now), changed_at=now)

        return await service.rows.change(*account, tested)

    async def switch(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> CredentialRow:
        """Sign with the tested key from now on; the one before stays for a while."""
        service, account = self._service, (tenant_id, exchange_id)
        pending = _pending(await self.settled(tenant_id, exchange_id))
        tested_at = pending.validated_at
        if tested_at is None or service.clock.now() - tested_at > TESTED_FOR:
            raise ServiceError(
                "the staged key was not tested within the last hour; test it first.", "CONFLICT"
            )
        await service.note(
            *account, actor, "CREDENTIAL_SWITCHED", {"fingerprint": pending.fingerprint}
        )
        await service.custody.promote(*account, pending.version_id, actor=actor)
        return await service.arrived(*account, pending)

    async def retire(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> CredentialRow:
        """Let go of the key before the current one; then end it at the exchange."""
        service, account = self._service, (tenant_id, exchange_id)
        row = _with_key(await self.settled(tenant_id, exchange_id))
        previous = row.previous
        if previous is None:
            raise ServiceError("there is no key before this one to retire.", "CONFLICT")
        await service.note(
            *account, actor, "CREDENTIAL_RETIRED", {"fingerprint": previous.fingerprint}
        )
        await service.custody.retire(*account, previous.version_id, actor=actor)
        now = service.clock.now()

        def retired(row: CredentialRow | None) -> CredentialRow:
            row = _with_key(row)
            same = row.previous is not None and row.previous.version_id == previous.version_id
            row = replace(row, previous=None, changed_at=now) if same else row
            return service.scheduled(row)

        return await service.rows.change(*account, retired)

    async def settled(self, tenant_id: str, exchange_id: ExchangeId) -> CredentialRow:
        """The row, after finishing what a stop left between custody and the row."""
        service = self._service
        row = await service.view(tenant_id, exchange_id)
        awaited = [facts for facts in (row.incoming, row.pending) if facts is not None]
        if row.status in GONE or not awaited:
            return row
        now = await self._current_print(tenant_id, exchange_id)
        for facts in awaited:
            if facts.fingerprint == now:
                return await service.arrived(tenant_id, exchange_id, facts)
        return row

    async def _staged(
        self, tenant_id: str, exchange_id: ExchangeId, pending: KeyFacts
    ) -> ExchangeCredentials:
        lost = ServiceError("the staged key did not arrive in custody; stage it again.", "CONFLICT")
        try:
            found = await self._service.custody.get(tenant_id, exchange_id, stage=Stage.PENDING)
        except ServiceError as error:
            if error.code == "NOT_FOUND":
                raise lost from error
            raise
        if fingerprint(found.api_key) != pending.fingerprint:
            raise lost
        return found

    async def _current_print(self, tenant_id: str, exchange_id: ExchangeId) -> str | None:
        await self._service.custody.renew(tenant_id, exchange_id)
        try:
            credentials = await self._service.custody.get(tenant_id, exchange_id)
        except ServiceError as error:
            if error.code != "NOT_FOUND":
                raise
            return None
        return fingerprint(credentials.api_key)


def _with_key(row: CredentialRow | None) -> CredentialRow:
    if row is None or row.status in GONE or row.current is None:
        raise ServiceError("there is no key in use to rotate; submit one first.", "CONFLICT")
    return row


def _pending(row: CredentialRow) -> KeyFacts:
    if row.pending is None:
        raise ServiceError("no key is staged; stage the new one first.", "CONFLICT")
    return row.pending

"""Creating tenants and keys, and answering who is asking.

1. A key is shown once, when it is made. Stored is only its keyed hash.
2. Unknown, wrong and revoked keys get one and the same refusal, after the same work.
3. A revoked key or suspended tenant is refused at once here, and within CACHE_TTL_S in every other
   process.
4. Every change is one transaction with its entry in the tenant's audit log. Only revoking and
   suspending go ahead without one, and then say so.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.ids import sortable_id
from trading_platform.storage.records import ABSENT, Records
from trading_platform.tenants import keys
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.audit_chain import PLATFORM_LOG, AuditAction
from trading_platform.tenants.model import (
    DEFAULT_PERMISSIONS,
    ApiKey,
    Caller,
    Permission,
    Tenant,
    TenantStatus,
    Tier,
    expand,
)
from trading_platform.tenants.store import ApiKeys, StoredKey, StoredTenant, Tenants, find_key

CACHE_TTL_S = 1.0
CACHE_SIZE_MAX = 10_000
NAME_LENGTH_MAX = 100
ID_LENGTH_MAX = 64
PAGE_SIZE = 500
LISTED_MAX = 10_000

OPERATOR = "operator"
"""Who acts when nobody else is named: whoever holds the data folder."""

_NO_HASH = bytes(32)
_STATUS_ACTIONS: Mapping[TenantStatus, AuditAction] = {
    TenantStatus.SUSPENDED: AuditAction.TENANT_SUSPENDED,
    TenantStatus.ACTIVE: AuditAction.TENANT_RESUMED,
}


class _Known(NamedTuple):
    caller: Caller
    until: float


class TenantService:
    """Tenants and their API keys, kept in `records`; `pepper` is kept outside of them."""

    def __init__(
        self, records: Records, pepper: bytes, clock: Clock, audit: AuditLog | None = None
    ) -> None:
        if len(pepper) < keys.PEPPER_BYTES_MIN:
            raise ServiceError(
                f"The pepper for API keys has {len(pepper)} bytes;"
                f" {keys.PEPPER_BYTES_MIN} random ones are needed.",
                "UNUSABLE_DATA",
            )
        self._records = records
        self._tenants = Tenants(records)
        self._audit = audit or AuditLog(records, clock)
        self._pepper = pepper
        self._clock = clock
        self._known: dict[bytes, _Known] = {}

    async def create_tenant(self, name: str, tier: Tier, *, actor: str = OPERATOR) -> Tenant:
        """A new, active tenant.

        The platform's log names it first, so that a log of its own that vanishes whole is missed.
        """
        tenant = Tenant(
            tenant_id=sortable_id("tenant", self._clock.time_ns()),
            name=_checked_name("tenant", name),
            tier=tier,
            status=TenantStatus.ACTIVE,
            created_at=self._clock.now(),
        )
        details = {"name": tenant.name, "tier": tenant.tier.value}
        created = partial(
            self._audit.append,
            actor=actor,
            action=AuditAction.TENANT_CREATED,
            target=tenant.tenant_id,
            details=details,
        )
        await created(PLATFORM_LOG)
        await created(tenant.tenant_id, along=[self._tenants.saving(tenant, expect=ABSENT)])
        return tenant

    async def get_tenant(self, tenant_id: str) -> Tenant:
        """The tenant; NOT_FOUND otherwise."""
        return (await self._stored(tenant_id)).tenant

    async def list_tenants(self) -> list[Tenant]:
        """All tenants, oldest first; at most LISTED_MAX."""
        tenants: list[Tenant] = []
        after: str | None = None
        while len(tenants) < LISTED_MAX:
            page, after = await self._tenants.page(limit=PAGE_SIZE, after=after)
            tenants += page
            if after is None:
                break
        return tenants

    async def suspend_tenant(self, tenant_id: str, *, actor: str = OPERATOR) -> Tenant:
        """Refuse all keys of the tenant until it is resumed."""
        return await self._change_status(tenant_id, TenantStatus.SUSPENDED, actor)

    async def resume_tenant(self, tenant_id: str, *, actor: str = OPERATOR) -> Tenant:
        """Let the tenant's keys work again."""
        return await self._change_status(tenant_id, TenantStatus.ACTIVE, actor)

    async def create_api_key(
        self,
        tenant_id: str,
        *,
        name: str,
        permissions: Iterable[Permission] = DEFAULT_PERMISSIONS,
        actor: str = OPERATOR,
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which cannot be read again."""
        granted = frozenset(permissions)
        if not granted:
            raise ServiceError("Grant the API key at least one permission.", "INVALID_REQUEST")
        stored = await self._stored(tenant_id)
        if stored.tenant.status is not TenantStatus.ACTIVE:
            raise _suspended()
        fresh = keys.new_key()
        key = ApiKey(
            key_id=fresh.key_id,
            tenant_id=tenant_id,
            name=_checked_name("API key", name),
            permissions=granted,
            created_at=self._clock.now(),
        )
        await self._audit.append(
            tenant_id,
            actor=actor,
            action=AuditAction.API_KEY_CREATED,
            target=key.key_id,
            details={"name": key.name, "permissions": " ".join(sorted(granted))},
            along=ApiKeys(self._records, tenant_id).adding(
                key, keys.keyed_hash(fresh, self._pepper), tenant_version=stored.version
            ),
        )
        return key, fresh.text

    async def list_api_keys(self, tenant_id: str) -> list[ApiKey]:
        """The tenant's keys, revoked ones too, oldest first; at most LISTED_MAX."""
        await self._stored(tenant_id)
        store, found = ApiKeys(self._records, tenant_id), list[ApiKey]()
        after: str | None = None
        while len(found) < LISTED_MAX:
            page, after = await store.page(limit=PAGE_SIZE, after=after)
            found += page
            if after is None:
                break
        return found

    async def revoke_api_key(self, tenant_id: str, key_id: str, *, actor: str = OPERATOR) -> ApiKey:
        """Refuse the key from now on, for ever; NOT_FOUND unless it is the tenant's own."""
        store = ApiKeys(self._records, tenant_id)
        stored = await store.find(key_id) if _could_be_id(key_id) else None
        if stored is None:
            raise ServiceError(f"No API key {key_id[:20]!r} of this tenant.", "NOT_FOUND")
        if stored.key.revoked_at is not None:
            return stored.key
        revoked = msgspec.structs.replace(stored.key, revoked_at=self._clock.now())
        try:
            await self._audit.append_to_stop(
                tenant_id,
                actor=actor,
                action=AuditAction.API_KEY_REVOKED,
                target=key_id,
                details={"name": revoked.name},
                along=[store.saving(msgspec.structs.replace(stored, key=revoked))],
            )
        finally:
            self._forget(tenant_id)
        return revoked

    async def authenticate(self, bearer: str) -> Caller:
        """Who presents this key; NOT_AUTHENTICATED unless it is a live key of an active tenant."""
        presented = keys.parse(bearer)
        if presented is None:
            raise _refused()
        proof = keys.keyed_hash(presented, self._pepper)
        known = self._known.get(proof)
        if known is not None and self._clock.monotonic() < known.until:
            return known.caller
        # Stamped before the rows are read: what they said may change right after.
        until = self._clock.monotonic() + CACHE_TTL_S
        caller = await self._identify(presented.key_id, proof)
        self._remember(proof, _Known(caller, until))
        return caller

    async def _identify(self, key_id: str, proof: bytes) -> Caller:
        stored = await find_key(self._records, key_id)
        genuine = keys.matches(_NO_HASH if stored is None else stored.keyed_hash, proof)
        if stored is None or not genuine or stored.key.revoked_at is not None:
            raise _refused()
        return await self._caller(stored)

    async def _caller(self, stored: StoredKey) -> Caller:
        owner = await self._tenants.find(stored.key.tenant_id)
        if owner is None:
            raise _refused()
        if owner.tenant.status is not TenantStatus.ACTIVE:
            raise _suspended()
        return Caller(
            tenant_id=owner.tenant.tenant_id,
            tier=owner.tenant.tier,
            key_id=stored.key.key_id,
            permissions=expand(stored.key.permissions),
        )

    async def _stored(self, tenant_id: str) -> StoredTenant:
        found = await self._tenants.find(tenant_id) if _could_be_id(tenant_id) else None
        if found is None:
            raise ServiceError(f"No tenant {tenant_id[:40]!r}.", "NOT_FOUND")
        return found

    async def _change_status(self, tenant_id: str, status: TenantStatus, actor: str) -> Tenant:
        stored = await self._stored(tenant_id)
        changed = msgspec.structs.replace(stored.tenant, status=status)
        stops = status is TenantStatus.SUSPENDED
        act = self._audit.append_to_stop if stops else self._audit.append
        try:
            await act(
                tenant_id,
                actor=actor,
                action=_STATUS_ACTIONS[status],
                target=tenant_id,
                along=[self._tenants.saving(changed, expect=stored.version)],
            )
        finally:
            self._forget(tenant_id)
        return changed

    def _remember(self, proof: bytes, known: _Known) -> None:
        self._known.pop(proof, None)
        while len(self._known) >= CACHE_SIZE_MAX:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[proof] = known

    def _forget(self, tenant_id: str) -> None:
        kept = {
            proof: known
            for proof, known in self._known.items()
            if known.caller.tenant_id != tenant_id
        }
        self._known = kept


def _could_be_id(text: str) -> bool:
    return 1 <= len(text) <= ID_LENGTH_MAX and text.isascii()


def _checked_name(kind: str, name: str) -> str:
    if not (1 <= len(name) <= NAME_LENGTH_MAX and name.isprintable() and name.strip() == name):
        raise ServiceError(
            f"The name of a {kind} has 1 to {NAME_LENGTH_MAX} printable characters"
            " and does not start or end with a space.",
            "INVALID_REQUEST",
        )
    return name


def _refused() -> ServiceError:
    return ServiceError("The API key is missing, unknown or revoked.", "NOT_AUTHENTICATED")


def _suspended() -> ServiceError:
    return ServiceError("This tenant is suspended; ask the operator.", "NOT_PERMITTED")

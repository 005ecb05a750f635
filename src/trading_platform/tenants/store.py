"""Where tenants and their keys are kept.

Changes are given as writes, so that they can be made together with their entry in the audit log.
`Tenants` and `find_key` serve the platform itself, which does not yet know who asks. All else about
keys goes through `ApiKeys`, opened for one tenant.
"""

from datetime import datetime
from typing import Any

import msgspec

from trading_platform.storage.records import ABSENT, Check, Key, Put, Record, Records, Write
from trading_platform.storage.tables import API_KEYS, TENANTS
from trading_platform.tenants.model import ApiKey, Tenant

ALL_TENANTS = "tenants"  # the one partition of the index that lists every tenant
_SORT = "profile"


class StoredTenant(msgspec.Struct, frozen=True):
    """A tenant and the version of its row."""

    tenant: Tenant
    version: int


class StoredKey(msgspec.Struct, frozen=True):
    """A key, the keyed hash that proves it, and the version of its row."""

    key: ApiKey
    keyed_hash: bytes
    version: int


class Tenants:
    """All tenants of the platform."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def find(self, tenant_id: str) -> StoredTenant | None:
        """The tenant, or None."""
        found = await self._records.get(TENANTS, _tenant_key(tenant_id))
        return None if found is None else _stored_tenant(found)

    def saving(self, tenant: Tenant, *, expect: int) -> Write:
        """What writes a tenant; CONFLICT when its row is not at version `expect`."""
        record = Record(
            key=_tenant_key(tenant.tenant_id),
            data=_plain(tenant),
            indexes={"by-creation": Key(ALL_TENANTS, _moment(tenant.created_at, tenant.tenant_id))},
        )
        return Put(table=TENANTS, record=record, expect=expect)

    async def page(self, *, limit: int, after: str | None) -> tuple[list[Tenant], str | None]:
        """Tenants, oldest first, and where to go on."""
        page = await self._records.query(
            TENANTS, ALL_TENANTS, index="by-creation", limit=limit, after=after
        )
        return [_stored_tenant(record).tenant for record in page.records], page.after


class ApiKeys:
    """The keys of one tenant."""

    def __init__(self, records: Records, tenant_id: str) -> None:
        self._records = records
        self._tenant_id = tenant_id

    def adding(self, key: ApiKey, keyed_hash: bytes, *, tenant_version: int) -> list[Write]:
        """What writes a new key; CONFLICT when the tenant has changed since it was read."""
        self._own(key)
        record = self._record(StoredKey(key, keyed_hash, ABSENT))
        return [
            Check(table=TENANTS, key=_tenant_key(self._tenant_id), expect=tenant_version),
            Put(table=API_KEYS, record=record, expect=ABSENT),
        ]

    async def find(self, key_id: str) -> StoredKey | None:
        """The key, or None when this tenant has none with that id."""
        stored = await find_key(self._records, key_id)
        return stored if stored and stored.key.tenant_id == self._tenant_id else None

    def saving(self, stored: StoredKey) -> Write:
        """What writes a changed key; CONFLICT when it has changed since it was read."""
        self._own(stored.key)
        return Put(table=API_KEYS, record=self._record(stored), expect=stored.version)

    async def page(self, *, limit: int, after: str | None) -> tuple[list[ApiKey], str | None]:
        """This tenant's keys, oldest first, and where to go on."""
        page = await self._records.query(
            API_KEYS, self._tenant_id, index="by-tenant", limit=limit, after=after
        )
        return [_stored_key(record).key for record in page.records], page.after

    def _record(self, stored: StoredKey) -> Record:
        key = stored.key
        return Record(
            key=_api_key_key(key.key_id),
            data=_plain(key) | {"keyed_hash": stored.keyed_hash.hex()},
            indexes={"by-tenant": Key(self._tenant_id, _moment(key.created_at, key.key_id))},
        )

    def _own(self, key: ApiKey) -> None:
        if key.tenant_id != self._tenant_id:
            raise ValueError(f"key {key.key_id} belongs to another tenant")


async def find_key(records: Records, key_id: str) -> StoredKey | None:
    """The key whoever owns it: only for finding out who asks."""
    found = await records.get(API_KEYS, _api_key_key(key_id))
    return None if found is None else _stored_key(found)


def _tenant_key(tenant_id: str) -> Key:
    return Key(tenant_id, _SORT)


def _api_key_key(key_id: str) -> Key:
    return Key(key_id, _SORT)


def _moment(created_at: datetime, unique: str) -> str:
    """Sorts by creation; the id keeps two of one moment apart."""
    return f"{created_at:%Y-%m-%dT%H:%M:%S.%fZ}/{unique}"


def _plain(value: Tenant | ApiKey) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _stored_tenant(record: Record) -> StoredTenant:
    return StoredTenant(msgspec.convert(record.data, Tenant), record.version)


def _stored_key(record: Record) -> StoredKey:
    keyed_hash = bytes.fromhex(record.data["keyed_hash"])
    return StoredKey(msgspec.convert(record.data, ApiKey), keyed_hash, record.version)

"""What is written down of a tenant's key at an exchange, without the key: rights, times, standing.

The row is written before the secret it speaks of and removed after it, so that no secret is in
custody that nobody re-validates.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.storage.records import ABSENT, Key, Page, Record, Records
from trading_platform.storage.tables import EXCHANGE_ACCOUNTS

_ALL = "all"
_TRIES_MAX = 8
_SHOWN_CHARACTERS = 4


class CredentialStatus(StrEnum):
    """Whether a key is used, and if not, why."""

    STORING = "STORING"
    """Validated; the secret is not in custody yet."""
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    """No new orders; open ones can still be canceled."""
    REVOKED = "REVOKED"
    DELETED = "DELETED"


GONE = frozenset({CredentialStatus.REVOKED, CredentialStatus.DELETED})


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a key: what may be shown of it. `ip_restricted` None: cannot be read."""

    version_id: str
    fingerprint: str
    created_at: datetime
    rights: tuple[str, ...] = ()
    ip_restricted: bool | None = None
    validated_at: datetime | None = None
    retire_at: datetime | None = None


class CredentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's credential at an exchange. `incoming` waits for its secret to be in custody,
    `pending` is staged by a rotation, `previous` is kept for a while after one.
    """

    tenant_id: str
    exchange_id: ExchangeId
    status: CredentialStatus
    changed_at: datetime
    current: KeyFacts | None = None
    incoming: KeyFacts | None = None
    pending: KeyFacts | None = None
    previous: KeyFacts | None = None
    problem: str | None = None
    """Why it is not ACTIVE, in a sentence."""
    shredded: bool = False
    check_at: datetime | None = None
    """When somebody must look at it again."""
    version: int = ABSENT

    @property
    def account(self) -> tuple[str, ExchangeId]:
        """Whose, and where."""
        return self.tenant_id, self.exchange_id


Change = Callable[[CredentialRow | None], CredentialRow]


def fingerprint(api_key: str) -> str:
    """First 4 characters and 8 hex digits of SHA-256: tells keys apart, opens nothing."""
    digest = hashlib.sha256(api_key.encode()).hexdigest()
    return f"{api_key[:_SHOWN_CHARACTERS]}...{digest[:8]}"


class CredentialRows:
    """The rows of all tenants; every call names whose."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def get(self, tenant_id: str, exchange_id: ExchangeId) -> CredentialRow | None:
        """The row, also of a key that is gone."""
        record = await self._records.get(EXCHANGE_ACCOUNTS, Key(tenant_id, exchange_id))
        return None if record is None else _row(record)

    async def change(
        self, tenant_id: str, exchange_id: ExchangeId, change: Change
    ) -> CredentialRow:
        """Write `change(row as it is now)`; again with the newer one when somebody was quicker.
        What `change` raises leaves everything as it was.
        """
        for _ in range(_TRIES_MAX):
            new = change(await self.get(tenant_id, exchange_id))
            try:
                written = await self._records.put(
                    EXCHANGE_ACCOUNTS, _record(new), expect=new.version
                )
            except ServiceError as error:
                if error.code != "CONFLICT":
                    raise
                continue
            return msgspec.structs.replace(new, version=written.version)
        raise ServiceError(
            "this credential is being changed by several at once; try again", "CONFLICT"
        )

    async def of_tenant(self, tenant_id: str) -> list[CredentialRow]:
        """All rows of a tenant: one an exchange."""
        page = await self._records.query(EXCHANGE_ACCOUNTS, tenant_id)
        return _rows(page)

    async def changed(
        self, since: str, after: str | None
    ) -> tuple[list[CredentialRow], str | None]:
        """Rows of all tenants changed at or after a `stamp`, oldest first, a page at a time."""
        page = await self._records.query(
            EXCHANGE_ACCOUNTS, _ALL, index="by-change", sort_from=since, after=after, limit=500
        )
        return _rows(page), page.after

    async def due(self, now: datetime, limit: int) -> list[CredentialRow]:
        """Rows of all tenants that somebody must look at, the longest due first."""
        page = await self._records.query(
            EXCHANGE_ACCOUNTS, _ALL, index="by-check", sort_to=stamp(now), limit=limit
        )
        return _rows(page)


def stamp(at: datetime) -> str:
    """A time as text that sorts."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _record(row: CredentialRow) -> Record:
    data = msgspec.to_builtins(row)
    del data["version"]
    indexes = {"by-change": Key(_ALL, stamp(row.changed_at))}
    if row.check_at is not None:
        indexes["by-check"] = Key(_ALL, stamp(row.check_at))
    return Record(key=Key(row.tenant_id, row.exchange_id), data=data, indexes=indexes)


def _row(record: Record) -> CredentialRow:
    row = msgspec.convert(record.data, CredentialRow)
    return msgspec.structs.replace(row, version=record.version)


def _rows(page: Page) -> list[CredentialRow]:
    return [_row(record) for record in page.records]

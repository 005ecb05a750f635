"""The audit log: who did what, in an order that nobody can change unseen (audit_chain.py).

1. An entry and what it speaks of are one transaction where the caller hands over its writes
   (`along`): neither exists without the other. Otherwise the entry comes first and states what is
   about to happen.
2. Entries of a tenant have no gaps: the row `head` names the last, and each append replaces it
   under its version.
3. Nothing here changes or removes an entry.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from weakref import WeakValueDictionary

import msgspec

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Key, Put, Record, Records, Write
from trading_platform.storage.tables import AUDIT
from trading_platform.tenants.audit_chain import (
    GENESIS,
    AuditEntry,
    Verification,
    Verifier,
    plain,
    read,
    sealed,
)

APPEND_S_MAX = 5.0
RACE_PAUSE_S = 0.01
UNMOVED_MAX = 5
"""Lost races after which somebody else must have written; if nobody did, the log is damaged."""
PAGE_MAX = 1000
SEQUENCE_DIGITS = 12
_PREFIX, _PAST = "entry/", "entry0"  # "0" is the character after "/"
_NO_DETAILS: Mapping[str, str] = {}


class _Head(msgspec.Struct, frozen=True):
    sequence: int = 0
    hash: str = GENESIS
    version: int = ABSENT


class AuditLog:
    """The logs of all tenants; every call names whose. PLATFORM_LOG is that of the platform."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        target: str,
        details: Mapping[str, str] = _NO_DETAILS,
        along: Sequence[Write] = (),
        once: str | None = None,
    ) -> AuditEntry:
        """Write an entry, durable when this returns. Raises STORAGE_UNAVAILABLE: then the caller
        must not do what it asked to write down.

        `along`: writes that happen with the entry or not at all; a CONFLICT of theirs is raised.
        `once`: a name under which the log takes only one entry; a second append gives the first.
        """
        draft = AuditEntry(
            tenant_id=tenant_id,
            sequence=0,
            at=self._clock.now(),
            actor=actor,
            action=action,
            target=target,
            details=details,
            previous_hash=GENESIS,
        )
        try:
            async with asyncio.timeout(APPEND_S_MAX), self._turn(tenant_id):
                return await self._append(draft, along, once)
        except TimeoutError as error:
            # A write that was cut off may still have got through; a second entry does no harm.
            raise _takes_none(tenant_id, f"it took over {APPEND_S_MAX:g} s", True) from error

    async def _append(
        self, draft: AuditEntry, along: Sequence[Write], once: str | None
    ) -> AuditEntry:
        tenant_id, seen, tries = draft.tenant_id, -1, 0
        while True:
            if once is not None and (found := await self._noted(tenant_id, once)):
                return found
            head = await self._head(tenant_id)
            tries = tries + 1 if head.version == seen else 1
            if tries > UNMOVED_MAX:
                raise _takes_none(tenant_id, "its last entry is not where its head says", False)
            seen = head.version
            entry = sealed(
                msgspec.structs.replace(draft, sequence=head.sequence + 1, previous_hash=head.hash)
            )
            try:
                await self._records.transact([*_writes(entry, head, once), *along])
            except ServiceError as error:
                # Another process wrote first. What the caller's own writes met is its affair.
                if error.code != "CONFLICT" or error.metadata.get("table") != AUDIT:
                    raise
                # Chance keeps one writer from always being the second.
                await asyncio.sleep(random.uniform(0, RACE_PAUSE_S))  # noqa: S311 - no secret
            else:
                return entry

    async def append_to_stop(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        target: str,
        details: Mapping[str, str] = _NO_DETAILS,
        along: Sequence[Write],
    ) -> AuditEntry:
        """Like `append`, for what takes rights away: that happens even when no entry can be
        written, and the STORAGE_UNAVAILABLE raised then says so.
        """
        try:
            return await self.append(
                tenant_id, actor=actor, action=action, target=target, details=details, along=along
            )
        except ServiceError as error:
            if error.code != "STORAGE_UNAVAILABLE" or error.metadata.get("maybeWritten"):
                raise
            await self._records.transact(along)
            raise ServiceError(
                f"Done ({action} {target}), but not written down: {error.message}",
                "STORAGE_UNAVAILABLE",
                metadata={"done": True},
            ) from error

    async def entries(
        self, tenant_id: str, *, after: int = 0, limit: int = 100
    ) -> tuple[list[AuditEntry], int | None]:
        """Entries beyond sequence `after`, oldest first, and where to go on; limit <= 1000."""
        page = await self._records.query(
            AUDIT, tenant_id, sort_from=_sort(after + 1), sort_to=_PAST, limit=limit
        )
        found = [_entry(tenant_id, record) for record in page.records]
        return found, found[-1].sequence if page.after is not None else None

    async def latest(
        self, tenant_id: str, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[AuditEntry], int | None]:
        """Entries under sequence `before`, newest first, and where to go on; limit <= 1000."""
        page = await self._records.query(
            AUDIT,
            tenant_id,
            sort_from=_PREFIX,
            sort_to=_PAST if before is None else _sort(before),
            newest_first=True,
            limit=limit,
        )
        found = [_entry(tenant_id, record) for record in page.records]
        return found, found[-1].sequence if page.after is not None else None

    async def all_entries(self, tenant_id: str) -> AsyncIterator[AuditEntry]:
        """The whole log, oldest first: what an export holds."""
        after: int | None = 0
        while after is not None:
            page, after = await self.entries(tenant_id, after=after, limit=PAGE_MAX)
            for entry in page:
                yield entry

    async def verify(
        self, tenant_id: str, *, against: Mapping[int, str] | None = None
    ) -> Verification:
        """Check the whole log, also while others write; `against`: sequence -> hash of an earlier
        export.
        """
        verifier = Verifier(tenant_id, against)
        written: _Head | None = None
        while True:
            await self._follow(tenant_id, verifier)
            # What the head named before this reading began must have been in it.
            if verifier.failed:
                return verifier.ended(None)
            if written is not None and verifier.sequence < written.sequence:
                return verifier.ended((written.sequence, written.hash))
            written = await self._head(tenant_id)
            if written.sequence <= verifier.sequence:
                return verifier.ended((written.sequence, written.hash))

    async def _follow(self, tenant_id: str, verifier: Verifier) -> None:
        """Everything that stands after the verifier's last entry."""
        after: str | None = None
        start = _sort(verifier.sequence + 1) if verifier.sequence else _PREFIX
        while not verifier.failed:
            page = await self._records.query(
                AUDIT, tenant_id, sort_from=start, sort_to=_PAST, limit=PAGE_MAX, after=after
            )
            for record in page.records:
                try:
                    verifier.follow(read(record.data))
                except msgspec.ValidationError:
                    bad = verifier.sequence + 1
                    verifier.fail(bad, f"entry {bad} cannot be read")
                if verifier.failed:
                    return
            after = page.after
            if after is None:
                return

    async def _head(self, tenant_id: str) -> _Head:
        found = await self._records.get(AUDIT, Key(tenant_id, "head"))
        if found is None:
            return _Head()
        try:
            return msgspec.convert({**found.data, "version": found.version}, _Head)
        except msgspec.ValidationError:
            # Nothing can follow it: entries that are there refuse an append, and `verify` tells.
            return _Head(hash="", version=found.version)

    async def _noted(self, tenant_id: str, once: str) -> AuditEntry | None:
        note = await self._records.get(AUDIT, _once_key(tenant_id, once))
        if note is None:
            return None
        row = await self._records.get(AUDIT, Key(tenant_id, _sort(int(note.data["sequence"]))))
        if row is None:
            raise _damaged(tenant_id)
        return _entry(tenant_id, row)

    def _turn(self, tenant_id: str) -> asyncio.Lock:
        """Appends of this process to one log queue here instead of racing for the head."""
        return self._turns.setdefault(tenant_id, asyncio.Lock())


def _writes(entry: AuditEntry, head: _Head, once: str | None) -> list[Write]:
    rows = [
        (Key(entry.tenant_id, _sort(entry.sequence)), plain(entry), ABSENT),
        (
            Key(entry.tenant_id, "head"),
            {"sequence": entry.sequence, "hash": entry.hash},
            head.version,
        ),
    ]
    if once is not None:
        rows.append((_once_key(entry.tenant_id, once), {"sequence": entry.sequence}, ABSENT))
    return [
        Put(table=AUDIT, record=Record(key=key, data=data), expect=expect)
        for key, data, expect in rows
    ]


def _sort(sequence: int) -> str:
    return f"{_PREFIX}{sequence:0{SEQUENCE_DIGITS}}"


def _once_key(tenant_id: str, once: str) -> Key:
    return Key(tenant_id, f"once/{once}")


def _entry(tenant_id: str, record: Record) -> AuditEntry:
    try:
        return read(record.data)
    except msgspec.ValidationError as error:
        raise _damaged(tenant_id) from error


def _takes_none(tenant_id: str, why: str, maybe_written: bool) -> ServiceError:
    return ServiceError(
        f"The audit log of {tenant_id} takes no entry: {why}. Check it with"
        " `trading-platform audit verify`.",
        "STORAGE_UNAVAILABLE",
        metadata={"maybeWritten": True} if maybe_written else None,
    )


def _damaged(tenant_id: str) -> ServiceError:
    return ServiceError(
        f"The audit log of {tenant_id} cannot be read. Check it with"
        " `trading-platform audit verify`.",
        "STORAGE_UNAVAILABLE",
    )

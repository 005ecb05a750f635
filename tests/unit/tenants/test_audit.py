"""The audit log on a real SQLite store, and what it shows of someone who changes it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Key, Put, Record, Write
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import AUDIT, TENANTS
from trading_platform.tenants import audit_chain
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.audit_chain import (
    GENESIS,
    PLATFORM_LOG,
    AuditEntry,
    Verification,
    Verifier,
    hash_of,
    line,
    plain,
    read,
)
from trading_platform.tenants.model import TenantStatus, Tier
from trading_platform.tenants.service import TenantService

T1, T2 = "tenant-1", "tenant-2"


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[SqliteRecords]:
    store = await SqliteRecords.open(tmp_path / "records.db")
    yield store
    await store.close()


@pytest.fixture
def audit(records: SqliteRecords) -> AuditLog:
    return AuditLog(records, ManualClock())


async def write(audit: AuditLog, count: int, tenant_id: str = T1) -> list[AuditEntry]:
    return [
        await audit.append(
            tenant_id, actor="operator", action="TESTED", target=f"thing {number}", details={}
        )
        for number in range(1, count + 1)
    ]


def sort(sequence: int) -> str:
    return f"entry/{sequence:012}"


async def row(records: SqliteRecords, sort_key: str, tenant_id: str = T1) -> Record:
    found = await records.get(AUDIT, Key(tenant_id, sort_key))
    assert found is not None
    return found


async def replace(records: SqliteRecords, sort_key: str, data: Any, tenant_id: str = T1) -> None:
    await records.put(AUDIT, Record(key=Key(tenant_id, sort_key), data=data), expect=None)


async def remove(records: SqliteRecords, sort_key: str) -> None:
    await records.delete(AUDIT, Key(T1, sort_key), expect=None)


def found(checked: Verification) -> tuple[bool, int | None, str | None]:
    return checked.ok, checked.first_bad, checked.reason


async def test_entries_are_numbered_and_each_names_the_one_before(audit: AuditLog) -> None:
    first, second = await write(audit, 2)
    assert (first.sequence, first.previous_hash) == (1, GENESIS)
    assert (second.sequence, second.previous_hash) == (2, first.hash)
    assert (await audit.entries(T1)) == ([first, second], None)
    checked = await audit.verify(T1)
    assert (checked.ok, checked.entries, checked.hash) == (True, 2, second.hash)


async def test_an_empty_log_is_whole(audit: AuditLog) -> None:
    checked = await audit.verify(T1)
    assert (checked.ok, checked.entries, checked.hash) == (True, 0, GENESIS)


async def test_the_hash_can_be_computed_with_nothing_of_ours(audit: AuditLog) -> None:
    import hashlib

    (entry,) = await write(audit, 1)
    fields = json.loads(line(entry))
    claimed = fields.pop("hash")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == claimed


async def test_an_export_line_reads_back_as_the_same_entry(audit: AuditLog) -> None:
    (entry,) = await write(audit, 1)
    assert read(line(entry)) == entry
    assert hash_of(read(line(entry))) == entry.hash


async def test_tenants_have_logs_of_their_own(audit: AuditLog) -> None:
    await write(audit, 3, T1)
    (theirs,) = await write(audit, 1, T2)
    assert theirs.sequence == 1
    assert [entry.tenant_id for entry in (await audit.entries(T2))[0]] == [T2]


async def test_pages_run_both_ways_without_gap_or_double(audit: AuditLog) -> None:
    written = await write(audit, 5)
    oldest, newest = list[int](), list[int]()
    after: int | None = 0
    while after is not None:
        page, after = await audit.entries(T1, after=after, limit=2)
        oldest += [entry.sequence for entry in page]
    before: int | None = None
    while True:
        page, before = await audit.latest(T1, before=before, limit=2)
        newest += [entry.sequence for entry in page]
        if before is None:
            break
    assert oldest == [1, 2, 3, 4, 5]
    assert newest == [5, 4, 3, 2, 1]
    assert [entry async for entry in audit.all_entries(T1)] == written


async def test_appends_at_once_by_two_processes_leave_one_whole_chain(
    records: SqliteRecords,
) -> None:
    logs = [AuditLog(records, ManualClock()) for _ in range(4)]
    await asyncio.gather(*(write(log, 25) for log in logs))
    checked = await logs[0].verify(T1)
    assert (checked.ok, checked.entries) == (True, 100)


async def test_a_log_that_grows_while_it_is_checked_is_whole(audit: AuditLog) -> None:
    await write(audit, 5)
    growing = asyncio.create_task(write(audit, 60))
    while not growing.done():
        assert found(await audit.verify(T1)) == (True, None, None)
    assert (await audit.verify(T1)).entries == 65


# Someone with write access to the store ---------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "nobody"},
        {"action": "OTHER"},
        {"target": "other"},
        {"at": "2020-01-01T00:00:00.000000Z"},
        {"details": {"more": "words"}},
        {"previousHash": "1" * 64},
        {"hash": "1" * 64},
        {"version": 2},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_field_is_found(
    audit: AuditLog, records: SqliteRecords, change: dict[str, Any]
) -> None:
    await write(audit, 4)
    data = dict((await row(records, sort(2))).data)
    await replace(records, sort(2), data | change)
    ok, first_bad, reason = found(await audit.verify(T1))
    assert (ok, first_bad) == (False, 2)
    assert reason == "entry 2 was changed after it was written"


async def test_a_changed_entry_with_a_fresh_hash_betrays_the_next(
    audit: AuditLog, records: SqliteRecords
) -> None:
    entries = await write(audit, 4)
    forged = msgspec.structs.replace(entries[1], actor="nobody")
    forged = msgspec.structs.replace(forged, hash=hash_of(forged))
    await replace(records, sort(2), plain(forged))
    assert found(await audit.verify(T1)) == (
        False,
        3,
        "entry 3 does not follow the one before it",
    )


async def test_the_last_entry_forged_with_a_fresh_hash_is_not_what_the_head_names(
    audit: AuditLog, records: SqliteRecords
) -> None:
    entries = await write(audit, 4)
    forged = msgspec.structs.replace(entries[3], actor="nobody")
    await replace(records, sort(4), plain(msgspec.structs.replace(forged, hash=hash_of(forged))))
    ok, _, reason = found(await audit.verify(T1))
    assert not ok
    assert reason == "entry 4 is not the one that was written last"


@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_a_removed_entry_is_missed(
    audit: AuditLog, records: SqliteRecords, gone: int
) -> None:
    await write(audit, 4)
    await remove(records, sort(gone))
    assert found(await audit.verify(T1)) == (False, gone, f"entry {gone} is missing")


async def test_a_cut_end_is_missed(audit: AuditLog, records: SqliteRecords) -> None:
    await write(audit, 4)
    await remove(records, sort(4))
    await remove(records, sort(3))
    assert found(await audit.verify(T1)) == (
        False,
        3,
        "the log ends after entry 2, but entries up to 4 were written",
    )


async def test_all_entries_gone_are_missed(audit: AuditLog, records: SqliteRecords) -> None:
    await write(audit, 2)
    for sequence in (1, 2):
        await remove(records, sort(sequence))
    assert found(await audit.verify(T1))[:2] == (False, 1)


async def test_two_entries_that_changed_places_are_found(
    audit: AuditLog, records: SqliteRecords
) -> None:
    await write(audit, 4)
    second, third = await row(records, sort(2)), await row(records, sort(3))
    await replace(records, sort(2), third.data)
    await replace(records, sort(3), second.data)
    assert found(await audit.verify(T1))[:2] == (False, 2)


async def test_an_entry_put_in_between_is_found(audit: AuditLog, records: SqliteRecords) -> None:
    entries = await write(audit, 3)
    await replace(records, sort(2) + "-more", plain(entries[1]))
    assert found(await audit.verify(T1))[:2] == (False, 3)


async def test_an_entry_put_at_the_end_is_found(audit: AuditLog, records: SqliteRecords) -> None:
    (first,) = await write(audit, 1)
    extra = msgspec.structs.replace(first, sequence=2, previous_hash=first.hash)
    await replace(records, sort(2), plain(msgspec.structs.replace(extra, hash=hash_of(extra))))
    ok, _, reason = found(await audit.verify(T1))
    assert not ok
    assert reason == "the log holds entry 2, but only 1 were written"


async def test_an_entry_of_another_log_is_found(audit: AuditLog, records: SqliteRecords) -> None:
    await write(audit, 2, T1)
    (theirs,) = await write(audit, 1, T2)
    await replace(records, sort(1), plain(theirs))
    assert found(await audit.verify(T1)) == (False, 1, "entry 1 is of another log")


@pytest.mark.parametrize("damage", [{}, {"sequence": "x"}, {"at": "yesterday"}])
async def test_an_entry_that_cannot_be_read_is_found(
    audit: AuditLog, records: SqliteRecords, damage: dict[str, Any]
) -> None:
    await write(audit, 3)
    data = dict((await row(records, sort(2))).data)
    await replace(records, sort(2), {**data, **damage} if damage else {})
    assert found(await audit.verify(T1)) == (False, 2, "entry 2 cannot be read")


@pytest.mark.parametrize("damage", ["removed", "rolled back", "unreadable"])
async def test_a_damaged_head_is_found_and_takes_no_further_entry(
    audit: AuditLog, records: SqliteRecords, damage: str
) -> None:
    entries = await write(audit, 3)
    if damage == "removed":
        await remove(records, "head")
    elif damage == "rolled back":
        await replace(records, "head", {"sequence": 2, "hash": entries[1].hash})
    else:
        await replace(records, "head", {"sequence": "many"})
    assert not (await audit.verify(T1)).ok
    with pytest.raises(ServiceError, match="audit verify") as caught:
        await write(audit, 1)
    assert caught.value.code == "STORAGE_UNAVAILABLE"


async def test_a_log_rewritten_from_the_start_is_shown_by_an_earlier_export(
    audit: AuditLog, records: SqliteRecords
) -> None:
    """The chain has no key: whoever rewrites everything passes `verify`, and only that."""
    export = {entry.sequence: entry.hash for entry in await write(audit, 3)}
    assert (await audit.verify(T1, against=export)).ok
    for name in (*map(sort, (1, 2, 3)), "head"):
        await remove(records, name)
    for number in (1, 2, 3):
        await audit.append(T1, actor="nobody", action="TESTED", target=f"thing {number}")
    assert (await audit.verify(T1)).ok
    assert found(await audit.verify(T1, against=export)) == (
        False,
        1,
        "entry 1 is another than in the earlier export",
    )


async def test_a_log_started_anew_and_shorter_is_shown_by_an_earlier_export(
    audit: AuditLog, records: SqliteRecords
) -> None:
    entries = await write(audit, 3)
    await remove(records, sort(3))
    await replace(records, "head", {"sequence": 2, "hash": entries[1].hash})
    export = {entry.sequence: entry.hash for entry in entries}
    assert (await audit.verify(T1)).ok
    assert found(await audit.verify(T1, against=export)) == (
        False,
        3,
        "entry 3 of the earlier export is no longer there",
    )


def test_an_export_whose_last_lines_are_cut_says_how_far_it_reaches() -> None:
    verifier = Verifier(T1)
    assert verifier.ended(None).entries == 0
    assert verifier.ended(None).ok


# What goes in ------------------------------------------------------------------------------------


async def test_secrets_in_words_and_details_are_masked(audit: AuditLog) -> None:
    key = "tp_live_0123456789abcdefghijABCDEFGHIJ_0a1b2c"
    entry = await audit.append(
        T1,
        actor=f"who {key}",
        action="TESTED",
        target=f"Bearer {key}",
        details={"apiSecret": "hunter2-hunter2", "note": f"signature={'ab' * 32}", "name": key},
    )
    assert "0123456789abcdefghij" not in line(entry)
    assert "hunter2" not in line(entry)
    assert "abab" not in line(entry)
    assert (await audit.verify(T1)).ok


async def test_words_of_any_kind_are_kept_within_bounds(audit: AuditLog) -> None:
    entry = await audit.append(
        T1,
        actor="\ud800 half a character",
        action="TESTED",
        target="x" * 100_000,
        details={f"name {n}": "ż\x00\n" * 1000 for n in range(100)},
    )
    assert len(line(entry)) < 60_000
    assert len(entry.details) == audit_chain.DETAILS_MAX
    assert (await audit.verify(T1)).ok


async def test_a_name_takes_one_entry_only_however_often_it_is_appended(
    records: SqliteRecords,
) -> None:
    logs = [AuditLog(records, ManualClock()) for _ in range(4)]
    entries = await asyncio.gather(
        *(
            log.append(T1, actor="a", action="TESTED", target="t", once="switch:1")
            for log in logs * 3
        )
    )
    assert {entry.sequence for entry in entries} == {1}
    assert (await logs[0].verify(T1)).entries == 1


async def test_writes_that_go_along_happen_with_the_entry_or_not_at_all(
    audit: AuditLog, records: SqliteRecords
) -> None:
    first = Put(table=TENANTS, record=Record(key=Key("x", "y"), data={}), expect=ABSENT)
    await audit.append(T1, actor="a", action="TESTED", target="t", along=[first])
    with pytest.raises(ServiceError) as caught:
        await audit.append(T1, actor="a", action="TESTED", target="t", along=[first])
    assert (caught.value.code, caught.value.metadata["table"]) == ("CONFLICT", TENANTS)
    assert (await audit.verify(T1)).entries == 1
    assert await records.get(TENANTS, Key("x", "y")) is not None


# Who uses it -------------------------------------------------------------------------------------


async def test_what_happens_to_tenants_and_keys_is_written_down(records: SqliteRecords) -> None:
    tenants, audit = (
        TenantService(records, b"p" * 32, ManualClock()),
        AuditLog(records, ManualClock()),
    )
    tenant = await tenants.create_tenant("Acme", Tier.PRO)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot", actor="key-1")
    await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    await tenants.suspend_tenant(tenant.tenant_id)
    await tenants.resume_tenant(tenant.tenant_id)
    entries, _ = await audit.entries(tenant.tenant_id)
    assert [(entry.action, entry.actor, entry.target) for entry in entries] == [
        ("TENANT_CREATED", "operator", tenant.tenant_id),
        ("API_KEY_CREATED", "key-1", key.key_id),
        ("API_KEY_REVOKED", "operator", key.key_id),
        ("TENANT_SUSPENDED", "operator", tenant.tenant_id),
        ("TENANT_RESUMED", "operator", tenant.tenant_id),
    ]
    platform, _ = await audit.entries(PLATFORM_LOG)
    assert [(entry.action, entry.target) for entry in platform] == [
        ("TENANT_CREATED", tenant.tenant_id)
    ]
    assert text not in "".join(map(line, entries))


class _NoAudit:
    """Real records that take no entry of an audit log."""

    def __init__(self, records: SqliteRecords) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def transact(self, writes: Sequence[Write]) -> None:
        if any(isinstance(write, Put) and write.table == AUDIT for write in writes):
            raise ServiceError("disk full", "STORAGE_UNAVAILABLE")
        await self._records.transact(writes)


async def test_without_an_entry_rights_are_not_given_but_still_taken_away(
    records: SqliteRecords,
) -> None:
    sound = TenantService(records, b"p" * 32, ManualClock())
    tenant = await sound.create_tenant("Acme", Tier.PRO)
    key, text = await sound.create_api_key(tenant.tenant_id, name="bot")
    kept, kept_text = await sound.create_api_key(tenant.tenant_id, name="other")
    silent = TenantService(_NoAudit(records), b"p" * 32, ManualClock())
    await silent.authenticate(text)

    with pytest.raises(ServiceError, match="disk full"):
        await silent.create_tenant("More", Tier.PRO)
    with pytest.raises(ServiceError, match="disk full"):
        await silent.create_api_key(tenant.tenant_id, name="more")
    assert len(await sound.list_tenants()) == 1
    listed = await sound.list_api_keys(tenant.tenant_id)
    assert {each.key_id for each in listed} == {key.key_id, kept.key_id}

    with pytest.raises(ServiceError, match=r"^Done \(API_KEY_REVOKED .*not written down"):
        await silent.revoke_api_key(tenant.tenant_id, key.key_id)
    with pytest.raises(ServiceError, match="missing, unknown or revoked"):
        await silent.authenticate(text)
    await silent.authenticate(kept_text)
    with pytest.raises(ServiceError, match=r"^Done \(TENANT_SUSPENDED"):
        await silent.suspend_tenant(tenant.tenant_id)
    assert (await sound.get_tenant(tenant.tenant_id)).status is TenantStatus.SUSPENDED
    with pytest.raises(ServiceError, match="suspended"):
        await silent.authenticate(kept_text)
    with pytest.raises(ServiceError, match="disk full"):
        await silent.resume_tenant(tenant.tenant_id)
    assert (await sound.get_tenant(tenant.tenant_id)).status is TenantStatus.SUSPENDED

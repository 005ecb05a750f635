"""Group commit, refusals under load and failure, expiry clean-up."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage import sqlite, sqlite_schema
from trading_platform.storage.records import ABSENT, Key, Put, Record
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import ORDERS


def a_row(sort: str, **changes: object) -> Record:
    return Record(key=Key("tenant-1", sort), data={"pad": "x" * 500}, **changes)  # type: ignore[arg-type] # test builder


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def records(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteRecords]:
    store = await SqliteRecords.open(tmp_path / "records.db", clock=clock)
    yield store
    await store.close()


@pytest.fixture
def other_program(tmp_path: Path, records: SqliteRecords) -> sqlite3.Connection:
    """Another program that has the file open."""
    return sqlite3.connect(tmp_path / "records.db", isolation_level=None)


def commits(connection: sqlite3.Connection) -> int:
    """Grows by one with each commit of another connection."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


async def test_writes_that_wait_together_share_a_commit(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    other_program.execute("BEGIN IMMEDIATE")  # holds the writer up while the rest gathers
    waiting = [
        asyncio.ensure_future(records.put(ORDERS, a_row(f"{number:03}"), expect=ABSENT))
        for number in range(300)
    ]
    await asyncio.sleep(0.02)
    assert not any(write.done() for write in waiting)
    other_program.execute("COMMIT")
    done_in_rounds = set()
    for write in asyncio.as_completed(waiting):
        await write
        done_in_rounds.add(commits(other_program))
    assert len(done_in_rounds) <= 3


async def test_refused_writes_leave_the_others_of_their_batch_alone(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    await records.put(ORDERS, a_row("taken"), expect=ABSENT)
    other_program.execute("BEGIN IMMEDIATE")
    writes = []
    for number in range(60):
        good = Put(table=ORDERS, record=a_row(f"{number:02}"), expect=ABSENT)
        bad = Put(table=ORDERS, record=a_row("taken"), expect=ABSENT)
        writes.append(records.transact([good, bad] if number % 3 == 0 else [good]))
    gathered = asyncio.gather(*writes, return_exceptions=True)
    await asyncio.sleep(0.02)
    other_program.execute("COMMIT")
    outcomes = await gathered
    refused = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert refused == list(range(0, 60, 3))
    page = await records.query(ORDERS, "tenant-1", limit=1000)
    expected = [f"{number:02}" for number in range(60) if number % 3] + ["taken"]
    assert [record.key.sort for record in page.records] == expected


async def test_writes_of_one_batch_see_each_other_in_the_order_they_came(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    other_program.execute("BEGIN IMMEDIATE")
    writes = asyncio.gather(
        records.put(ORDERS, a_row("1"), expect=ABSENT),
        records.put(ORDERS, a_row("1"), expect=1),
        records.delete(ORDERS, Key("tenant-1", "1"), expect=2),
        records.put(ORDERS, a_row("1"), expect=ABSENT),
    )
    await asyncio.sleep(0.02)
    other_program.execute("COMMIT")
    first, second, _, third = await writes
    assert (first.version, second.version, third.version) == (1, 2, 1)


async def test_nobody_sees_a_write_before_it_is_committed(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    other_program.execute("BEGIN IMMEDIATE")
    write = asyncio.ensure_future(records.put(ORDERS, a_row("1"), expect=ABSENT))
    await asyncio.sleep(0.02)
    assert await records.get(ORDERS, Key("tenant-1", "1")) is None
    other_program.execute("COMMIT")
    await write
    assert await records.get(ORDERS, Key("tenant-1", "1")) is not None


async def test_a_file_locked_for_too_long_is_refused_and_used_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_schema, "BUSY_TIMEOUT_S", 0.05)
    records = await SqliteRecords.open(tmp_path / "records.db")
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceError, match="locked") as caught:
        await records.put(ORDERS, a_row("1"), expect=ABSENT)
    assert (caught.value.code, caught.value.retryable) == ("STORAGE_UNAVAILABLE", True)
    other.execute("COMMIT")
    assert (await records.put(ORDERS, a_row("1"), expect=ABSENT)).version == 1
    await records.close()
    other.close()


async def test_a_full_queue_refuses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAITING_MAX", 10)
    records = await SqliteRecords.open(tmp_path / "records.db")
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    holder = asyncio.ensure_future(records.put(ORDERS, a_row("holder"), expect=ABSENT))
    await asyncio.sleep(0.02)  # the writer thread has taken it and waits for the file
    writes = asyncio.gather(
        *(records.put(ORDERS, a_row(f"{number:02}"), expect=ABSENT) for number in range(15)),
        return_exceptions=True,
    )
    await asyncio.sleep(0.02)
    other.execute("COMMIT")
    outcomes = await writes
    await holder
    refused = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    assert [error.code for error in refused] == ["STORAGE_UNAVAILABLE"] * 5
    page = await records.query(ORDERS, "tenant-1")
    assert len(page.records) == 11
    await records.close()
    other.close()


async def test_closing_answers_what_was_accepted_and_refuses_the_rest(tmp_path: Path) -> None:
    records = await SqliteRecords.open(tmp_path / "records.db")
    writes = [
        asyncio.ensure_future(records.put(ORDERS, a_row(f"{number:02}"), expect=ABSENT))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    await records.close()
    assert all(write.done() for write in writes)
    assert {(await write).version for write in writes} == {1}
    for late in (
        records.put(ORDERS, a_row("late"), expect=None),
        records.get(ORDERS, Key("tenant-1", "00")),
    ):
        with pytest.raises(ServiceError, match="closed"):
            await late
    await records.close()


async def test_a_caller_that_gave_up_holds_nobody_else_up(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    other_program.execute("BEGIN IMMEDIATE")
    given_up = asyncio.ensure_future(records.put(ORDERS, a_row("1"), expect=ABSENT))
    kept = asyncio.ensure_future(records.put(ORDERS, a_row("2"), expect=ABSENT))
    await asyncio.sleep(0.02)
    given_up.cancel()
    other_program.execute("COMMIT")
    assert (await kept).version == 1


async def test_a_row_damaged_on_disk_is_refused_and_the_store_goes_on(
    records: SqliteRecords, other_program: sqlite3.Connection
) -> None:
    for sort in ("1", "2"):
        row = a_row(sort, indexes={"by-status": Key("open", sort)})
        await records.put(ORDERS, row, expect=ABSENT)
    other_program.execute("UPDATE rows SET data = '{', indexes = '[' WHERE sort = '1'")
    for outcome in (
        records.get(ORDERS, Key("tenant-1", "1")),
        records.put(ORDERS, a_row("1"), expect=1),
        records.query(ORDERS, "tenant-1"),
    ):
        with pytest.raises(ServiceError) as caught:
            await outcome
        assert caught.value.code == "STORAGE_UNAVAILABLE"
    assert await records.get(ORDERS, Key("tenant-1", "2")) is not None
    assert (await records.put(ORDERS, a_row("2"), expect=1)).version == 2


async def test_purging_removes_expired_rows_and_their_index_entries_in_bounded_steps(
    records: SqliteRecords, other_program: sqlite3.Connection, clock: ManualClock
) -> None:
    now_s = clock.time_ns() // 1_000_000_000
    for number in range(25):
        index = {"by-status": Key("open", f"{number:02}")}
        row = a_row(f"{number:02}", expires_at=now_s + number + 1, indexes=index)
        await records.put(ORDERS, row, expect=ABSENT)
    await records.put(ORDERS, a_row("lasting"), expect=ABSENT)
    assert await records.purge_expired() == 0
    clock.advance(20)
    removed = [await records.purge_expired(rows_max=8) for _ in range(4)]
    assert removed == [8, 8, 4, 0]
    assert other_program.execute("SELECT count(*) FROM rows").fetchone() == (6,)
    assert other_program.execute("SELECT count(*) FROM index_rows").fetchone() == (5,)


async def test_every_write_is_flushed_to_the_disk_before_it_is_answered(
    records: SqliteRecords,
) -> None:
    (synchronous,) = records._connections[0].execute("PRAGMA synchronous").fetchone()
    (journal,) = records._connections[0].execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, journal) == (2, "wal")

"""What every store of records promises (storage/records.py), on SQLite and on DynamoDB."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import (
    ABSENT,
    Check,
    Delete,
    Key,
    Page,
    Put,
    Record,
    Records,
    Write,
)
from trading_platform.storage.rows import ROW_BYTES_MAX, ROW_OVERHEAD_BYTES
from trading_platform.storage.tables import API_KEYS, IDEMPOTENCY, ORDERS, TENANTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

DATA: dict[str, Any] = {
    "text": "żółć \U0001f600 \x00 end",
    "decimal": "0.10",
    "integer": 2**62,
    "negative": -1,
    "nothing": None,
    "flag": True,
    "list": [1, {"deep": []}],
    "empty": {},
    "blank": "",
}


def a_row(partition: str, sort: str = "row", data: Any = None, **changes: Any) -> Record:
    return Record(key=Key(partition, sort), data={} if data is None else data, **changes)


async def fill(records: Records, table: str, rows: list[Record]) -> None:
    for start in range(0, len(rows), 100):
        await records.transact(
            [Put(table=table, record=row, expect=ABSENT) for row in rows[start : start + 100]]
        )


async def read_all(records: Records, partition: str, **arguments: Any) -> tuple[list[str], int]:
    """All sort keys page by page, and how many pages that took."""
    sorts: list[str] = []
    pages, after = 0, None
    while True:
        page = await records.query(ORDERS, partition, after=after, **arguments)
        sorts += [record.key.sort for record in page.records]
        pages, after = pages + 1, page.after
        if after is None:
            return sorts, pages


async def refusal(outcome: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await outcome
    return caught.value


async def test_a_row_comes_back_exactly_as_it_was_put(records: Records, partition: str) -> None:
    row = a_row(
        partition,
        data=DATA,
        indexes={"by-status": Key(f"{partition}#OPEN", "1")},
        expires_at=9_999_999_999,
    )
    stored = await records.put(ORDERS, row, expect=ABSENT)
    assert await records.get(ORDERS, row.key) == stored
    assert stored.version == 1
    assert (stored.data, stored.indexes) == (row.data, row.indexes)


async def test_a_row_that_was_never_put_is_none(records: Records, partition: str) -> None:
    assert await records.get(ORDERS, Key(partition, "row")) is None


async def test_versions_count_the_writes(records: Records, partition: str) -> None:
    first = await records.put(TENANTS, a_row(partition), expect=None)
    second = await records.put(TENANTS, a_row(partition), expect=None)
    third = await records.put(TENANTS, a_row(partition), expect=2)
    assert (first.version, second.version, third.version) == (1, 2, 3)


async def test_a_put_replaces_the_whole_row(records: Records, partition: str) -> None:
    old = a_row(partition, data={"a": 1}, indexes={"by-status": Key(partition, "x")})
    await records.put(ORDERS, old, expect=ABSENT)
    await records.put(ORDERS, a_row(partition, data={"b": 2}), expect=1)
    found = await records.get(ORDERS, old.key)
    assert found == a_row(partition, data={"b": 2}, version=2)


@pytest.mark.parametrize(("existing", "expect"), [(0, 1), (1, 0), (1, 2), (2, 1)])
async def test_a_put_with_another_version_changes_nothing(
    records: Records, partition: str, existing: int, expect: int
) -> None:
    for _ in range(existing):
        await records.put(TENANTS, a_row(partition, data={"kept": 1}), expect=None)
    before = await records.get(TENANTS, Key(partition, "row"))
    error = await refusal(records.put(TENANTS, a_row(partition), expect=expect))
    assert error.code == "CONFLICT"
    assert error.metadata == {
        "table": TENANTS,
        "partition": partition,
        "sort": "row",
        "expected": expect,
        "found": existing,
    }
    assert await records.get(TENANTS, Key(partition, "row")) == before


async def test_a_delete_removes_the_row_and_its_index_entries(
    records: Records, partition: str
) -> None:
    row = a_row(partition, indexes={"by-status": Key(partition, "1")})
    await records.put(ORDERS, row, expect=ABSENT)
    await records.delete(ORDERS, row.key, expect=1)
    assert await records.get(ORDERS, row.key) is None
    assert (await records.query(ORDERS, partition, index="by-status")).records == ()


async def test_a_delete_with_another_version_keeps_the_row(
    records: Records, partition: str
) -> None:
    row = a_row(partition)
    await records.put(TENANTS, row, expect=ABSENT)
    for expect in (2, ABSENT):
        error = await refusal(records.delete(TENANTS, row.key, expect=expect))
        assert (error.code, error.metadata["found"]) == ("CONFLICT", 1)
    assert await records.get(TENANTS, row.key) is not None


async def test_deleting_what_is_absent_is_fine_unless_a_version_was_expected(
    records: Records, partition: str
) -> None:
    await records.delete(TENANTS, Key(partition, "row"), expect=None)
    await records.delete(TENANTS, Key(partition, "row"), expect=ABSENT)
    error = await refusal(records.delete(TENANTS, Key(partition, "row"), expect=1))
    assert (error.code, error.metadata["found"]) == ("CONFLICT", ABSENT)


async def test_of_many_writers_that_saw_one_version_exactly_one_wins(
    records: Records, partition: str
) -> None:
    for version in range(5):
        outcomes = await asyncio.gather(
            *(
                records.put(TENANTS, a_row(partition, data={"by": number}), expect=version)
                for number in range(20)
            ),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
        assert (len(winners), {loser.code for loser in losers}) == (1, {"CONFLICT"})
        assert await records.get(TENANTS, Key(partition, "row")) == winners[0]


async def test_racing_transfers_keep_the_total(records: Records, partition: str) -> None:
    accounts = ["a", "b", "c"]
    await fill(records, TENANTS, [a_row(partition, name, {"units": 10}) for name in accounts])

    async def transfer(number: int) -> bool:
        source, target = accounts[number % 3], accounts[(number + 1) % 3]
        left = await records.get(TENANTS, Key(partition, source))
        right = await records.get(TENANTS, Key(partition, target))
        assert left is not None
        assert right is not None
        moved = [(left, left.data["units"] - 1), (right, right.data["units"] + 1)]
        try:
            await records.transact(
                [
                    Put(
                        table=TENANTS,
                        record=a_row(partition, row.key.sort, {"units": units}),
                        expect=row.version,
                    )
                    for row, units in moved
                ]
            )
        except ServiceError as error:
            if error.code != "CONFLICT":
                raise
            return False
        return True

    done = await asyncio.gather(*(transfer(number) for number in range(60)))
    rows = [await records.get(TENANTS, Key(partition, name)) for name in accounts]
    assert sum(row.data["units"] for row in rows if row) == 30
    assert sum(row.version for row in rows if row) == 3 + 2 * sum(done)
    assert any(done)


async def test_a_transaction_does_all_its_writes_across_tables(
    records: Records, partition: str
) -> None:
    await records.put(TENANTS, a_row(partition, "guard"), expect=ABSENT)
    await records.put(ORDERS, a_row(partition, "old"), expect=ABSENT)
    await records.transact(
        [
            Check(table=TENANTS, key=Key(partition, "guard"), expect=1),
            Check(table=TENANTS, key=Key(partition, "nobody"), expect=ABSENT),
            Put(table=ORDERS, record=a_row(partition, "new"), expect=ABSENT),
            Delete(table=ORDERS, key=Key(partition, "old"), expect=1),
            Delete(table=ORDERS, key=Key(partition, "never"), expect=None),
        ]
    )
    assert await read_all(records, partition) == (["new"], 1)
    guard = await records.get(TENANTS, Key(partition, "guard"))
    assert guard is not None
    assert guard.version == 1


@pytest.mark.parametrize("kind", ["put", "delete", "check"])
async def test_one_failed_condition_undoes_the_whole_transaction_and_is_named(
    records: Records, partition: str, kind: str
) -> None:
    await records.put(ORDERS, a_row(partition, "kept"), expect=ABSENT)
    key = Key(partition, "guard")
    failing: dict[str, Write] = {
        "put": Put(table=TENANTS, record=a_row(partition, "guard"), expect=7),
        "delete": Delete(table=TENANTS, key=key, expect=7),
        "check": Check(table=TENANTS, key=key, expect=7),
    }
    error = await refusal(
        records.transact(
            [
                Put(table=ORDERS, record=a_row(partition, "new"), expect=ABSENT),
                failing[kind],
                Delete(table=ORDERS, key=Key(partition, "kept"), expect=1),
            ]
        )
    )
    assert error.code == "CONFLICT"
    named = (error.metadata["table"], error.metadata["sort"], error.metadata["found"])
    assert named == (TENANTS, "guard", ABSENT)
    assert await read_all(records, partition) == (["kept"], 1)


async def test_a_full_transaction_is_taken_and_a_fuller_one_refused(
    records: Records, partition: str
) -> None:
    puts = [
        Put(table=ORDERS, record=a_row(partition, f"{number:03}"), expect=ABSENT)
        for number in range(101)
    ]
    assert (await refusal(records.transact(puts))).code == "INVALID_REQUEST"
    assert await read_all(records, partition) == ([], 1)
    await records.transact(puts[:100])
    assert len((await read_all(records, partition))[0]) == 100
    assert (await refusal(records.transact([]))).code == "INVALID_REQUEST"


async def test_a_transaction_that_writes_a_row_twice_is_refused(
    records: Records, partition: str
) -> None:
    put = Put(table=ORDERS, record=a_row(partition), expect=None)
    error = await refusal(
        records.transact([put, Delete(table=ORDERS, key=put.record.key, expect=None)])
    )
    assert error.code == "INVALID_REQUEST"
    assert await records.get(ORDERS, put.record.key) is None


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("index", [None, "by-status"])
async def test_pages_give_every_row_once_and_in_order(
    records: Records, partition: str, index: str | None, newest_first: bool
) -> None:
    sorts = [f"order-{number:04}" for number in range(250)]
    rows = [
        a_row(partition, sort, {"pad": "x" * 6000}, indexes={"by-status": Key(partition, sort)})
        for sort in sorts
    ]
    await fill(records, ORDERS, rows)
    seen, pages = await read_all(
        records, partition, index=index, newest_first=newest_first, limit=100
    )
    assert seen == sorted(sorts, reverse=newest_first)
    assert pages == 3
    whole = await records.query(ORDERS, partition, index=index, limit=1000)
    assert len(whole.records) == 250
    assert whole.records[0].data == rows[0].data
    assert whole.after is None


async def test_a_page_that_ends_with_the_last_row_says_so(records: Records, partition: str) -> None:
    await fill(records, ORDERS, [a_row(partition, sort) for sort in "abc"])
    assert (await records.query(ORDERS, partition, limit=3)).after is None
    assert (await records.query(ORDERS, partition, limit=2)).after is not None


RANGES = [
    ("", None, "abcde"),
    ("b", None, "bcde"),
    ("", "d", "abc"),
    ("b", "d", "bc"),
    ("b", "b", ""),
    ("d", "b", ""),
    ("", "", ""),
    ("bb", "dd", "cd"),
    ("x", None, ""),
]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("index", [None, "by-status"])
@pytest.mark.parametrize(("sort_from", "sort_to", "expected"), RANGES)
async def test_a_range_includes_its_start_and_not_its_end(
    records: Records,
    partition: str,
    sort_from: str,
    sort_to: str | None,
    expected: str,
    index: str | None,
    newest_first: bool,
) -> None:
    rows = [a_row(partition, sort, indexes={"by-status": Key(partition, sort)}) for sort in "abcde"]
    await fill(records, ORDERS, rows)
    wanted = sorted(expected, reverse=newest_first)
    for limit in (1, 2, 100):
        seen, _ = await read_all(
            records,
            partition,
            index=index,
            sort_from=sort_from,
            sort_to=sort_to,
            newest_first=newest_first,
            limit=limit,
        )
        assert seen == wanted


async def test_an_index_files_only_rows_that_ask_for_it_and_follows_their_changes(
    records: Records, partition: str
) -> None:
    def filed(sort: str, status: str) -> Record:
        return a_row(partition, sort, indexes={"by-status": Key(f"{partition}#{status}", sort)})

    async def listed(status: str) -> list[str]:
        page = await records.query(ORDERS, f"{partition}#{status}", index="by-status")
        return [record.key.sort for record in page.records]

    await fill(records, ORDERS, [filed("1", "OPEN"), filed("2", "OPEN"), a_row(partition, "3")])
    assert await listed("OPEN") == ["1", "2"]
    await records.put(ORDERS, filed("1", "CLOSED"), expect=1)
    await records.put(ORDERS, a_row(partition, "2"), expect=1)
    assert (await listed("OPEN"), await listed("CLOSED")) == ([], ["1"])


async def test_rows_filed_under_one_index_key_are_all_listed_over_pages(
    records: Records, partition: str
) -> None:
    rows = [
        a_row(partition, f"{number:02}", indexes={"by-status": Key(partition, "same")})
        for number in range(12)
    ]
    await fill(records, ORDERS, rows)
    seen, _ = await read_all(records, partition, index="by-status", limit=5)
    assert sorted(seen) == [row.key.sort for row in rows]


async def test_partitions_and_tables_do_not_mix(records: Records, partition: str) -> None:
    await records.put(ORDERS, a_row(partition), expect=ABSENT)
    await records.put(ORDERS, a_row(partition + "x"), expect=ABSENT)
    await records.put(TENANTS, a_row(partition, data={"other": 1}), expect=ABSENT)
    page = await records.query(ORDERS, partition)
    assert page == Page(records=(a_row(partition, version=1),), after=None)


async def test_an_expired_row_is_gone_for_reads_and_conditions(
    records: Records, partition: str, clock: ManualClock
) -> None:
    now_s = clock.time_ns() // 1_000_000_000
    index = {"by-status": Key(partition, "x")}
    row = a_row(partition, expires_at=now_s + 60, indexes=index)
    await records.put(ORDERS, row, expect=ABSENT)
    await records.put(ORDERS, a_row(partition, "stays"), expect=ABSENT)
    clock.advance(59)
    assert await records.get(ORDERS, row.key) is not None
    clock.advance(1)
    assert await records.get(ORDERS, row.key) is None
    assert await read_all(records, partition, limit=1) == (["stays"], 1)
    assert await read_all(records, partition, index="by-status") == ([], 1)
    assert (await refusal(records.put(ORDERS, row, expect=1))).metadata["found"] == ABSENT
    await records.transact([Check(table=ORDERS, key=row.key, expect=ABSENT)])
    again = await records.put(ORDERS, a_row(partition, data={"new": 1}), expect=ABSENT)
    assert again.version == 1
    assert await records.get(ORDERS, row.key) == again


@pytest.mark.parametrize(
    "key",
    [
        Key("", "sort"),
        Key("partition", ""),
        Key("p" * 2049, "sort"),
        Key("partition", "s" * 1025),
        Key("\ud800", "sort"),
    ],
)
async def test_keys_that_cannot_be_stored_are_refused(records: Records, key: Key) -> None:
    for outcome in (
        records.get(ORDERS, key),
        records.put(ORDERS, Record(key=key, data={}), expect=None),
        records.put(ORDERS, a_row("p", indexes={"by-status": key}), expect=None),
        records.delete(ORDERS, key, expect=None),
        records.transact([Check(table=ORDERS, key=key, expect=ABSENT)]),
    ):
        error = await refusal(outcome)
        if error.code != "INVALID_REQUEST":
            raise error


async def test_the_largest_keys_are_taken(records: Records, partition: str) -> None:
    key = Key(partition.ljust(2048, "p"), "ż" * 512)
    await records.put(ORDERS, Record(key=key, data={}, indexes={"by-status": key}), expect=None)
    assert await records.get(ORDERS, key) is not None
    page = await records.query(ORDERS, key.partition, index="by-status")
    assert len(page.records) == 1


async def test_the_largest_row_is_taken_and_a_larger_one_refused(
    records: Records, partition: str
) -> None:
    room = ROW_BYTES_MAX - ROW_OVERHEAD_BYTES - len(partition) - len("row") - len('{"pad":""}')
    error = await refusal(
        records.put(ORDERS, a_row(partition, data={"pad": "x" * (room + 1)}), expect=None)
    )
    assert error.code == "REQUEST_TOO_LARGE"
    await records.put(ORDERS, a_row(partition, data={"pad": "x" * room}), expect=None)
    found = await records.get(ORDERS, Key(partition, "row"))
    assert found is not None
    assert len(found.data["pad"]) == room


async def test_data_that_is_not_json_is_refused(records: Records, partition: str) -> None:
    error = await refusal(records.put(ORDERS, a_row(partition, data={"x": object()}), expect=None))
    assert error.code == "INVALID_REQUEST"


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_limit_out_of_bounds_is_refused(
    records: Records, partition: str, limit: int
) -> None:
    error = await refusal(records.query(ORDERS, partition, limit=limit))
    assert error.code == "INVALID_REQUEST"


async def test_a_cursor_of_another_query_is_refused(records: Records, partition: str) -> None:
    await fill(records, ORDERS, [a_row(partition, sort) for sort in "abc"])
    page = await records.query(ORDERS, partition, limit=2)
    assert page.after is not None
    for outcome in (
        records.query(ORDERS, partition + "x", after=page.after),
        records.query(ORDERS, partition, sort_from="c", after=page.after),
        records.query(ORDERS, partition, sort_to="b", after=page.after),
        records.query(ORDERS, partition, after="%%%"),
        records.query(ORDERS, partition, after="bm9uc2Vuc2U"),
        records.query(ORDERS, partition, after=""),
        records.query(ORDERS, partition, after="ż"),
    ):
        assert (await refusal(outcome)).code == "INVALID_REQUEST"


async def test_tables_and_indexes_that_are_not_declared_are_refused(
    records: Records, partition: str
) -> None:
    wrong_index = a_row(partition, indexes={"by-moon": Key("a", "b")})
    for outcome in (
        records.get("moons", Key(partition, "row")),
        records.put("moons", a_row(partition), expect=None),
        records.query("moons", partition),
        records.query(IDEMPOTENCY, partition, index="by-status"),
        records.put(API_KEYS, wrong_index, expect=None),
    ):
        assert (await refusal(outcome)).code == "INTERNAL"


async def test_many_writers_and_readers_at_once_lose_nothing(
    records: Records, partition: str
) -> None:
    async def write_and_read(number: int) -> None:
        stored = await records.put(
            ORDERS, a_row(partition, f"{number:03}", {"n": number}), expect=ABSENT
        )
        assert await records.get(ORDERS, stored.key) == stored

    await asyncio.gather(*(write_and_read(number) for number in range(150)))
    assert len((await read_all(records, partition, limit=40))[0]) == 150

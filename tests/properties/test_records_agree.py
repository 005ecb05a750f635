"""SQLite and the simplest possible model agree, whatever is done in whatever order."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Check, Delete, Key, Put, Record, Write
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import ORDERS, TENANTS

T = TypeVar("T")
REFUSED = "CONFLICT"

parts = st.sampled_from(["a", "a\x00b", "b", "B", "ż", "\U0001f600", "aa"])
row_keys = st.builds(Key, st.sampled_from(["p", "q"]), parts)
expects = st.one_of(st.none(), st.integers(0, 3))
tables = st.sampled_from([ORDERS, TENANTS])
index_keys = st.builds(Key, st.sampled_from(["OPEN", "CLOSED"]), parts)


class Row(NamedTuple):
    table: str
    record: Record


@st.composite
def puts(draw: st.DrawFn) -> Put:
    table = draw(tables)
    names = ["by-status", "by-client-order-id"] if table == ORDERS else []
    indexes = {name: draw(index_keys) for name in names if draw(st.booleans())}
    record = Record(
        key=draw(row_keys),
        data={"value": draw(st.integers(0, 9))},
        indexes=indexes,
        expires_at=draw(st.one_of(st.none(), st.integers(0, 60))),  # seconds from now
    )
    return Put(table=table, record=record, expect=draw(expects))


deletes = st.builds(Delete, table=tables, key=row_keys, expect=expects)
checks = st.builds(Check, table=tables, key=row_keys, expect=st.integers(0, 3))
writes = st.one_of(puts(), puts(), deletes, checks)


def place(write: Write) -> tuple[str, Key]:
    return write.table, write.record.key if isinstance(write, Put) else write.key


class Model:
    """Records as a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Record] = {}

    def transact(self, writes: list[Write], now_s: int) -> bool:
        """False, changing nothing, when a condition fails."""
        for write in writes:
            live = self.get(*place(write), now_s)
            if write.expect not in (None, live.version if live else ABSENT):
                return False
        for write in writes:
            old = self.rows.get(place(write))
            if isinstance(write, Delete):
                self.rows.pop(place(write), None)
            if isinstance(write, Put):
                before = (old.version if old else 0) if write.expect is None else write.expect
                self.rows[place(write)] = msgspec.structs.replace(write.record, version=before + 1)
        return True

    def get(self, table: str, key: Key, now_s: int) -> Record | None:
        found = self.rows.get((table, key))
        if found is None or (found.expires_at is not None and found.expires_at <= now_s):
            return None
        return found

    def live(self, table: str, now_s: int) -> list[Record]:
        found = [self.get(*where, now_s) for where in self.rows if where[0] == table]
        return [record for record in found if record]


class Agreement(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.model = Model()
        self.records = self.open()

    def open(self) -> SqliteRecords:
        return self.run(SqliteRecords.open(self.folder / "records.db", clock=self.clock))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @property
    def now_s(self) -> int:
        return self.clock.time_ns() // 1_000_000_000

    @rule(drawn=st.lists(writes, min_size=1, max_size=6, unique_by=place))
    def transact(self, drawn: list[Write]) -> None:
        asked = [self._from_now(write) for write in drawn]
        done = self.model.transact(asked, self.now_s)
        assert (self._unless_refused(self.records.transact(asked)) != REFUSED) == done

    @rule(drawn=puts())
    def put(self, drawn: Put) -> None:
        put = self._from_now(drawn)
        assert isinstance(put, Put)
        done = self.model.transact([put], self.now_s)
        stored = self._unless_refused(self.records.put(put.table, put.record, expect=put.expect))
        assert stored == (self.model.rows[place(put)] if done else REFUSED)

    @rule(table=tables, partition=st.sampled_from(["p", "q"]), limit=st.integers(1, 4))
    def query(self, table: str, partition: str, limit: int) -> None:
        found = self._pages(table, partition, limit=limit)
        mine = [r for r in self.model.live(table, self.now_s) if r.key.partition == partition]
        assert found == sorted(mine, key=lambda record: record.key.sort)

    @rule(
        status=st.sampled_from(["OPEN", "CLOSED"]),
        limit=st.integers(1, 4),
        sort_from=st.one_of(st.just(""), parts),
        sort_to=st.one_of(st.none(), parts),
        newest_first=st.booleans(),
    )
    def query_index(self, status: str, limit: int, **bounds: Any) -> None:
        found = self._pages(ORDERS, status, index="by-status", limit=limit, **bounds)
        filed = [
            (record.indexes["by-status"].sort, record.key.partition, record.key.sort, record)
            for record in self.model.live(ORDERS, self.now_s)
            if record.indexes.get("by-status", Key("", "")).partition == status
        ]
        upper = bounds["sort_to"]
        inside = [
            row
            for row in filed
            if row[0] >= bounds["sort_from"] and (upper is None or row[0] < upper)
        ]
        inside.sort(key=lambda row: row[:3], reverse=bounds["newest_first"])
        assert found == [row[3] for row in inside]

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        removed = self.run(self.records.purge_expired())
        gone = [where for where in self.model.rows if self.model.get(*where, self.now_s) is None]
        for where in gone:
            del self.model.rows[where]
        assert removed == len(gone)

    @rule()
    def reopen(self) -> None:
        self.run(self.records.close())
        self.records = self.open()

    @invariant()
    def every_row_agrees(self) -> None:
        for table, key in self.model.rows:
            expected = self.model.get(table, key, self.now_s)
            assert self.run(self.records.get(table, key)) == expected

    def teardown(self) -> None:
        self.run(self.records.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def _unless_refused(self, work: Coroutine[Any, Any, T]) -> T | str:
        try:
            return self.run(work)
        except ServiceError as error:
            return error.code

    def _from_now(self, write: Write) -> Write:
        if not isinstance(write, Put) or write.record.expires_at is None:
            return write
        expires_at = self.now_s + write.record.expires_at
        record = msgspec.structs.replace(write.record, expires_at=expires_at)
        return msgspec.structs.replace(write, record=record)

    def _pages(self, table: str, partition: str, **arguments: Any) -> list[Record]:
        found: list[Record] = []
        after = None
        while True:
            page = self.run(self.records.query(table, partition, after=after, **arguments))
            assert len(page.records) <= arguments["limit"]
            found += page.records
            after = page.after
            if after is None:
                return found


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

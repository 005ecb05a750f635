"""Records in one SQLite file: one writer thread that shares each fsync, a few reading threads.

1. A write is answered after its COMMIT with `synchronous=FULL`: never before it is durable.
2. Writes that wait together are committed together. Conditions are checked row by row inside the
   transaction, so a refused write leaves the others of its batch alone.
3. When SQLite fails (disk full, file locked by another process) the whole batch is rolled back and
   refused; the next batch tries anew.
4. Reads run on connections of their own and see only what is committed.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage import sqlite_rows
from trading_platform.storage.records import Delete, Key, Page, Put, Record, Write
from trading_platform.storage.rows import (
    Prepared,
    Query,
    check_key,
    check_table,
    prepare,
    prepare_query,
    unavailable,
)
from trading_platform.storage.sqlite_schema import connect, prepare_file
from trading_platform.storage.worker import Worker

BATCH_MAX = 512
WAITING_MAX = 8192
READERS = 2


class _Purge(msgspec.Struct, frozen=True):
    rows_max: int


_Change = tuple[Prepared, ...] | _Purge
_Read = Callable[[sqlite3.Connection, int], Record | Page | None]


class SqliteRecords:
    """The Records port on one file, which other processes may have open too."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._connections = [connect(path, read_only=False)]
        self._connections += [connect(path, read_only=True) for _ in range(READERS)]
        self._writer: Worker[_Change, list[int]] = Worker(
            "records writer",
            [_Committer(self._connections[0], clock)],
            batch_max=BATCH_MAX,
            waiting_max=WAITING_MAX,
        )
        self._reader: Worker[_Read, Record | Page | None] = Worker(
            "records reader",
            [_Reader(connection, clock) for connection in self._connections[1:]],
            batch_max=16,
            waiting_max=WAITING_MAX,
        )

    @classmethod
    async def open(cls, path: Path, *, clock: Clock | None = None) -> "SqliteRecords":
        """Open or create the file; UNUSABLE_DATA when it is damaged, foreign or too new."""
        await asyncio.to_thread(prepare_file, path)
        return await asyncio.to_thread(cls, path, clock or SystemClock())

    async def get(self, table: str, key: Key) -> Record | None:
        """The row, or None when absent or expired."""
        check_table(table)
        check_key(key)
        found = await self._reader.submit(
            lambda connection, now_s: sqlite_rows.get(connection, table, key, now_s)
        )
        return found if isinstance(found, Record) else None

    async def put(self, table: str, record: Record, *, expect: int | None) -> Record:
        """Write one row; returns it with its new version."""
        (version,) = await self._change([Put(table=table, record=record, expect=expect)])
        return msgspec.structs.replace(record, version=version)

    async def delete(self, table: str, key: Key, *, expect: int | None) -> None:
        """Remove one row; removing what is absent is fine when `expect` is None."""
        await self._change([Delete(table=table, key=key, expect=expect)])

    async def transact(self, writes: Sequence[Write]) -> None:
        """Do all writes or none; at most 100, no row twice."""
        await self._change(writes)

    async def query(
        self,
        table: str,
        partition: str,
        *,
        index: str | None = None,
        sort_from: str = "",
        sort_to: str | None = None,
        newest_first: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Rows of one partition with sort_from <= sort < sort_to, in order; limit <= 1000."""
        asked = prepare_query(
            table,
            partition,
            index=index,
            sort_from=sort_from,
            sort_to=sort_to,
            newest_first=newest_first,
            limit=limit,
            after=after,
        )
        return await self._page(asked)

    async def purge_expired(self, *, rows_max: int = 500) -> int:
        """Remove up to `rows_max` rows past their expiry; how many were removed."""
        (removed,) = await self._writer.submit(_Purge(rows_max))
        return removed

    async def close(self) -> None:
        """Finish what was accepted and let go of the file."""
        await self._writer.close()
        await self._reader.close()
        for connection in self._connections:
            connection.close()

    async def _change(self, writes: Sequence[Write]) -> list[int]:
        return await self._writer.submit(prepare(writes))

    async def _page(self, asked: Query) -> Page:
        page = await self._reader.submit(
            lambda connection, now_s: sqlite_rows.query(connection, asked, now_s)
        )
        return page if isinstance(page, Page) else Page(records=(), after=None)


class _Committer:
    """Does a batch of changes in one transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def __call__(self, batch: list[_Change]) -> Sequence[list[int] | ServiceError]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [self._do(change) for change in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return [_refusal(error) for _ in batch]
        return answers

    def _do(self, change: _Change) -> list[int] | ServiceError:
        now_s = self._clock.time_ns() // 1_000_000_000
        try:
            if isinstance(change, _Purge):
                return [sqlite_rows.purge(self._connection, now_s, change.rows_max)]
            return sqlite_rows.apply(self._connection, change, now_s)
        except ServiceError as refusal:
            return refusal
        except msgspec.DecodeError as error:
            # A row damaged on disk; found while looking, before anything is changed.
            return _refusal(error)

    def _roll_back(self) -> None:
        # Some errors (disk full) have already ended the transaction.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class _Reader:
    """Does reads one after the other; each is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def __call__(self, batch: list[_Read]) -> Sequence[Record | Page | ServiceError | None]:
        return [self._do(read) for read in batch]

    def _do(self, read: _Read) -> Record | Page | ServiceError | None:
        try:
            return read(self._connection, self._clock.time_ns() // 1_000_000_000)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            return _refusal(error)


def _refusal(error: Exception) -> ServiceError:
    refusal = unavailable(f"The records file cannot be used now: {error}. Nothing was changed.")
    refusal.__cause__ = error
    return refusal

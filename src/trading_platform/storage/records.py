"""The port for everything that must survive: DynamoDB-shaped, so that SQLite can do all of it too.

Promises every implementation keeps (tests/contracts/test_records.py):

1. An acknowledged write survives `kill -9` and power loss.
2. A write whose condition fails changes nothing and raises CONFLICT; of two writers that saw one
   version, one wins. The error's metadata names the row: table, partition, sort, expected, found.
3. `transact` is all or nothing.
4. Reads of a table are consistent: a write that was acknowledged before is seen. Index queries may
   lag on DynamoDB.
5. An expired row is absent for reads and conditions. A row removed or expired and then written anew
   counts from version 1 again: what must never repeat (an epoch) belongs in `data`.
6. STORAGE_UNAVAILABLE from a write means that nothing was changed, unless its metadata says
   `maybeWritten`: then nobody knows, and the row must be read before deciding again.
7. Keys are not empty: partition up to 2048 bytes, sort up to 1024. A row has up to 400 KB.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

ABSENT = 0
"""The version of what is not there: `expect=ABSENT` puts only a new row."""


class Key(msgspec.Struct, frozen=True):
    """Where a row lives: rows of one `partition` are kept together in the order of `sort`."""

    partition: str
    sort: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `data` is JSON-like (no floats for money: decimals are strings). `version` counts
    its writes from 1.
    """

    key: Key
    data: Mapping[str, Any]
    version: int = ABSENT
    indexes: Mapping[str, Key] = {}
    """Index name -> where that index files this row; names are declared in tables.py."""
    expires_at: int | None = None
    """Unix seconds after which reads no longer return it."""


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Write the whole row. `expect`: the version it must have now (ABSENT: none), None for any."""

    table: str
    record: Record
    expect: int | None


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Remove the row; `expect` as in Put."""

    table: str
    key: Key
    expect: int | None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Change nothing, but fail the transaction unless the row has version `expect`."""

    table: str
    key: Key
    expect: int


Write = Put | Delete | Check


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows and, when there are more, where to go on."""

    records: tuple[Record, ...]
    after: str | None
    """Opaque; pass it to the same query."""


class Records(Protocol):
    """Rows in tables. Raises ServiceError CONFLICT (a condition failed) and STORAGE_UNAVAILABLE."""

    async def get(self, table: str, key: Key) -> Record | None:
        """The row, or None when absent or expired."""

    async def put(self, table: str, record: Record, *, expect: int | None) -> Record:
        """Write one row; returns it with its new version."""

    async def delete(self, table: str, key: Key, *, expect: int | None) -> None:
        """Remove one row; removing what is absent is fine when `expect` is None."""

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
        """Rows of one partition with sort_from <= sort (and sort < sort_to when given), in order;
        limit <= 1000.
        """

    async def transact(self, writes: Sequence[Write]) -> None:
        """Do all writes or none; at most 100, no row twice."""

    async def close(self) -> None:
        """Finish what was accepted and let go of the store."""

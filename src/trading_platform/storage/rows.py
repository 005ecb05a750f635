"""What every store agrees on about a row: its limits, its text, its page cursor, its refusals.

The limits are DynamoDB's (developer guide, "Service, account, and table quotas"), so that what one
store takes the other takes too.
"""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Check, Delete, Key, Put, Record, Write
from trading_platform.storage.tables import TABLES

ROW_BYTES_MAX = 400 * 1024
ROW_OVERHEAD_BYTES = 512  # attribute names, version, expiry: at most this for our tables
TRANSACTION_BYTES_MAX = 4 * 1024 * 1024
TRANSACTION_WRITES_MAX = 100
PARTITION_BYTES_MAX = 2048
SORT_BYTES_MAX = 1024
PAGE_ROWS_MAX = 1000

_decoder = msgspec.json.Decoder(dict[str, Any])
_cursor_decoder = msgspec.json.Decoder(tuple[str, str, str])


class Prepared(NamedTuple):
    """A checked write and, for a Put, its data as JSON text."""

    write: Write
    text: str


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """The checked arguments of `Records.query`."""

    table: str
    partition: str
    index: str | None
    sort_from: str
    sort_to: str | None
    newest_first: bool
    limit: int
    cursor: "Cursor | None"

    @property
    def is_empty(self) -> bool:
        """Whether no sort key can lie in the range."""
        return self.sort_to is not None and self.sort_from >= self.sort_to


class Cursor(msgspec.Struct, frozen=True):
    """The last row of a page: its sort key in the order of the query, and its own key."""

    sort: str
    key: Key

    def encode(self) -> str:
        """Opaque text for a URL."""
        packed = msgspec.json.encode((self.sort, self.key.partition, self.key.sort))
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def prepare(writes: Sequence[Write]) -> tuple[Prepared, ...]:
    """Check the writes of one transaction and encode their data; INVALID_REQUEST otherwise."""
    if not 1 <= len(writes) <= TRANSACTION_WRITES_MAX:
        raise _invalid(f"a transaction has 1 to {TRANSACTION_WRITES_MAX} writes, not {len(writes)}")
    prepared = tuple(Prepared(write, _text(write)) for write in writes)
    if len({(write.table, key_of(write)) for write in writes}) < len(writes):
        raise _invalid("a transaction writes the same row twice")
    if sum(len(text.encode()) for _, text in prepared) > TRANSACTION_BYTES_MAX:
        raise _too_large(f"a transaction is at most {TRANSACTION_BYTES_MAX} bytes")
    return prepared


def prepare_query(
    table: str,
    partition: str,
    *,
    index: str | None,
    sort_from: str,
    sort_to: str | None,
    newest_first: bool,
    limit: int,
    after: str | None,
) -> Query:
    """Check the arguments of a query; INVALID_REQUEST otherwise."""
    check_table(table)
    if index is not None and index not in TABLES[table]:
        raise ServiceError(f"table {table} has no index {index}", "INTERNAL")
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise _invalid(f"limit must be 1 to {PAGE_ROWS_MAX}, not {limit}")
    _check_part("partition", partition, PARTITION_BYTES_MAX)
    for bound in (sort_from, sort_to):
        if bound:
            _check_part("sort bound", bound, SORT_BYTES_MAX)
    query = Query(
        table=table,
        partition=partition,
        index=index,
        sort_from=sort_from,
        sort_to=sort_to,
        newest_first=newest_first,
        limit=limit,
        cursor=None if after is None else _decode_cursor(after),
    )
    _check_cursor(query)
    return query


def key_of(write: Write) -> Key:
    """The row a write is about."""
    return write.record.key if isinstance(write, Put) else write.key


def cursor_of(record: Record, index: str | None) -> Cursor:
    """Where a page that ends with `record` goes on."""
    sort = record.key.sort if index is None else record.indexes[index].sort
    return Cursor(sort, record.key)


def decode_data(text: str | bytes) -> dict[str, Any]:
    """The data of a stored row."""
    return _decoder.decode(text)


def is_live(expires_at: int | None, now_s: int) -> bool:
    """Whether reads still return a row; it is gone from the second `expires_at` on."""
    return expires_at is None or expires_at > now_s


def check_table(table: str) -> None:
    """INTERNAL unless tables.py declares `table`."""
    if table not in TABLES:
        raise ServiceError(f"no table named {table}; declare it in storage/tables.py", "INTERNAL")


def check_key(key: Key) -> None:
    """INVALID_REQUEST unless both parts can be stored: not empty, not too long, valid Unicode."""
    _check_part("partition", key.partition, PARTITION_BYTES_MAX)
    _check_part("sort", key.sort, SORT_BYTES_MAX)


def conflict(write: Write, found: int | None) -> ServiceError:
    """CONFLICT naming the row; `found` is the version it has now, None when not known."""
    key = key_of(write)
    name = f"{write.table} row {key.partition}/{key.sort}"
    expected = "not to exist yet" if write.expect == ABSENT else f"at version {write.expect}"
    actual = {None: "has changed", ABSENT: "is not there"}.get(found, f"is at version {found}")
    return ServiceError(
        f"{name} was expected {expected} but {actual}; read it and decide again.",
        "CONFLICT",
        metadata={
            "table": write.table,
            "partition": key.partition,
            "sort": key.sort,
            "expected": write.expect,
            "found": found,
        },
    )


def unavailable(message: str, *, maybe_written: bool = False) -> ServiceError:
    """STORAGE_UNAVAILABLE; `maybe_written` when an unanswered write may have happened."""
    metadata = {"maybeWritten": True} if maybe_written else None
    return ServiceError(message, "STORAGE_UNAVAILABLE", metadata=metadata)


def _text(write: Write) -> str:
    check_table(write.table)
    check_key(key_of(write))
    if isinstance(write, Delete | Check):
        return ""
    return _record_text(write.table, write.record)


def _record_text(table: str, record: Record) -> str:
    for index, key in record.indexes.items():
        if index not in TABLES[table]:
            raise ServiceError(f"table {table} has no index {index}", "INTERNAL")
        check_key(key)
    try:
        packed = msgspec.json.encode(record.data)
    except (TypeError, UnicodeEncodeError) as error:
        raise _invalid(f"the data of a {table} row is not JSON-like: {error}") from error
    keys = (record.key, *record.indexes.values())
    key_bytes = sum(len(key.partition.encode()) + len(key.sort.encode()) for key in keys)
    size = len(packed) + key_bytes + ROW_OVERHEAD_BYTES
    if size > ROW_BYTES_MAX:
        raise _too_large(f"a {table} row of {size} bytes is over the {ROW_BYTES_MAX} allowed")
    return packed.decode()


def _check_part(name: str, text: str, bytes_max: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _invalid(f"a {name} key is not valid Unicode") from error
    if not 1 <= size <= bytes_max:
        raise _invalid(f"a {name} key has 1 to {bytes_max} bytes, not {size}")


def _decode_cursor(text: str) -> Cursor:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sort, row_partition, row_sort = _cursor_decoder.decode(packed)
    except (ValueError, msgspec.DecodeError) as error:
        raise _bad_cursor() from error
    return Cursor(sort, Key(row_partition, row_sort))


def _check_cursor(query: Query) -> None:
    """A cursor must lie inside its own query: DynamoDB refuses others, and nobody gains by one."""
    cursor = query.cursor
    if cursor is None:
        return
    check_key(cursor.key)
    _check_part("sort", cursor.sort, SORT_BYTES_MAX)
    inside = cursor.sort >= query.sort_from and (
        query.sort_to is None or cursor.sort < query.sort_to
    )
    own = query.index is not None or cursor.key == Key(query.partition, cursor.sort)
    if not (inside and own):
        raise _bad_cursor()


def _bad_cursor() -> ServiceError:
    return _invalid("`after` is not from a page of this query; start again without it")


def _invalid(message: str) -> ServiceError:
    return ServiceError(message, "INVALID_REQUEST")


def _too_large(message: str) -> ServiceError:
    return ServiceError(message, "REQUEST_TOO_LARGE")

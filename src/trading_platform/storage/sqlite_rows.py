"""Rows in SQL: one connection in, values out. Who calls decides about transactions."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trading_platform.storage.records import ABSENT, Check, Delete, Key, Page, Put, Record
from trading_platform.storage.rows import (
    Prepared,
    Query,
    conflict,
    cursor_of,
    decode_data,
    is_live,
    key_of,
)

_SELECT = "SELECT r.partition, r.sort, r.version, r.data, r.indexes, r.expires_at FROM rows r "
_WHERE_KEY = "WHERE table_name = ? AND partition = ? AND sort = ?"
# Not INSERT OR REPLACE: that would move the row to the end of the file on every change.
_UPSERT = (
    "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " version = excluded.version, data = excluded.data, indexes = excluded.indexes,"
    " expires_at = excluded.expires_at"
)

_indexes_decoder = msgspec.json.Decoder(dict[str, Key])


def get(connection: sqlite3.Connection, table: str, key: Key, now_s: int) -> Record | None:
    """The row, or None when absent or expired."""
    found = connection.execute(_SELECT + _WHERE_KEY, (table, key.partition, key.sort)).fetchone()
    if found is None or not is_live(found[5], now_s):
        return None
    return _record(found)


def query(connection: sqlite3.Connection, query: Query, now_s: int) -> Page:
    """One page, in one statement and so of one moment."""
    sql, values = _query_sql(query, now_s)
    records = [_record(found) for found in connection.execute(sql, values)]
    if len(records) <= query.limit:
        return Page(records=tuple(records), after=None)
    kept = tuple(records[: query.limit])
    return Page(records=kept, after=cursor_of(kept[-1], query.index).encode())


def apply(connection: sqlite3.Connection, writes: Sequence[Prepared], now_s: int) -> list[int]:
    """Do all writes, or raise CONFLICT having changed nothing; the rows' new versions."""
    olds = [_old(connection, write, now_s) for write in writes]
    return [
        _apply_one(connection, prepared, version, indexes)
        for prepared, (version, indexes) in zip(writes, olds, strict=True)
    ]


def purge(connection: sqlite3.Connection, now_s: int, rows_max: int) -> int:
    """Remove up to `rows_max` expired rows; how many it removed."""
    gone = connection.execute(
        "SELECT table_name, partition, sort, indexes FROM rows"
        " WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
        (now_s, rows_max),
    ).fetchall()
    decoded = [(table, Key(*key), _indexes(indexes)) for table, *key, indexes in gone]
    for table, key, indexes in decoded:
        _remove(connection, table, key, indexes)
    return len(gone)


def _old(
    connection: sqlite3.Connection, prepared: Prepared, now_s: int
) -> tuple[int, Mapping[str, Key]]:
    """Version and indexes the row has now, once the write's condition holds.

    An expired row counts as absent for conditions but is still there to be replaced.
    """
    write, key = prepared.write, key_of(prepared.write)
    found = connection.execute(
        f"SELECT version, indexes, expires_at FROM rows {_WHERE_KEY}",  # noqa: S608 - constant
        (write.table, key.partition, key.sort),
    ).fetchone()
    version, indexes, expires_at = found or (ABSENT, None, None)
    seen = version if is_live(expires_at, now_s) else ABSENT
    if write.expect is not None and write.expect != seen:
        raise conflict(write, seen)
    return version, _indexes(indexes)


def _apply_one(
    connection: sqlite3.Connection, prepared: Prepared, version: int, indexes: Mapping[str, Key]
) -> int:
    write = prepared.write
    if isinstance(write, Check):
        return version
    if isinstance(write, Delete):
        _remove(connection, write.table, write.key, indexes)
        return ABSENT
    new_version = (version if write.expect is None else write.expect) + 1
    _write(connection, write, prepared.text, new_version, indexes)
    return new_version


def _write(
    connection: sqlite3.Connection, put: Put, text: str, version: int, old: Mapping[str, Key]
) -> None:
    record, new = put.record, put.record.indexes
    indexes = msgspec.json.encode(new).decode() if new else None
    connection.execute(
        _UPSERT,
        (put.table, *_pair(record.key), version, text, indexes, record.expires_at),
    )
    if new == old:
        return
    _remove_index_rows(connection, put.table, record.key, old)
    connection.executemany(
        "INSERT INTO index_rows VALUES (?, ?, ?, ?, ?, ?)",
        [(put.table, name, *_pair(key), *_pair(record.key)) for name, key in new.items()],
    )


def _remove(
    connection: sqlite3.Connection, table: str, key: Key, indexes: Mapping[str, Key]
) -> None:
    _remove_index_rows(connection, table, key, indexes)
    connection.execute(
        f"DELETE FROM rows {_WHERE_KEY}",  # noqa: S608 - constant
        (table, key.partition, key.sort),
    )


def _remove_index_rows(
    connection: sqlite3.Connection, table: str, key: Key, indexes: Mapping[str, Key]
) -> None:
    connection.executemany(
        "DELETE FROM index_rows WHERE table_name = ? AND index_name = ? AND index_partition = ?"
        " AND index_sort = ? AND partition = ? AND sort = ?",
        [(table, name, *_pair(filed), *_pair(key)) for name, filed in indexes.items()],
    )


def _query_sql(query: Query, now_s: int) -> tuple[str, list[Any]]:
    """The columns a page is ordered by are those of the primary key that the search walks."""
    values: list[Any]
    if query.index is None:
        columns = ["r.sort"]
        where = "WHERE r.table_name = ? AND r.partition = ?"
        values = [query.table, query.partition]
    else:
        columns = ["i.index_sort", "i.partition", "i.sort"]
        where = (
            "JOIN index_rows i USING (table_name, partition, sort)"
            " WHERE i.table_name = ? AND i.index_name = ? AND i.index_partition = ?"
        )
        values = [query.table, query.index, query.partition]
    where += f" AND {columns[0]} >= ?"
    values.append(query.sort_from)
    if query.sort_to is not None:
        where += f" AND {columns[0]} < ?"
        values.append(query.sort_to)
    direction, beyond = ("DESC", "<") if query.newest_first else ("ASC", ">")
    if query.cursor is not None:
        places = ", ".join("?" for _ in columns)
        where += f" AND ({', '.join(columns)}) {beyond} ({places})"
        values += [query.cursor.sort, *_pair(query.cursor.key)][: len(columns)]
    order = ", ".join(f"{column} {direction}" for column in columns)
    values += [now_s, query.limit + 1]
    live = "(r.expires_at IS NULL OR r.expires_at > ?)"
    return f"{_SELECT} {where} AND {live} ORDER BY {order} LIMIT ?", values


def _record(found: tuple[Any, ...]) -> Record:
    partition, sort, version, data, indexes, expires_at = found
    return Record(
        key=Key(partition, sort),
        data=decode_data(data),
        version=version,
        indexes=_indexes(indexes),
        expires_at=expires_at,
    )


def _indexes(text: str | None) -> Mapping[str, Key]:
    return {} if text is None else _indexes_decoder.decode(text)


def _pair(key: Key) -> tuple[str, str]:
    return key.partition, key.sort

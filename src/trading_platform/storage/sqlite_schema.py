"""The SQLite file: its layout, and whether a file found on disk can be used at all.

A file is examined through a read-only connection before anything is changed, so that a refused
file stays as it was found.
"""

import os
import sqlite3
import stat
import time
from pathlib import Path

from trading_platform.kit.errors import ServiceError

APPLICATION_ID = 0x54504C52  # "TPLR", in the file's header
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
FILE_MODE = 0o600

_MAGIC = b"SQLite format 3\x00"

_CREATE = (
    """CREATE TABLE rows (
        table_name TEXT NOT NULL, partition TEXT NOT NULL, sort TEXT NOT NULL,
        version INTEGER NOT NULL, data TEXT NOT NULL, indexes TEXT, expires_at INTEGER,
        PRIMARY KEY (table_name, partition, sort))""",
    """CREATE TABLE index_rows (
        table_name TEXT NOT NULL, index_name TEXT NOT NULL,
        index_partition TEXT NOT NULL, index_sort TEXT NOT NULL,
        partition TEXT NOT NULL, sort TEXT NOT NULL,
        PRIMARY KEY (table_name, index_name, index_partition, index_sort, partition, sort))
        WITHOUT ROWID""",
    "CREATE INDEX expiring_rows ON rows (expires_at) WHERE expires_at IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def prepare_file(path: Path) -> None:
    """Make `path` a usable store of mode 0600, creating it when absent; UNUSABLE_DATA if not."""
    if not path.parent.is_dir():
        raise _unusable(path, "its folder does not exist", "Create the folder and start again.")
    try:
        if path.exists() and path.stat().st_size > 0:
            _examine(path)
        else:
            _check_not_orphaned(path)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
        if stat.S_IMODE(path.stat().st_mode) != FILE_MODE:
            path.chmod(FILE_MODE)
        _create(path)
    except OSError as error:
        raise _unusable(path, str(error), "Check the owner and rights of the folder.") from error
    except sqlite3.OperationalError as error:
        advice = "Check that the disk has room and that no other program holds the file."
        raise _unusable(path, str(error), advice) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection for one thread at a time, in autocommit mode, with the settings it needs."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    return connection


def _examine(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise _damaged(path, "it is not an SQLite file")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        _check_ours(path, connection)
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        connection.close()
    if verdict != "ok":
        raise _damaged(path, verdict)


def _check_ours(path: Path, connection: sqlite3.Connection) -> None:
    application, version, tables = _identity(connection)
    if (application, version, tables) == (0, 0, 0):
        return  # a first start was cut off before it created anything
    if application != APPLICATION_ID:
        raise _unusable(path, "it belongs to another program", "Choose another data folder.")
    if version > SCHEMA_VERSION:
        raise _unusable(
            path,
            f"a newer release wrote it (layout {version}; this release knows {SCHEMA_VERSION})",
            "Start the newer release, or restore a copy made before the upgrade.",
        )


def _check_not_orphaned(path: Path) -> None:
    """SQLite would delete a write-ahead log whose main file is gone, and the rows in it."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > 0:
        raise _damaged(path, f"it is missing or empty while {log.name} beside it holds data")


def _create(path: Path) -> None:
    connection = connect(path, read_only=False)
    try:
        _use_write_ahead_log(connection)
        connection.execute("BEGIN IMMEDIATE")
        if _identity(connection) == (0, 0, 0):
            for statement in _CREATE:
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for other processes when it changes the journal mode: we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _identity(connection: sqlite3.Connection) -> tuple[int, int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return int(application), int(version), int(tables)


def _damaged(path: Path, reason: str) -> ServiceError:
    advice = "Restore a copy of it, or move it away to start with empty records."
    return _unusable(path, f"it is damaged: {reason}", advice)


def _unusable(path: Path, reason: str, advice: str) -> ServiceError:
    return ServiceError(
        f"Cannot use {path}: {reason}. {advice} Nothing was changed.",
        "UNUSABLE_DATA",
        metadata={"path": str(path)},
    )

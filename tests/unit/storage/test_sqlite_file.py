"""What SQLite does with the file it is given: modes, damage, foreign files, two processes."""

import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Key, Put, Record
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.sqlite_schema import SCHEMA_VERSION, prepare_file
from trading_platform.storage.tables import ORDERS


def a_row(sort: str, **data: object) -> Record:
    return Record(key=Key("tenant-1", sort), data=data)


@pytest.fixture
async def used(tmp_path: Path) -> Path:
    """A file that holds 400 rows, closed."""
    path = tmp_path / "records.db"
    records = await SqliteRecords.open(path)
    rows = [a_row(f"{number:03}", pad="x" * 200) for number in range(400)]
    for start in range(0, 400, 100):
        await records.transact(
            [Put(table=ORDERS, record=row, expect=ABSENT) for row in rows[start : start + 100]]
        )
    await records.close()
    return path


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[SqliteRecords]:
    records = await SqliteRecords.open(tmp_path / "records.db")
    yield records
    await records.close()


def refusal(path: Path) -> ServiceError:
    """Preparing the file is refused and leaves the folder's content as it was."""
    before = content(path.parent)
    with pytest.raises(ServiceError) as caught:
        prepare_file(path)
    assert caught.value.code == "UNUSABLE_DATA"
    assert str(path) in caught.value.message
    assert content(path.parent) == before
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    """All files but SQLite's shared-memory index, which holds nothing lasting."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".db-shm"]
    return {path.name: path.read_bytes() for path in files if path.stat().st_size}


def run_sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_all_files_are_for_the_owner_only(opened: SqliteRecords, tmp_path: Path) -> None:
    await opened.put(ORDERS, a_row("1"), expect=ABSENT)
    assert modes(tmp_path) == {
        "records.db": 0o600,
        "records.db-wal": 0o600,
        "records.db-shm": 0o600,
    }


def test_a_file_others_could_read_is_closed_to_them(used: Path) -> None:
    used.chmod(0o644)
    prepare_file(used)
    assert modes(used.parent)["records.db"] == 0o600


async def test_rows_are_there_after_reopening(used: Path) -> None:
    records = await SqliteRecords.open(used)
    page = await records.query(ORDERS, "tenant-1", limit=1000)
    await records.close()
    assert len(page.records) == 400


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="folder does not exist") as caught:
        prepare_file(tmp_path / "nowhere" / "records.db")
    assert caught.value.code == "UNUSABLE_DATA"


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()
    refusal(tmp_path / "records.db")


@pytest.mark.parametrize("junk", [b"x", b"not a database\n" * 1000, b"SQLite format 3\x00"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(junk)
    assert "damaged" in refusal(path).message


def test_a_truncated_file_is_refused(used: Path) -> None:
    size = used.stat().st_size
    for kept in (size // 2, size - 4096, 4096, 100, 17):
        damaged = used.with_name(f"truncated-{kept}.db")
        damaged.write_bytes(used.read_bytes()[:kept])
        assert "Restore a copy" in refusal(damaged).message
        damaged.unlink()


def test_a_file_with_an_overwritten_page_is_refused(used: Path) -> None:
    whole = used.read_bytes()
    pages = len(whole) // 4096
    assert pages > 10
    for page in range(1, pages):
        damaged = used.with_name("overwritten.db")
        damaged.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
        assert "damaged" in refusal(damaged).message
        damaged.unlink()


def test_a_log_without_its_main_file_is_refused(used: Path) -> None:
    log = used.with_name("records.db-wal")
    log.write_bytes(b"rows not yet in the main file")
    used.unlink()
    assert "holds data" in refusal(used).message
    used.touch()
    assert "holds data" in refusal(used).message


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    run_sql(path, "CREATE TABLE notes (text)")
    assert "another program" in refusal(path).message


def test_a_newer_layout_is_refused(used: Path) -> None:
    run_sql(used, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert "newer release" in refusal(used).message


def test_an_empty_file_left_by_a_first_start_that_was_cut_off_is_used(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.touch()
    prepare_file(path)
    run_sql(tmp_path / "begun.db", "PRAGMA journal_mode = WAL")
    prepare_file(tmp_path / "begun.db")
    prepare_file(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refusal(tmp_path / "records.db")
    finally:
        tmp_path.chmod(0o700)


async def test_a_copy_of_file_and_log_opens_with_every_row(
    opened: SqliteRecords, tmp_path: Path
) -> None:
    for number in range(50):
        await opened.put(ORDERS, a_row(f"{number:02}"), expect=ABSENT)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("records.db", "records.db-wal"):
        shutil.copy(tmp_path / name, copy / name)
    records = await SqliteRecords.open(copy / "records.db")
    page = await records.query(ORDERS, "tenant-1")
    await records.close()
    assert len(page.records) == 50


async def test_two_that_have_the_file_open_see_each_others_writes(
    opened: SqliteRecords, tmp_path: Path
) -> None:
    other = await SqliteRecords.open(tmp_path / "records.db")
    first = await opened.put(ORDERS, a_row("1", by="first"), expect=ABSENT)
    assert await other.get(ORDERS, first.key) == first
    with pytest.raises(ServiceError, match="version 1") as caught:
        await other.put(ORDERS, a_row("1", by="other"), expect=ABSENT)
    assert caught.value.code == "CONFLICT"
    second = await other.put(ORDERS, a_row("1", by="other"), expect=1)
    assert await opened.get(ORDERS, first.key) == second
    await other.close()

"""Real processes that write, killed or starved of disk: what was acknowledged is there, whole."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trading_platform.storage.records import Record
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import IDEMPOTENCY, ORDERS

REPOSITORY = Path(__file__).parents[2]


class Writer:
    """A process that writes rows and says which were acknowledged."""

    def __init__(self, path: Path, name: str, bytes_max: int = 0) -> None:
        self.lines: list[str] = []
        self._grew = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.storage_writer", path, name, str(bytes_max)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._grew:
                # A line cut off by the kill acknowledges nothing.
                self.lines += [line.strip()] if line.endswith("\n") else []
                self._grew.notify_all()

    def wait_for_lines(self, count: int) -> None:
        """Return once that many lines have come."""
        with self._grew:
            assert self._grew.wait_for(lambda: len(self.lines) >= count, timeout=30)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self.finish()

    def finish(self) -> int:
        """Wait for the end."""
        status = self._process.wait(60)
        self._reader.join(30)
        return status

    @property
    def acknowledged(self) -> set[str]:
        """Sort keys of the rows it was told are safe."""
        return {line for line in self.lines if not line.startswith("refused")}


async def rows(records: SqliteRecords, table: str, name: str, index: str | None = None) -> set[str]:
    found: list[Record] = []
    after = None
    partition = name if index is None else f"{name}#OPEN"
    while True:
        page = await records.query(table, partition, index=index, limit=1000, after=after)
        found += page.records
        after = page.after
        if after is None:
            return {record.key.sort for record in found}


async def check(path: Path, name: str, acknowledged: set[str]) -> None:
    """Every acknowledged row is there, and no transaction or index entry is half there."""
    records = await SqliteRecords.open(path)
    orders = await rows(records, ORDERS, name) - {"zz-after"}
    assert acknowledged - {"zz-after"} <= orders
    assert await rows(records, IDEMPOTENCY, name) == orders
    assert await rows(records, ORDERS, name, "by-status") == orders
    await records.close()


@pytest.mark.parametrize("seed", range(4))
async def test_every_acknowledged_row_survives_kill_9(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "records.db"
    draw = random.Random(seed)
    for name in ("first", "second"):  # the second starts on what the first left behind
        writer = Writer(path, name)
        writer.wait_for_lines(draw.randint(1, 1500))
        writer.kill()
        assert writer.acknowledged
        await check(path, name, writer.acknowledged)


async def test_killing_one_of_two_writers_harms_neither(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    killed, other = Writer(path, "killed"), Writer(path, "other")
    killed.wait_for_lines(200)
    other.wait_for_lines(200)
    killed.kill()
    other.wait_for_lines(len(other.lines) + 200)
    other.kill()
    await check(path, "killed", killed.acknowledged)
    await check(path, "other", other.acknowledged)


async def test_a_full_disk_is_refused_clearly_and_writing_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    path = tmp_path / "records.db"
    writer = Writer(path, "starved", bytes_max=600_000)
    assert writer.finish() == 0
    refused = [line for line in writer.lines if line.startswith("refused")]
    assert set(refused) == {"refused STORAGE_UNAVAILABLE"}
    assert writer.lines[-1] == "zz-after"
    assert len(writer.acknowledged) > 50
    await check(path, "starved", writer.acknowledged)

"""A damaged data folder is refused with a sentence that says what to do, and left as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Demo
from tests.processes import Ended, run


def _files(data: Path) -> dict[str, bytes]:
    """What must not change: all but locks, cache, SQLite's memory of readers, sound journals."""
    found = {file.name: file.read_bytes() for file in data.iterdir() if file.is_file()}
    return {
        name: content
        for name, content in found.items()
        if not name.endswith((".lock", "-shm")) and (content or not name.endswith("-wal"))
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that was used and stopped."""
    folder = tmp_path_factory.mktemp("sound")
    demo = Demo(folder, folder / "data")
    body = {"exchangeId": "BINANCE", "symbol": "BTC-USDT", "side": "BUY", "quantity": "0.001"}
    assert demo.call("POST", "/v1/orders", {**body, "orderType": "MARKET"}, "one")[0] == 201
    assert demo.program.stop() == 0
    return demo.data


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound folder, to damage."""
    return shutil.copytree(sound, tmp_path / "data", ignore=shutil.ignore_patterns("valkey"))


def _refused(data: Path, *says: str) -> Ended:
    before = _files(data)
    ended = run("demo", "--json", "--port", "0", "--data", str(data))
    assert ended.code == 4, ended
    assert ended.output == ""
    assert len(ended.errors.splitlines()) == 1, ended.errors
    for words in says:
        assert words in ended.errors
    assert _files(data) == before, "it changes nothing"
    return ended


def _garbage(content: bytes) -> bytes:
    return b"no database, only words " * (len(content) // 24)


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2 - 100]


def _half_written(content: bytes) -> bytes:
    return content[:4096] + bytes(len(content) - 4096)


@pytest.mark.parametrize("damage", [_garbage, _truncated, _half_written])
def test_damaged_records_are_refused(data: Path, damage: Callable[[bytes], bytes]) -> None:
    file = data / "records.sqlite"
    file.write_bytes(damage(file.read_bytes()))
    _refused(data, str(file), "Restore a copy", "move it away", "[UNUSABLE_DATA]")


def test_empty_pepper_is_refused(data: Path) -> None:
    (data / "api-key-pepper").write_bytes(b"")
    _refused(data, "api-key-pepper is empty", "backup")


def test_pepper_that_others_may_read_is_refused(data: Path) -> None:
    (data / "api-key-pepper").chmod(0o644)
    _refused(data, "api-key-pepper", "chmod go=")


def test_folder_that_others_may_read_is_refused(data: Path) -> None:
    data.chmod(0o755)
    _refused(data, "can be read by other accounts", f"chmod go= {data}")


@pytest.mark.parametrize(
    "garbage", [b"garbage\n{}\n", b"garbage without an end", b"{}\n\xff\xfe\n"]
)
def test_garbage_in_an_exchange_journal_is_refused(data: Path, garbage: bytes) -> None:
    journal = data / "simulation" / "coinbase.jsonl"
    journal.write_bytes(garbage)
    _refused(data, str(journal), "move the file away")
    assert journal.read_bytes() == garbage


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    ended = run("demo", "--port", "0", "--data", str(file))
    assert (ended.code, file.read_text()) == (4, "mine")
    assert "another with --data" in ended.errors

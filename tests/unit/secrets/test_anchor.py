"""What guards against rollbacks survives crashes, and is shared by processes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.anchor import LINE_BYTES, FileAnchor


def test_counters_only_go_up_and_are_seen_by_everybody(tmp_path: Path) -> None:
    one, two = FileAnchor(tmp_path / "log"), FileAnchor(tmp_path / "log")
    assert one.highest("/a") == 0
    one.note("/a", 5)
    two.note("/a", 3)
    two.note("/b", 1)
    assert [(a.highest("/a"), a.highest("/b")) for a in (one, two)] == [(5, 1)] * 2
    assert FileAnchor(tmp_path / "log").highest("/a") == 5
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", range(1, LINE_BYTES))
def test_a_line_torn_by_a_crash_is_dropped_and_the_rest_stays(tmp_path: Path, torn: int) -> None:
    anchor = FileAnchor(tmp_path / "log")
    anchor.note("/a", 1)
    anchor.note("/a", 2)
    anchor.close()
    content = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(content[:-torn])
    again = FileAnchor(tmp_path / "log")
    assert again.highest("/a") == 1
    again.note("/b", 7)
    assert (again.highest("/a"), again.highest("/b")) == (1, 7)
    assert FileAnchor(tmp_path / "log").highest("/b") == 7


def test_damage_and_a_shortened_file_are_named(tmp_path: Path) -> None:
    anchor = FileAnchor(tmp_path / "log")
    anchor.note("/a", 1)
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(ServiceError, match="is damaged"):
        anchor.highest("/a")
    (tmp_path / "log").write_bytes(b"x" * LINE_BYTES)
    with pytest.raises(ServiceError, match="is damaged"):
        FileAnchor(tmp_path / "log").highest("/a")


def test_threads_and_processes_that_note_at_once_lose_nothing(tmp_path: Path) -> None:
    anchors = [FileAnchor(tmp_path / "log") for _ in range(2)]

    def note(number: int) -> None:
        anchors[number % 2].note(f"/{number % 20}", number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(1, 201)))
    assert [anchors[0].highest(f"/{number % 20}") for number in range(181, 201)] == list(
        range(181, 201)
    )

"""`trading-platform audit`, on a data folder made by the command line itself."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.processes import Ended
from tests.processes import run as run_alone
from trading_platform.cli.commands import app


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one tenant and one key."""
    data = tmp_path_factory.mktemp("audited") / "data"
    tenant = said("tenant", "create", "Desk 7", "--data", str(data))
    said("api-key", "create", tenant["tenantId"], "--data", str(data))
    return data, tenant["tenantId"]


@pytest.fixture
def folder(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    copy = tmp_path / "data"
    copy.mkdir(mode=0o700)
    for file in made[0].iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
            (copy / file.name).chmod(0o600)
    return copy


def spoil(folder: Path, statement: str, *values: str) -> None:
    connection = sqlite3.connect(folder / "records.sqlite")
    changed = connection.execute(statement, values).rowcount
    connection.commit()
    connection.close()
    assert changed > 0, "the test changed nothing"


def said(*arguments: str) -> Any:
    """What a command prints with --json."""
    ended = run(*arguments, "--json")
    assert ended.code == 0, ended.errors
    return json.loads(ended.output)


def run(*arguments: str) -> Ended:
    """A command in this process: a fresh one each takes a second to load."""
    done = CliRunner().invoke(app, arguments)
    return Ended(done.exit_code, done.stdout, done.stderr)


def test_every_log_is_checked_and_whole(made: tuple[Path, str]) -> None:
    data, tenant_id = made
    rows = said("audit", "verify", "--data", str(data))
    assert [(row["log"], row["ok"], row["entries"]) for row in rows] == [
        ("platform", True, 1),
        (tenant_id, True, 2),
    ]


def test_an_export_is_json_lines_and_can_be_checked_alone(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    data, tenant_id = made
    exported = run("audit", "export", tenant_id, "--data", str(data))
    assert exported.code == 0, exported.errors
    entries = [json.loads(line) for line in exported.output.splitlines()]
    assert [entry["action"] for entry in entries] == ["TENANT_CREATED", "API_KEY_CREATED"]
    file = tmp_path / "audit.jsonl"
    file.write_text(exported.output)
    (row,) = said("audit", "verify", "--file", str(file))
    assert (row["ok"], row["entries"]) == (True, 2)
    (row,) = said("audit", "verify", "--against", str(file), "--data", str(data))
    assert (row["log"], row["ok"]) == (tenant_id, True)


def test_a_changed_line_of_an_export_is_found(made: tuple[Path, str], tmp_path: Path) -> None:
    data, tenant_id = made
    exported = run("audit", "export", tenant_id, "--data", str(data)).output
    file = tmp_path / "audit.jsonl"
    file.write_text(exported.replace("operator", "somebody", 1))
    ended = run("audit", "verify", "--file", str(file))
    assert ended.code == 1
    assert "entry 1 was changed" in ended.output
    against = run("audit", "verify", "--against", str(file), "--data", str(data))
    assert (against.code, "cannot be compared with" in against.errors) == (1, True)


def test_a_changed_row_is_found_and_the_command_fails(made: tuple[Path, str], folder: Path) -> None:
    spoil(folder, "UPDATE rows SET data = replace(data, 'operator', 'somebody')")
    ended = run("audit", "verify", "--data", str(folder))
    assert ended.code == 1
    assert "entry 1 was changed after it was written" in ended.output


def test_a_log_that_is_gone_whole_is_missed(made: tuple[Path, str], folder: Path) -> None:
    _, tenant_id = made
    spoil(
        folder,
        "DELETE FROM rows WHERE partition = ? AND sort <> 'profile'",
        tenant_id,
    )
    ended = run("audit", "verify", "--data", str(folder))
    assert ended.code == 1
    assert "its own log is empty" in ended.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no entries"),
        (b"{}\n", "line 1"),
        (b"not json\n", "line 1"),
        (b"\xff\xfe\n", "line 1"),
        (b'{"a":"' + b"x" * (2 << 20) + b'"}', "line 1"),
    ],
    ids=["empty", "no entry", "no json", "no text", "endless line"],
)
def test_a_file_that_is_no_export_gets_one_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(content)
    ended = run("audit", "verify", "--file", str(file))
    assert ended.code == 1
    assert words in ended.errors
    assert len(ended.errors.splitlines()) == 1


def test_a_missing_file_and_an_unknown_log_get_one_sentence(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    data, _ = made
    for arguments in (
        ("verify", "--file", str(tmp_path / "none")),
        ("verify", "tenant-unknown", "--data", str(data)),
        ("export", "tenant-unknown", "--data", str(data)),
    ):
        ended = run("audit", *arguments)
        assert ended.code == 1
        assert len(ended.errors.splitlines()) == 1
        assert "Traceback" not in ended.errors


def test_a_key_file_that_others_can_read_stops_every_command(folder: Path) -> None:
    (folder / "api-key-pepper").chmod(0o644)
    ended = run_alone("audit", "verify", "--data", str(folder))
    assert ended.code == 4
    assert "chmod go=" in ended.errors

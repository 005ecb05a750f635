"""`trading-platform credentials`: no secret on a command line, every step by hand."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.conftest import Demo
from trading_platform.simulation.credentials import simulated_keys

KEYS = simulated_keys("somebody-else")


def piped(demo: Demo, text: str, *arguments: str, fds: dict[int, str] | None = None) -> Any:
    """A command with `text` on stdin, and each of `fds` readable under its number."""
    ends = {}
    for name, content in (fds or {}).items():
        read, write = os.pipe()
        os.write(write, content.encode())
        os.close(write)
        ends[name] = read
    line = [sys.executable, "-m", "trading_platform", "credentials", *arguments]
    for name, read in ends.items():
        line += ["--secret-fd" if name == 1 else "--passphrase-fd", str(read)]
    done = subprocess.run(
        line,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        pass_fds=tuple(ends.values()),
        env={**os.environ, **demo.variables},
    )
    for read in ends.values():
        os.close(read)
    return done


def test_the_demo_tenant_has_validated_keys(demo: Demo) -> None:
    for exchange in ("BINANCE", "COINBASE"):
        shown = demo.run_json("credentials", "show", exchange)
        assert shown["status"] == "ACTIVE"
        assert shown["current"]["rights"] == ["read", "trade"]


def test_a_secret_comes_by_stdin_and_is_never_printed(demo: Demo) -> None:
    done = piped(demo, KEYS.api_secret + "\n", "set", "BINANCE", "--key", KEYS.api_key, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ACTIVE"
    assert KEYS.api_secret not in done.stdout + done.stderr


def test_secret_and_passphrase_come_by_file_descriptors_or_two_lines(demo: Demo) -> None:
    arguments = ("set", "COINBASE", "--key", KEYS.api_key, "--json")
    fds = {1: KEYS.api_secret + "\n", 2: KEYS.passphrase + "\n"}
    done = piped(demo, "", *arguments, fds=fds)
    assert done.returncode == 0, done.stderr
    done = piped(demo, f"{KEYS.api_secret}\n{KEYS.passphrase}\n", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--secret", "--api-secret", "--passphrase"])
def test_there_is_no_option_that_takes_a_secret(demo: Demo, option: str) -> None:
    done = piped(demo, "", "set", "BINANCE", "--key", "k", option, "hidden-text")
    assert done.returncode == 2


def test_a_key_with_spaces_is_named_and_exits_1(demo: Demo) -> None:
    done = piped(demo, f" {KEYS.api_secret}", "set", "BINANCE", "--key", KEYS.api_key)
    assert done.returncode == 1
    assert "spaces" in done.stderr
    assert KEYS.api_secret not in done.stdout + done.stderr


def test_a_secret_does_not_travel_over_plain_http_to_another_machine(demo: Demo) -> None:
    done = piped(demo, "s", "set", "BINANCE", "--key", "k", "--url", "http://platform.example:8080")
    assert done.returncode == 1
    assert "plain http" in done.stderr


def test_nothing_to_read_is_said(demo: Demo) -> None:
    assert "stdin is empty" in piped(demo, "", "set", "BINANCE", "--key", "k").stderr
    gone = piped(demo, "", "set", "BINANCE", "--key", "k", "--secret-fd", "77")
    assert "file descriptor 77 cannot be read" in gone.stderr


def test_a_rotation_by_hand(demo: Demo) -> None:
    new = simulated_keys("another-key")
    staged = piped(demo, new.api_secret, "rotate", "stage", "BINANCE", "--key", new.api_key)
    assert staged.returncode == 0, staged.stderr
    for step in ("test", "switch", "retire"):
        demo.run_json("credentials", "rotate", step, "BINANCE")
    again = demo.run("credentials", "rotate", "retire", "BINANCE")
    assert again.code == 1


def test_the_operator_revokes_all_on_the_data_folder_of_a_running_platform(demo: Demo) -> None:
    rows = demo.run_json(
        "credentials", "revoke-all", "--platform", "--data", str(demo.data), "--reason", "a test"
    )
    assert {row["status"] for row in rows} == {"REVOKED"}
    assert all(row["shredded"] for row in rows)
    shown = demo.run_json("credentials", "show", "BINANCE")
    assert shown["status"] == "REVOKED"
    refused = demo.run("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT")
    assert refused.code == 1
    # Which of the two depends on whether this process has followed the revocation yet.
    assert "revoked" in refused.errors or "no credential is stored" in refused.errors

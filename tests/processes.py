"""Real processes of the platform's own command line, for tests that kill them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

READY_S = 20.0
STOP_S = 10.0
MODULE = ("-m", "trading_platform")


class Program:
    """`trading-platform ARGUMENTS...`, started and read line by line."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, python: Sequence[str] = MODULE
    ) -> None:
        self._errors = (folder / f"{arguments[0]}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *python, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout_s: float = READY_S) -> str:
        """The next line it prints."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise AssertionError("it printed nothing in time") from None
        assert line is not None, f"it ended with {self.process.wait(STOP_S)}: {self.said()}"
        return line

    def said(self) -> str:
        """What it wrote to stderr so far."""
        return Path(self._errors.name).read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no warning, no clean-up."""
        self.process.kill()
        self.process.wait(STOP_S)
        self._errors.close()

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STOP_S)
        self._errors.close()
        return code


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    output: str
    errors: str


def run(*arguments: str, **environment: str) -> Ended:
    """Run a command to its end, with these variables set."""
    done = subprocess.run(
        [sys.executable, "-m", "trading_platform", *arguments],
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
        env={**os.environ, **environment},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def run_json(*arguments: str, **environment: str) -> Any:
    """What a command prints with --json."""
    done = run(*arguments, "--json", **environment)
    assert done.code == 0, done.errors
    return json.loads(done.output)


def children(process_id: int) -> list[int]:
    """The processes that it started and that still run."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [own for own, parent in pairs if parent == process_id]


def runs(process_id: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True

"""Knows, outside the database, how far each secret has come: an older row put back is noticed.

A change is committed first and noted then, so a crash in between leaves the anchor one behind: the
rollback of exactly that change would not be seen. Whoever can roll back the anchor's own file as
well is not stopped here; the audit log names every version that was ever current.
"""

import fcntl
import hashlib
import os
import threading
from pathlib import Path
from typing import Protocol

from trading_platform.kit.errors import ServiceError

LINE_BYTES = 16 + 1 + 16 + 1


class Anchor(Protocol):
    """The highest counter noted for a path; 0 for none."""

    def highest(self, path: str) -> int:
        """What was noted."""

    def note(self, path: str, counter: int) -> None:
        """Remember `counter`; lower ones change nothing."""


class MemoryAnchor:
    """Knows what this process has seen. For stores shared by hosts that share no file."""

    def __init__(self) -> None:
        self._highest: dict[bytes, int] = {}

    def highest(self, path: str) -> int:
        return self._highest.get(_name(path), 0)

    def note(self, path: str, counter: int) -> None:
        name = _name(path)
        self._highest[name] = max(counter, self._highest.get(name, 0))


class FileAnchor:
    """Knows what any process of this machine has noted: a log of fixed-length lines beside the
    master key. A line takes microseconds to read; one is written for each change of a secret.
    """

    def __init__(self, file: Path) -> None:
        self._names: dict[bytes, int] = {}
        self._read_to = 0
        self._turn = threading.Lock()
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file = file

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def highest(self, path: str) -> int:
        with self._turn:
            self._catch_up()
            return self._names.get(_name(path), 0)

    def note(self, path: str, counter: int) -> None:
        with self._turn:
            self._catch_up()
            if counter > self._names.get(_name(path), 0):
                self._append(_name(path) + b" %016x\n" % counter)
                self._catch_up()

    def _append(self, line: bytes) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            self._drop_torn_end()
            os.write(self._handle, line)
            os.fsync(self._handle)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Read the lines that were written since."""
        size = os.fstat(self._handle).st_size
        if size < self._read_to:
            raise _damaged(self._file)
        content = os.pread(self._handle, size - self._read_to, self._read_to)
        whole = len(content) - len(content) % LINE_BYTES
        for start in range(0, whole, LINE_BYTES):
            self._take(content[start : start + LINE_BYTES])
        self._read_to += whole

    def _take(self, line: bytes) -> None:
        name, separator, counter = line[:16], line[16:17], line[17:33]
        try:
            number = int(counter, 16)
        except ValueError:
            raise _damaged(self._file) from None
        if separator != b" " or line[33:] != b"\n":
            raise _damaged(self._file)
        self._names[name] = max(number, self._names.get(name, 0))

    def _drop_torn_end(self) -> None:
        """A crash in the middle of a line leaves a part of it, which nobody was promised."""
        size = os.fstat(self._handle).st_size
        if size % LINE_BYTES:
            os.ftruncate(self._handle, size - size % LINE_BYTES)


def _name(path: str) -> bytes:
    return hashlib.sha256(path.encode()).hexdigest()[:16].encode()


def _damaged(file: Path) -> ServiceError:
    return ServiceError(
        f"{file} is damaged; it guards stored secrets against being rolled back. Restore it from "
        "the backup, together with the records it belongs to.",
        "UNUSABLE_DATA",
    )

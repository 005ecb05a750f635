"""The one folder in which a machine's data lives: private, and used by one platform at a time."""

import fcntl
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trading_platform.kit.errors import ServiceError


class DataFolder:
    """Makes the folder with mode 0700, refuses one that others can read, and locks it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _make_private(path)
        self._lock = _open_lock(path / "platform.lock")

    def lock(self) -> None:
        """Claim the folder; UNUSABLE_DATA names who has it already."""
        self._take(fcntl.LOCK_EX)
        self.say({"process": os.getpid()})

    def refuse_if_locked(self) -> None:
        """UNUSABLE_DATA when another has claimed the folder; claims nothing."""
        self._take(fcntl.LOCK_SH)
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def owner(self) -> dict[str, Any]:
        """What the last who claimed the folder said of itself; empty when it said nothing."""
        try:
            said = json.loads(os.pread(self._lock, 4096, 0))
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def _take(self, kind: int) -> None:
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = " ".join(f"{name} {value}" for name, value in self.owner().items())
            raise ServiceError(
                f"a platform already runs on {self.path} ({owner or 'it is just starting'}). "
                "Stop it first, or use another folder with --data.",
                "UNUSABLE_DATA",
            ) from error

    def say(self, owner: dict[str, Any]) -> None:
        """Tell others who asks for the folder what runs here."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(owner).encode(), 0)

    def private_bytes(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a small file of mode 0600, made whole by `make()` when it is not there."""
        file = self.path / name
        if not file.exists():
            self._write_whole(file, make())
        _refuse_if_open_to_others(file)
        content = file.read_bytes()
        if not content:
            raise ServiceError(f"{file} is empty. Restore it from a backup.", "UNUSABLE_DATA")
        return content

    def _write_whole(self, file: Path, content: bytes) -> None:
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, file)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)


def _open_lock(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceError(
            f"{file} cannot be written ({error.strerror}). Give this account the data folder, or "
            "choose another with --data.",
            "UNUSABLE_DATA",
        ) from error


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be made a data folder ({error.strerror}). Choose another with --data.",
            "UNUSABLE_DATA",
        ) from error
    _refuse_if_open_to_others(path)


def _refuse_if_open_to_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ServiceError(
            f"{path} can be read by other accounts (mode {mode:04o}). "
            f"Take that away with: chmod go= {path}",
            "UNUSABLE_DATA",
        )

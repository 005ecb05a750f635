"""What keeps secrets in this process's memory and files from other accounts of the machine.

1. No core dumps: a crash leaves no copy of the memory on disk.
2. Not dumpable (Linux): other processes of the same account can neither attach to this one nor read
   its memory or environment under /proc. Root can; nothing helps against root.
3. New files are for this account only, whatever makes them.
4. A file with a key in it that other accounts can read is not used: whoever read it still has it.
"""

import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from trading_platform.kit.errors import ServiceError

_PR_SET_DUMPABLE = 4  # prctl(2)
PRIVATE_UMASK = 0o077
KEY_FOLDER = "keys"
_REPAIRED = ("records.sqlite", "platform.lock")
"""Beginnings of the names of files without keys, which older releases made readable: their folder
was private all along.
"""


def harden() -> None:
    """Make this process keep to itself; children inherit all but the second. Raises UNUSABLE_DATA
    where the system refuses.
    """
    os.umask(PRIVATE_UMASK)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            _become_undumpable()
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"this system does not let a process protect its memory ({error}).", "UNUSABLE_DATA"
        ) from error


def check_files(folder: Path) -> None:
    """Raises UNUSABLE_DATA naming the first file with a key in it that other accounts can read.

    Files of ours without keys are made private instead.
    """
    for file in _files(folder):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except FileNotFoundError:
            continue  # a draft that was just renamed, or a journal that was finished
        if not mode & PRIVATE_UMASK:
            continue
        if file.name.startswith(_REPAIRED):
            file.chmod(mode & ~PRIVATE_UMASK)
            continue
        raise ServiceError(
            f"{file} can be read or changed by other accounts (mode {mode:04o}). If it holds a key,"
            f" replace that key; then take the rights away with: chmod go= {file}",
            "UNUSABLE_DATA",
        )


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / KEY_FOLDER):
        if place.is_dir():
            yield from sorted(file for file in place.iterdir() if file.is_file())


def _become_undumpable() -> None:
    import ctypes  # takes a while to import, and only this needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")

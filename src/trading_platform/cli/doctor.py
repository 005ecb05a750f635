"""`trading-platform doctor`: try everything the platform stands on, and say what is wrong."""

import asyncio
import importlib
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from trading_platform.cache.valkey import start_embedded
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.folder import DataFolder
from trading_platform.storage.sqlite import SqliteRecords

PACKAGES = (
    "aiohttp",
    "cryptography",
    "hiredis",
    "httptools",
    "msgspec",
    "picows",
    "prometheus_client",
    "redis",
    "rich",
    "starlette",
    "structlog",
    "typer",
    "uvicorn",
    "uvloop",
    "websockets",
)
FREE_DISK_MIN_BYTES = 1 << 30
OPEN_FILES_MIN = 1024


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


async def examine(data: Path, port: int, valkey_url: str | None) -> list[Finding]:
    """Look at everything once; nothing is changed but the data folder's existence."""
    checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("data folder", lambda: _data_folder(data)),
        ("records", lambda: _records(data)),
        ("disk", lambda: _disk(data)),
        ("valkey", lambda: _valkey(valkey_url)),
        ("port", lambda: _port(port, data)),
        ("open files", _open_files),
    ]
    return [await _try(what, check) for what, check in checks]


async def _try(what: str, check: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(what, True, await check())
    except ServiceError as error:
        return Finding(what, False, error.message)
    except (OSError, ImportError) as error:
        return Finding(what, False, str(error))


def _refuse(sentence: str) -> ServiceError:
    return ServiceError(sentence, "PROVIDER_UNAVAILABLE")


async def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        raise _refuse(f"Python {sys.version.split()[0]} is not one of 3.11 to 3.14.")
    return sys.version.split()[0]


def _missing() -> Iterator[str]:
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            yield name


async def _packages() -> str:
    missing = list(_missing())
    if missing:
        raise _refuse(f"missing: {', '.join(missing)}. Install them with `make setup`.")
    return f"{len(PACKAGES)} of {len(PACKAGES)} import"


async def _data_folder(data: Path) -> str:
    folder = DataFolder(data)
    try:
        folder.private_bytes(".doctor", lambda: b"written")
        (data / ".doctor").unlink()
    finally:
        folder.close()
    return str(data)


async def _records(data: Path) -> str:
    file = data / "records.sqlite"
    if not os.access(file, os.F_OK):
        return "none yet; the first start makes them"
    records = await SqliteRecords.open(file)
    await records.close()
    return f"sound, {os.stat(file).st_size >> 10} KiB"


async def _disk(data: Path) -> str:
    free_bytes = shutil.disk_usage(data).free
    if free_bytes < FREE_DISK_MIN_BYTES:
        raise _refuse(f"only {free_bytes >> 20} MiB are free where {data} lies; free some.")
    return f"{free_bytes >> 30} GiB free"


async def _valkey(url: str | None) -> str:
    if url:
        return await _answers(url)
    with tempfile.TemporaryDirectory() as folder:
        server = await start_embedded(Path(folder))
        try:
            return f"{await _answers(server.url)} (embedded)"
        finally:
            await server.close()


async def _answers(url: str) -> str:
    import redis.asyncio

    client = redis.asyncio.from_url(url, socket_timeout=3)
    try:
        info = await client.info("server")
    except redis.exceptions.RedisError as error:
        raise _refuse(f"{url} does not answer: {error}") from error
    finally:
        await client.aclose()
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"


async def _port(port: int, data: Path) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if _runs_here(port, data):
                return f"{port} is the platform's that runs on {data}"
            raise _refuse(
                f"{port} cannot be used ({error.strerror}); choose another with --port."
            ) from error
    return f"{port} is free"


def _runs_here(port: int, data: Path) -> bool:
    folder = DataFolder(data)
    try:
        folder.refuse_if_locked()
    except ServiceError:
        return str(folder.owner().get("url", "")).endswith(f":{port}")
    finally:
        folder.close()
    return False


async def _open_files() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_MIN:
        raise _refuse(f"only {soft} files may be open; raise it with: ulimit -n 4096")
    return f"up to {soft}"


def run_examination(data: Path, port: int) -> list[Finding]:
    """`examine` for callers without an event loop."""
    return asyncio.run(examine(data, port, os.environ.get("TRADING_PLATFORM_VALKEY_URL")))

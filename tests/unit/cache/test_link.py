import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trading_platform.cache.link import Link, Refusal, Script
from trading_platform.cache.valkey import EmbeddedValkey, start_embedded
from trading_platform.kit.errors import ServiceError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _listening(folder: Path, serve: Serve) -> tuple[asyncio.Server, str]:
    path = folder / f"fake-{id(serve)}.sock"
    return await asyncio.start_unix_server(serve, str(path)), f"unix://{path}"


async def test_values_come_back_as_the_server_sent_them(link: Link) -> None:
    assert await link.call("SET", "a", b"\x00\xff") == b"OK"
    assert await link.call("GET", "a") == b"\x00\xff"
    assert await link.call("GET", "nothing") is None
    assert await link.call("INCRBY", "n", 41) == 41
    assert await link.call("MGET", "a", "nothing") == [b"\x00\xff", None]


async def test_each_of_many_concurrent_callers_gets_its_own_answer(link: Link) -> None:
    answers = await asyncio.gather(*(link.call("ECHO", f"word-{n}") for n in range(2000)))
    assert answers == [f"word-{n}".encode() for n in range(2000)]


async def test_commands_of_one_turn_leave_in_one_write(folder: Path) -> None:
    chunks: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            chunks.append(chunk)
            writer.write(b"+PONG\r\n" * chunk.count(b"PING"))

    listener, url = await _listening(folder, serve)
    link = Link(url)
    await link.call("PING")
    chunks.clear()
    await asyncio.gather(*(link.call("PING") for _ in range(50)))
    assert len(chunks) == 1
    await link.close()
    listener.close()


async def test_canceled_caller_does_not_shift_the_answers_of_others(link: Link) -> None:
    first = asyncio.create_task(link.call("ECHO", "first"))
    second = asyncio.create_task(link.call("ECHO", "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"second"
    assert first.cancelled()


async def test_error_reply_fails_its_own_command_only(link: Link) -> None:
    await link.call("SET", "text", "x")
    wrong, right = await asyncio.gather(
        link.call("LPUSH", "text", "y"), link.call("GET", "text"), return_exceptions=True
    )
    assert isinstance(wrong, Refusal)
    assert (wrong.kind, wrong.code) == ("WRONGTYPE", "PROVIDER_UNAVAILABLE")
    assert right == b"x"


async def test_script_is_sent_once_and_again_when_the_server_forgot_it(link: Link) -> None:
    script = Script.of("return {KEYS[1], ARGV[1]}")
    assert await link.script(script, ["{t}"], ["one"]) == [b"{t}", b"one"]
    await link.call("SCRIPT", "FLUSH")
    assert await link.script(script, ["{t}"], ["two"]) == [b"{t}", b"two"]
    assert await link.call("SCRIPT", "EXISTS", script.sha) == [1]


async def test_command_in_flight_when_the_connection_breaks_fails_and_is_not_sent_again(
    folder: Path,
) -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            received.append(chunk)
            if b"INCR" in chunk:
                writer.close()
                return
            writer.write(b"+PONG\r\n")

    listener, url = await _listening(folder, serve)
    link = Link(url)
    with pytest.raises(ServiceError, match="may or may not have been done") as failed:
        await link.call("INCR", "n")
    assert failed.value.code == "PROVIDER_UNAVAILABLE"
    assert failed.value.retryable
    assert await link.call("PING") == b"PONG"  # on a new connection
    assert sum(b"INCR" in chunk for chunk in received) == 1
    await link.close()
    listener.close()


async def test_silent_server_costs_one_deadline_and_a_new_connection(folder: Path) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while chunk := await reader.read(65536):
            if b"GET" not in chunk:
                writer.write(b"+PONG\r\n")

    listener, url = await _listening(folder, serve)
    link = Link(url, deadline_s=0.05)
    started = asyncio.get_running_loop().time()
    lost = await asyncio.gather(*(link.call("GET", "a") for _ in range(20)), return_exceptions=True)
    assert asyncio.get_running_loop().time() - started < 0.5
    assert all(isinstance(error, ServiceError) for error in lost)
    assert await link.call("PING") == b"PONG"
    assert connections == 2
    await link.close()
    listener.close()


async def test_absent_server_fails_at_once_during_the_pause(folder: Path) -> None:
    link = Link(f"unix://{folder}/nobody.sock", pause_first_s=60, pause_max_s=60)
    for _ in range(3):
        with pytest.raises(ServiceError, match="cannot be reached") as failed:
            await link.call("PING")
        assert failed.value.code == "PROVIDER_UNAVAILABLE"
    await link.close()


async def test_server_that_became_a_replica_is_left_for_a_new_connection(folder: Path) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while chunk := await reader.read(65536):
            refused = b"-READONLY You can't write against a read only replica.\r\n"
            writer.write(refused if b"SET" in chunk else b"+PONG\r\n")

    listener, url = await _listening(folder, serve)
    link = Link(url)
    with pytest.raises(Refusal, match="READONLY"):
        await link.call("SET", "a", "1")
    assert await link.call("PING") == b"PONG"
    assert connections == 2
    await link.close()
    listener.close()


async def test_server_that_accepts_but_never_speaks_costs_later_callers_little(
    folder: Path,
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    listener, url = await _listening(folder, serve)
    link = Link(url, deadline_s=0.2, pause_first_s=0.001, pause_max_s=0.001)
    loop = asyncio.get_running_loop()
    with pytest.raises(ServiceError):
        await link.call("PING")
    await asyncio.sleep(0.005)
    started = loop.time()
    answers = await asyncio.gather(*(link.call("PING") for _ in range(50)), return_exceptions=True)
    assert all(isinstance(answer, ServiceError) for answer in answers)
    assert loop.time() - started < 0.15
    await link.close()
    listener.close()


async def test_more_commands_than_the_bound_are_refused(server: EmbeddedValkey) -> None:
    link = Link(server.url, in_flight_max=10)
    await link.call("PING")
    answers = await asyncio.gather(*(link.call("PING") for _ in range(15)), return_exceptions=True)
    assert answers[:10] == [b"PONG"] * 10
    assert all(isinstance(answer, ServiceError) for answer in answers[10:])
    assert await link.call("PING") == b"PONG"
    await link.close()


async def test_bytes_that_are_not_the_protocol_break_the_connection(folder: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener, url = await _listening(folder, serve)
    link = Link(url)
    with pytest.raises(ServiceError, match="not its protocol"):
        await link.call("PING")
    await link.close()
    listener.close()


async def test_closed_link_refuses_and_fails_what_was_in_flight(server: EmbeddedValkey) -> None:
    link = Link(server.url)
    await link.call("PING")
    asked = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0)
    await link.close()
    for call in (asked, link.call("PING")):
        with pytest.raises(ServiceError, match="closed"):
            await call


async def test_killed_server_fails_commands_and_the_next_one_is_used_after_it_returns(
    folder: Path,
) -> None:
    first = await start_embedded(folder / "killed")
    link = Link(first.url, pause_first_s=0.001, pause_max_s=0.002)
    await link.call("SET", "kept", "yes")
    os.kill(first.process_id, signal.SIGKILL)
    await asyncio.sleep(0.05)
    with pytest.raises(ServiceError):
        await link.call("GET", "kept")
    await first.close()
    second = await start_embedded(folder / "killed")
    await asyncio.sleep(0.01)
    assert await link.call("GET", "kept") == b"yes"
    await link.close()
    await second.close()


async def test_password_is_given_and_a_wrong_one_is_a_clear_failure(
    folder: Path, server: EmbeddedValkey, link: Link
) -> None:
    await link.call("ACL", "SETUSER", "ann", "on", ">hunter2", "+@all", "~*")
    path = server.url.removeprefix("unix://")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    place = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    right, wrong = Link(f"redis://ann:hunter2@{place}"), Link(f"redis://ann:guess@{place}")
    assert await right.call("ACL", "WHOAMI") == b"ann"
    with pytest.raises(ServiceError, match="WRONGPASS") as refused:
        await wrong.call("PING")
    assert "guess" not in str(refused.value)
    await right.close()
    await wrong.close()
    listener.close()

"""Messages of one channel, on a connection of their own."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import hiredis

from trading_platform.cache.address import Address
from trading_platform.cache.link import pack, unavailable

_QUIET_S = 5.0
_CHUNK_BYTES = 1 << 16


async def follow(address: Address, channel: str) -> AsyncIterator[bytes | None]:
    """None once the channel is listened to, then every message until the connection breaks.

    Raises PROVIDER_UNAVAILABLE when it breaks; whoever follows again learns by the next None that
    messages may have been missed.
    """
    try:
        async with asyncio.timeout(_QUIET_S):
            reader, writer = await _open(address)
        try:
            said = [*address.handshake(), ("SUBSCRIBE", channel)]
            writer.write(b"".join(pack(words) for words in said))
            async for reply in _replies(reader, writer):
                if isinstance(reply, list) and reply[0] == b"subscribe":
                    yield None
                elif isinstance(reply, list) and reply[0] == b"message":
                    yield reply[2]
        finally:
            writer.close()
    except (OSError, hiredis.HiredisError) as error:
        raise unavailable(f"ended the subscription ({error!r})") from error


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    tls = ssl.create_default_context() if address.tls else None
    return await asyncio.open_connection(address.host, address.port, ssl=tls)


async def _replies(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[object]:
    """Everything the server says; a server silent for 5 s is asked once whether it lives."""
    parser = hiredis.Reader()
    asked = False
    while True:
        try:
            async with asyncio.timeout(_QUIET_S):
                chunk = await reader.read(_CHUNK_BYTES)
        except TimeoutError:
            if asked:
                raise
            asked = True
            writer.write(pack(("PING",)))
            continue
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        asked = False
        parser.feed(chunk)
        while (reply := parser.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            yield reply

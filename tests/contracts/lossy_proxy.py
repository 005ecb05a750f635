"""A TCP proxy between a client and an HTTP server that can lose answers after they were given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


class LossyProxy:
    """Forwards requests; of the next `lose` requests that hold `only`, the server does the work and
    the client never hears of it. `after_loss` runs before the client can try again. With
    `refuse` set, connections are closed without an answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.url = ""
        self.lose = 0
        self.only = b""
        self.lost = 0
        self.refuse = False
        self.after_loss: Callable[[], Awaitable[object]] | None = None

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """One connection of the client, request by request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._forward(client, answer)
        answer.close()

    async def _forward(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        while True:
            request = await _message(client)
            if self.refuse:
                return
            server, sender = await asyncio.open_connection(*self._target)
            sender.write(request)
            response = await _message(server)
            sender.close()
            if self.lose and self.only in request:
                self.lose -= 1
                self.lost += 1
                if self.after_loss:
                    await self.after_loss()
                return
            answer.write(response)
            await answer.drain()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP/1.1 message with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


@contextlib.asynccontextmanager
async def lossy_proxy(port: int) -> AsyncIterator[LossyProxy]:
    """A proxy to 127.0.0.1:`port`, listening on a port of its own."""
    proxy = LossyProxy("127.0.0.1", port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**22)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()

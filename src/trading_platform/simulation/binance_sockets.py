"""One WebSocket of the simulated Binance: bounded outbox, pings every 20 s, a limited life.

web-socket-streams "General": ping every 20 s, pong within 60 s, closed after 24 h, at most five
incoming messages a second (pings and pongs count) on market streams.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import WSMsgType, web

from trading_platform.kit.clock import Clock

_OUTBOX_MAX = 20_000
_CLOSE_S = 1.0


class SocketRules(NamedTuple):
    """How long a connection lives and how much it may say."""

    ping_every_s: float = 20.0
    pong_within_s: float = 60.0
    life_s: float = 86_400.0
    messages_per_s: int | None = 5


class Socket:
    """Sends what it is offered in order; ends itself when the client is too slow, silent, or
    talks too much.
    """

    def __init__(self, clock: Clock, rules: SocketRules) -> None:
        self._clock, self._rules = clock, rules
        self._response = web.WebSocketResponse(autoping=False, max_msg_size=1 << 20)
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue(_OUTBOX_MAX)
        self._incoming: deque[float] = deque(maxlen=(rules.messages_per_s or 0) + 1)
        self._opened = self._pong_at = clock.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._transport: asyncio.Transport | None = None

    async def open(self, request: web.Request) -> web.WebSocketResponse:
        """Shake hands and start to write and ping."""
        self._transport = request.transport
        await self._response.prepare(request)
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]
        return self._response

    def send(self, frame: bytes) -> None:
        """Queue one text frame; a client too slow for the outbox is cut off."""
        try:
            self._outbox.put_nowait(frame)
        except asyncio.QueueFull:
            self.cut()

    async def messages(self) -> AsyncIterator[str]:
        """Text frames of the client until either side ends."""
        async for message in self._response:
            if not self._within_rate():
                await self._response.close(code=1008, message=b"Too many requests")
                return
            if message.type is WSMsgType.TEXT:
                yield message.data
            elif message.type is WSMsgType.PING:
                await self._response.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._pong_at = self._clock.monotonic()

    def cut(self) -> None:
        """Break the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    async def finish(self, code: int = 1001, message: bytes = b"") -> None:
        """Say goodbye, and stop whatever is still running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_CLOSE_S):
                await self._response.close(code=code, message=message)

    def _within_rate(self) -> bool:
        if self._rules.messages_per_s is None:
            return True
        now = self._clock.monotonic()
        self._incoming.append(now)
        full = len(self._incoming) == self._incoming.maxlen
        return not (full and now - self._incoming[0] < 1.0)

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                frame = await self._outbox.get()
                if frame is not None:
                    await self._response.send_str(frame.decode())

    async def _watch(self) -> None:
        """Ping, and end a silent or old connection."""
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._next_check_s())
                now = self._clock.monotonic()
                if now - self._opened >= self._rules.life_s:
                    await self._response.close(code=1001, message=b"24 hours")
                    return
                if now - self._pong_at > self._rules.ping_every_s + self._rules.pong_within_s:
                    await self._response.close(code=1008, message=b"Pong timeout")
                    return
                stamp = str(self._clock.time_ns() // 1_000_000)
                await self._response.ping(stamp.encode())

    def _next_check_s(self) -> float:
        left = self._rules.life_s - (self._clock.monotonic() - self._opened)
        return max(0.001, min(self._rules.ping_every_s, left))

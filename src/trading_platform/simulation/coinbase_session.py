"""Sessions of the simulated Coinbase feed, and who of them listens to what."""

import asyncio
from collections.abc import Callable, Collection, Iterable

from aiohttp import web

from trading_platform.simulation import coinbase_messages as messages
from trading_platform.simulation.coinbase_answers import Json
from trading_platform.simulation.model import SimKey

QUEUE_MAX = 10_000
"""Frames that may wait for a session to read."""


class Session:
    """One connection: what it listens to, and frames waiting to be sent."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.key: SimKey | None = None
        self.channels: dict[str, tuple[str, ...]] = {}
        self._frames: asyncio.Queue[str | None] = asyncio.Queue(QUEUE_MAX)
        self._closing = False

    def send(self, frame: str) -> None:
        """Queue a frame; never waits."""
        if self._closing:
            return
        if self._frames.full():
            self.end(messages.error("ErrSlowConsume", "Client is too slow"))
        else:
            self._frames.put_nowait(frame)

    def end(self, last: Json | None = None) -> None:
        """Close once what is queued, or only `last`, was sent."""
        if self._closing:
            return
        self._closing = True
        while last is not None and not self._frames.empty():
            self._frames.get_nowait()
        for frame in (messages.frame(last) if last is not None else None, None):
            if not self._frames.full():
                self._frames.put_nowait(frame)

    async def write(self) -> None:
        """Send what is queued until the end."""
        while (frame := await self._frames.get()) is not None:
            try:
                await self.socket.send_str(frame)
            except (ConnectionError, RuntimeError):  # the client has gone
                return
        await self.socket.close()


class Audience:
    """Who listens to which channel of which product. A channel without products has product ""."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, str], dict[Session, None]] = {}

    def listening(self, channel: str, product_id: str = "") -> Collection[Session]:
        """The sessions that hear this."""
        return self._listeners.get((channel, product_id), {}).keys()

    def count(self, channel: str, product_id: str, account_id: str, but: Session) -> int:
        """How many other sessions of the account hear this."""
        return sum(
            other is not but and other.key is not None and other.key.account_id == account_id
            for other in self.listening(channel, product_id)
        )

    def set_channels(self, session: Session, channels: dict[str, tuple[str, ...]]) -> None:
        """From now on the session hears exactly these."""
        for key in _keys(session.channels):
            self._listeners[key].pop(session, None)
        session.channels = channels
        for key in _keys(channels):
            self._listeners.setdefault(key, {})[session] = None

    def publish(
        self, channels: tuple[str, ...], product_id: str, message: Callable[[], Json]
    ) -> None:
        """Render once, when anybody listens, and send once to each who does."""
        listeners = [s for channel in channels for s in self.listening(channel, product_id)]
        if listeners:
            frame = messages.frame(message())
            for session in dict.fromkeys(listeners):
                session.send(frame)

    def tell_owner(self, account_id: str, product_id: str, message: Json) -> None:
        """To the account's own sessions on the user channel."""
        for session in list(self.listening("user", product_id)):
            if session.key is not None and session.key.account_id == account_id:
                session.send(messages.frame(message))


def _keys(channels: dict[str, tuple[str, ...]]) -> Iterable[tuple[str, str]]:
    return [(name, product) for name, products in channels.items() for product in products or ("",)]

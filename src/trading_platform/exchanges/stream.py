"""The WebSocket shell that market and user streams share.

1. Frames are decoded inside the frame callback: no task, no queue. picows lends the frame only for
   the callback, and at these sizes a copy of its bytes is cheaper than a view.
2. A lost connection is replaced for ever, with full jitter; the sink is told what it may have
   missed: at the loss (market, what it knows is now old) or once resumed (user, now ask by REST).
3. Before its life ends, or when the exchange announces that it leaves, a connection is replaced
   while it still delivers: what both say arrives twice, so trades and fills are known by their ids.
4. Silence of `idle_s`, pings included, is a loss.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s

FRAME_BYTES_MAX = 16 * 1024 * 1024
_TEXT = WSMsgType.TEXT


class Log(Protocol):
    """A structured logger."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class Sink(Protocol):
    """What every sink can be told."""

    def on_gap(self, reason: str) -> None: ...


S = TypeVar("S", bound=Sink)
S_contra = TypeVar("S_contra", bound=Sink, contravariant=True)


class Conversation(Protocol[S_contra]):
    """What the shell needs of a dialect; one instance a connection."""

    leaving: str | None
    refused: str | None

    def decode(self, frame: bytes, sink: S_contra) -> None: ...


Opening = Callable[[], Awaitable[Sequence[bytes]]]
"""The frames that subscribe; it may ask for the exchange's time and sign."""


class TellGap(StrEnum):
    """When the sink hears of a gap."""

    LOST = "LOST"
    RESUMED = "RESUMED"


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound of a stream, in seconds unless named otherwise."""

    connect_s: float = 10.0
    idle_s: float = 60.0
    lifetime_s: float = 23.5 * 3600  # both exchanges' limit or habit is 24 hours
    overlap_s: float = 5.0
    tick_s: float = 1.0
    control_pause_s: float = 0.25  # Binance takes five messages a second
    retry_first_s: float = 0.5
    retry_most_s: float = 30.0
    steady_s: float = 30.0  # a connection that lived so long was a good one
    frame_bytes_max: int = FRAME_BYTES_MAX


class ExchangeStream(Generic[S]):
    """Keeps one stream flowing into one sink until it is cancelled."""

    def __init__(
        self,
        name: str,
        url: str,
        converse: Callable[[], tuple[Conversation[S], Opening]],
        sink: S,
        log: Log,
        *,
        tell_gap: TellGap,
        limits: StreamLimits | None = None,
    ) -> None:
        """`converse` is called for every connection; its Opening once that stands."""
        self._name = name
        self._url = url
        self._converse = converse
        self._sink = sink
        self._log = log
        self._tell_gap = tell_gap
        self._limits = limits or StreamLimits()
        self.connections = 0

    async def run(self) -> None:
        """For a supervised loop: returns only by cancellation."""
        attempt = 0
        while True:
            link = await self._open()
            lived_s = 0.0
            if link is not None:
                if self.connections > 1 and self._tell_gap is TellGap.RESUMED:
                    self._sink.on_gap("resumed")
                started = _now()
                await self._serve(link)
                lived_s = _now() - started
            attempt = 1 if lived_s >= self._limits.steady_s else attempt + 1
            most_s = self._limits.retry_most_s
            await asyncio.sleep(
                self._limits.retry_first_s / 4
                + backoff_s(attempt, first_s=self._limits.retry_first_s, most_s=most_s)
            )

    async def _serve(self, link: "_Link[S]") -> None:
        """Until a connection is lost that had no successor."""
        current = link
        try:
            while True:
                lost = await self._watch(current)
                if lost is not None:
                    self._log.warning("stream lost", stream=self._name, reason=lost)
                    if self._tell_gap is TellGap.LOST:
                        self._sink.on_gap(lost)
                    return
                successor = await self._open()
                if successor is None:
                    await _wait(current.ended, self._limits.retry_most_s / 4)
                    continue
                retired, current = current, successor
                await self._overlap(retired, successor)
        finally:
            current.close()

    async def _watch(self, link: "_Link[S]") -> str | None:
        """Why the connection was lost, or None when it is time to replace it."""
        heard, heard_at = link.frames, _now()
        while not await _wait(link.ended, self._limits.tick_s):
            if link.frames != heard:
                heard, heard_at = link.frames, _now()
            elif _now() - heard_at > self._limits.idle_s:
                return f"silent for {self._limits.idle_s:g} s"
            if link.conversation.refused is not None:
                return f"refused: {link.conversation.refused}"
            if link.conversation.leaving is not None:
                self._log.info("stream leaves", stream=self._name, why=link.conversation.leaving)
                return None
            if _now() - link.opened_at > self._limits.lifetime_s:
                return None
        return "disconnected"

    async def _overlap(self, retired: "_Link[S]", successor: "_Link[S]") -> None:
        """Keep the old one until the new one delivers."""
        deadline = _now() + self._limits.overlap_s
        try:
            while not successor.delivered and _now() < deadline:
                if await _wait(successor.ended, self._limits.tick_s / 10):
                    return
        finally:
            retired.close()

    async def _open(self) -> "_Link[S] | None":
        conversation, opening = self._converse()
        link = _Link(conversation, self._sink, self._limits.frame_bytes_max)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await ws_connect(
                    lambda: link,
                    self._url,
                    enable_auto_pong=False,  # pings must count as signs of life
                    max_frame_size=self._limits.frame_bytes_max,
                    max_redirects=0,
                    websocket_handshake_timeout=self._limits.connect_s,
                    extra_headers={"User-Agent": "trading-platform"},
                )
                await self._greet(link, opening)
        except (OSError, TimeoutError, WSError, ServiceError) as error:
            link.close()
            self._log.warning("stream not opened", stream=self._name, error=_words(error))
            return None
        except BaseException:
            link.close()
            raise
        self.connections += 1
        self._log.info("stream opened", stream=self._name, connections=self.connections)
        return link

    async def _greet(self, link: "_Link[S]", opening: Opening) -> None:
        for number, frame in enumerate(await opening()):
            if number:
                await asyncio.sleep(self._limits.control_pause_s)
            link.send(frame)


class _Link(WSListener, Generic[S]):
    """One connection; what it says goes straight to the sink until it is closed."""

    def __init__(self, conversation: Conversation[S], sink: S, message_bytes_max: int) -> None:
        self.conversation = conversation
        self.frames = 0
        self.delivered = False
        self.ended = asyncio.Event()
        self.opened_at = _now()
        self._decode = conversation.decode
        self._sink = sink
        self._message_bytes_max = message_bytes_max
        self._parts = bytearray()
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames += 1
        if frame.msg_type == _TEXT and frame.fin:
            self._decode(frame.get_payload_as_bytes(), self._sink)
            self.delivered = True
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type != WSMsgType.PONG:
            self._join(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ended.set()

    def send(self, frame: bytes) -> None:
        """Send one text frame; a closed connection swallows it."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, frame)

    def close(self) -> None:
        """Deliver nothing more and disconnect; safe to call again."""
        self._decode = _ignore
        if self._transport is not None and not self.ended.is_set():
            self._transport.disconnect()

    def _join(self, transport: WSTransport, frame: WSFrame) -> None:
        # A message in several frames: rare, and bounded as a whole.
        self._parts += frame.get_payload_as_bytes()
        if len(self._parts) > self._message_bytes_max:
            self._parts = bytearray()
            transport.disconnect()
        elif frame.fin:
            message, self._parts = bytes(self._parts), bytearray()
            self._decode(message, self._sink)
            self.delivered = True


def _ignore(frame: bytes, sink: object) -> None:
    """What a retired connection still says."""


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()


def _words(error: BaseException) -> str:
    if isinstance(error, ServiceError):
        return error.message
    return f"{type(error).__name__} {error}"[:200]

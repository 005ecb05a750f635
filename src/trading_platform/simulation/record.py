"""Records public market data of an exchange, so that it can be replayed.

Lines are `<receive ns> <frame>`, gzip, one file after another. What was received is on disk within
FLUSH_S; a recorder killed hard loses no more than that, and its last file stays readable.
"""

import asyncio
import gzip
from collections.abc import Sequence
from pathlib import Path

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId

FRAME_BYTES_MAX = 16 * 1024 * 1024
FLUSH_S = 1.0
RECONNECT_S = 2.0
CONNECT_WITHIN_S = 10.0
FAILURES_MAX = 20
"""Connections in a row that brought nothing before the recorder gives up."""


class RecordingSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording came to."""

    files: tuple[Path, ...]
    messages: int
    bytes_received: int
    reconnects: int


def subscription(exchange_id: ExchangeId, exchange_symbols: Sequence[str]) -> dict[str, object]:
    """The frame that asks for trades, book changes and, at Coinbase, the heartbeat.

    Binance: web-socket-streams "Live subscribing"; Coinbase: websocket-feed/channels, those that
    need no login.
    """
    if exchange_id is ExchangeId.COINBASE:
        return {
            "type": "subscribe",
            "product_ids": list(exchange_symbols),
            "channels": ["level2_batch", "matches", "heartbeat"],
        }
    streams = ("trade", "bookTicker", "depth@100ms")
    return {
        "method": "SUBSCRIBE",
        "params": [
            f"{symbol.lower()}@{stream}" for symbol in exchange_symbols for stream in streams
        ],
        "id": 1,
    }


class LineFile:
    """Lines into numbered gzip files, a new one whenever `bytes_max` of frames were written."""

    def __init__(self, folder: Path, name: str, bytes_max: int) -> None:
        self._folder, self._name, self._bytes_max = folder, name, bytes_max
        self._file: gzip.GzipFile | None = None
        self._written = 0
        self.paths: list[Path] = []

    def write(self, received_ns: int, frame: bytes) -> None:
        """Append one line. A frame with a line break in it (JSON allows them) loses the break."""
        if self._file is None or self._written >= self._bytes_max:
            self._next()
        line = b"%d %s\n" % (received_ns, frame.replace(b"\r", b" ").replace(b"\n", b" "))
        if self._file is not None:
            self._file.write(line)
        self._written += len(frame)

    def flush(self) -> None:
        """Give what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """End the current file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> None:
        self.close()
        path = self._folder / f"{self._name}-{len(self.paths) + 1:04d}.log.gz"
        self._file = gzip.GzipFile(path, "xb")
        self._written = 0
        self.paths.append(path)


async def record(
    exchange_id: ExchangeId,
    ws_url: str,
    exchange_symbols: Sequence[str],
    folder: Path,
    *,
    clock: Clock,
    duration_s: float | None = None,
    messages_max: int | None = None,
    file_bytes_max: int = 64 * 1024 * 1024,
) -> RecordingSummary:
    """Record until `duration_s` has passed or `messages_max` frames came; one of them is needed.

    `ws_url` is the combined stream of Binance (`.../stream`) or the feed of Coinbase. After a lost
    connection it connects again; Coinbase then sends a new snapshot, which the replay takes as one.
    """
    if duration_s is None and messages_max is None:
        raise ValueError("say how long to record: duration_s or messages_max")
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    started_ns = clock.time_ns()
    lines = LineFile(folder, f"{exchange_id.lower()}-{started_ns // 1_000_000_000}", file_bytes_max)
    recorder = _Recorder(lines, clock, messages_max)
    request = msgspec.json.encode(subscription(exchange_id, exchange_symbols)).decode()
    try:
        async with asyncio.timeout(duration_s) as time_left:
            await recorder.run(ws_url, request)
    except TimeoutError:
        if not time_left.expired():  # else the time is up: that is how a recording ends
            raise
    finally:
        lines.close()
    return recorder.summary()


class _Recorder:
    def __init__(self, lines: LineFile, clock: Clock, messages_max: int | None) -> None:
        self._lines, self._clock, self._messages_max = lines, clock, messages_max
        self._messages = self._bytes = 0
        self._connections = self._failures = 0
        self._flushed_s = 0.0

    async def run(self, url: str, request: str) -> None:
        """Connect and record, again and again, until enough has come."""
        while not self._enough():
            heard = self._messages
            try:
                await self._connection(url, request)
            except ConnectionClosed:
                pass
            except (OSError, TimeoutError, InvalidHandshake) as error:
                if self._connections == 0 or self._failures >= FAILURES_MAX:
                    raise ServiceError(
                        f"{url} cannot be recorded: {error}", "EXCHANGE_UNAVAILABLE"
                    ) from error
            self._failures = 0 if self._messages > heard else self._failures + 1
            if not self._enough():
                await self._clock.sleep(RECONNECT_S)

    async def _connection(self, url: str, request: str) -> None:
        async with connect(url, max_size=FRAME_BYTES_MAX, open_timeout=CONNECT_WITHIN_S) as socket:
            self._connections += 1
            await socket.send(request)
            while not self._enough():
                self._take(await socket.recv(decode=False))

    def summary(self) -> RecordingSummary:
        """What came of it."""
        return RecordingSummary(
            files=tuple(self._lines.paths),
            messages=self._messages,
            bytes_received=self._bytes,
            reconnects=max(0, self._connections - 1),
        )

    def _enough(self) -> bool:
        return self._messages_max is not None and self._messages >= self._messages_max

    def _take(self, frame: bytes) -> None:
        self._lines.write(self._clock.time_ns(), frame)
        self._messages += 1
        self._bytes += len(frame)
        if self._clock.monotonic() - self._flushed_s >= FLUSH_S:
            self._flushed_s = self._clock.monotonic()
            self._lines.flush()

"""Recorded market data: which files ship with the package, and how a recording is read.

A recording is a gzip file of lines; a line is one frame as received, or `<receive ns> <frame>`.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trading_platform.market.instruments import ExchangeId

FOLDER = Path(__file__).parent / "recordings"
LINE_BYTES_MAX = 16 * 1024 * 1024
"""The longest line read; a Coinbase level2 snapshot of BTC-USD has 1.1 MB."""


class Line(msgspec.Struct, frozen=True):
    """One recorded frame; `received_ns` is 0 where the recorder did not note it."""

    received_ns: int
    frame: bytes


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol of one exchange in one file."""

    exchange_id: ExchangeId
    exchange_symbol: str
    path: Path

    def load(self) -> bytes:
        """The compressed file, read whole: the shipped ones have less than 400 KB."""
        return self.path.read_bytes()


BINANCE_BTC_USDT = Recording(
    exchange_id=ExchangeId.BINANCE,
    exchange_symbol="BTCUSDT",
    path=FOLDER / "flashbook-2026-07-07" / "binance-ws-btcusdt.ndjson.gz",
)
BINANCE_ETH_USDT = Recording(
    exchange_id=ExchangeId.BINANCE,
    exchange_symbol="ETHUSDT",
    path=FOLDER / "hftbacktest-2024-08" / "ethusdt.log.gz",
)
COINBASE_BTC_USD = Recording(
    exchange_id=ExchangeId.COINBASE,
    exchange_symbol="BTC-USD",
    path=FOLDER / "flashbook-2026-07-07" / "coinbase-ws-btc-usd.ndjson.gz",
)


def read_lines(compressed: bytes) -> Iterator[Line]:
    """The lines of a recording in order, decompressed as they are asked for.

    ValueError for a line longer than LINE_BYTES_MAX. A last line that was cut off by a crash of
    the recorder ends the recording quietly when the gzip stream ends with it.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(compressed)) as file:
        while raw := _next_line(file):
            yield parse_line(raw)


def parse_line(raw: bytes) -> Line:
    """Split the receive time, where there is one, from the frame."""
    raw = raw.rstrip(b"\r\n")
    if raw[:1].isdigit():
        received_ns, _, frame = raw.partition(b" ")
        return Line(int(received_ns), frame)
    return Line(0, raw)


def _next_line(file: gzip.GzipFile) -> bytes:
    try:
        raw = file.readline(LINE_BYTES_MAX + 1)
    except EOFError:  # the recorder was stopped hard: what was flushed is good
        return b""
    if len(raw) > LINE_BYTES_MAX:
        raise ValueError(f"a recorded line is longer than {LINE_BYTES_MAX} bytes")
    return raw

"""Binance public market stream: best quotes and trades (web-socket-streams). Pure but for counters.

The hot path: one typed decode, one call of the sink, nothing else. bookTicker carries neither an
event name nor a time; it is told by the absence of `e`.
"""

from collections.abc import Sequence

import msgspec

from trading_platform.exchanges.ports import MarketSink
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId

STREAMS_MAX = 1024  # a connection
_STREAMS_A_FRAME = 200
_INFINITY = float("inf")


class _Frame(msgspec.Struct, gc=False):
    """bookTicker and trade in one; single letters are Binance's."""

    e: str = ""
    s: str = ""
    b: float = 0.0
    B: float = 0.0
    a: float = 0.0
    A: float = 0.0
    p: float = 0.0
    q: float = 0.0
    t: int = 0
    T: int = 0
    m: bool = False


class _Other(msgspec.Struct):
    """Everything that is neither: acknowledgements, errors, announcements, unknown events."""

    e: str = ""
    s: str = ""
    id: int | str | None = None
    code: int | None = None
    msg: str = ""


class BinanceMarket:
    """MarketDialect of Binance spot."""

    exchange_id = ExchangeId.BINANCE

    def __init__(self) -> None:
        self.unknown = 0
        self.garbage = 0
        self.leaving: str | None = None
        self.refused: str | None = None
        self._next_id = 0
        self._decode = msgspec.json.Decoder(_Frame, strict=False).decode
        self._decode_other = msgspec.json.Decoder(_Other).decode

    def subscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return self._control("SUBSCRIBE", exchange_symbols)

    def unsubscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return self._control("UNSUBSCRIBE", exchange_symbols)

    def decode(self, frame: bytes, sink: MarketSink) -> None:
        try:
            it = self._decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._read_other(frame)
            return
        event = it.e
        if not event and it.s:
            # Comparisons are written so that NaN fails them; a crossed quote is no quote.
            bid, ask = it.b, it.a
            if 0.0 < bid <= ask < _INFINITY and it.B >= 0.0 <= it.A and it.A + it.B < _INFINITY:
                sink.on_quote(it.s, bid, it.B, ask, it.A, 0)
            else:
                self.garbage += 1
        elif event == "trade":
            if 0.0 < it.p < _INFINITY and 0.0 < it.q < _INFINITY and it.s:
                sink.on_trade(it.s, it.p, it.q, not it.m, it.t, it.T * 1_000_000)
            else:
                self.garbage += 1
        else:
            self._read_other(frame)

    def _read_other(self, frame: bytes) -> None:
        try:
            other = self._decode_other(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.garbage += 1
            return
        if other.e == "serverShutdown":
            self.leaving = "the exchange announced its shutdown"
        elif other.code is not None:
            self.refused = other.msg
        elif other.e == "trade" or (other.s and not other.e):
            self.garbage += 1  # ours, and not readable
        elif other.e or other.id is None:
            self.unknown += 1

    def _control(self, method: str, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        names = [
            f"{symbol.lower()}@{kind}"
            for symbol in exchange_symbols
            for kind in ("bookTicker", "trade")
        ]
        if len(names) > STREAMS_MAX:
            raise ServiceError(
                f"One Binance connection carries {STREAMS_MAX // 2} symbols at most.",
                "INVALID_REQUEST",
            )
        return [
            self._frame(method, names[start : start + _STREAMS_A_FRAME])
            for start in range(0, len(names), _STREAMS_A_FRAME)
        ]

    def _frame(self, method: str, names: Sequence[str]) -> bytes:
        self._next_id += 1
        return msgspec.json.encode({"method": method, "params": names, "id": self._next_id})

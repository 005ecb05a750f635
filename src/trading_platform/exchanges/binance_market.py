"""Binance public market stream: best quotes and trades (web-socket-streams). Pure but for counters.

The hot path: one typed decode, one call of the sink, nothing else. One byte of the frame guesses
which of the two it is, for a smaller type decodes faster; a wrong guess costs a second decode and
changes nothing. bookTicker carries neither an event name nor a time; it is told by the absence of
`e`.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from trading_platform.exchanges.ports import MarketSink
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId

STREAMS_MAX = 1024  # a connection
_STREAMS_A_FRAME = 200
_INFINITY = float("inf")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Quote(msgspec.Struct, gc=False):
    """bookTicker as Binance orders it; single letters are Binance's."""

    u: int
    s: str
    b: float
    B: float
    a: float
    A: float


class _Trade(msgspec.Struct, gc=False):
    """trade"""

    e: Literal["trade"]
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool


class _Frame(msgspec.Struct, gc=False):
    """Either of them, however its fields are ordered."""

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
        self._decode_quote = msgspec.json.Decoder(_Quote, strict=False).decode
        self._decode_trade = msgspec.json.Decoder(_Trade, strict=False).decode
        self._decode_either = msgspec.json.Decoder(_Frame, strict=False).decode
        self._decode_other = msgspec.json.Decoder(_Other).decode

    def subscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return self._control("SUBSCRIBE", exchange_symbols)

    def unsubscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return self._control("UNSUBSCRIBE", exchange_symbols)

    def decode(self, frame: bytes, sink: MarketSink) -> None:
        # Comparisons are written so that NaN fails them; a crossed quote is no quote.
        if frame[2:3] == b"u":
            try:
                quote = self._decode_quote(frame)
            except _UNREADABLE:
                return self._read_either(frame, sink)
            bid, ask, bids, asks = quote.b, quote.a, quote.B, quote.A
            if 0.0 < bid <= ask < _INFINITY and bids >= 0.0 <= asks and bids + asks < _INFINITY:
                return sink.on_quote(quote.s, bid, bids, ask, asks, 0)
        elif frame[6:7] == b"t":
            try:
                trade = self._decode_trade(frame)
            except _UNREADABLE:
                return self._read_either(frame, sink)
            price, quantity = trade.p, trade.q
            if 0.0 < price < _INFINITY and 0.0 < quantity < _INFINITY:
                at_ns = trade.T * 1_000_000
                return sink.on_trade(trade.s, price, quantity, not trade.m, trade.t, at_ns)
        return self._read_either(frame, sink)

    def _read_either(self, frame: bytes, sink: MarketSink) -> None:
        try:
            it = self._decode_either(frame)
        except _UNREADABLE:
            self._read_other(frame)
            return
        if it.e not in ("", "trade") or not it.s:
            self._read_other(frame)
        elif it.e and 0.0 < it.p < _INFINITY and 0.0 < it.q < _INFINITY:
            sink.on_trade(it.s, it.p, it.q, not it.m, it.t, it.T * 1_000_000)
        elif not it.e and 0.0 < it.b <= it.a < _INFINITY and 0.0 <= it.B + it.A < _INFINITY:
            sink.on_quote(it.s, it.b, it.B, it.a, it.A, 0)
        else:
            self.garbage += 1

    def _read_other(self, frame: bytes) -> None:
        try:
            other = self._decode_other(frame)
        except _UNREADABLE:
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

"""Coinbase Exchange public feed: ticker, matches, heartbeat (websocket-feed/channels).

1. `side` of a match is the maker's: the taker bought when it says sell.
2. last_match repeats a trade from before the subscription: it is never handed on as a new one.
3. The ticker's own price repeats a match: it gives quotes only.
Pure but for counters.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from trading_platform.exchanges.ports import MarketSink
from trading_platform.market.instruments import ExchangeId

_CHANNELS = ("ticker", "matches", "heartbeat")
_QUIET = frozenset({"subscriptions", "last_match"})
_INFINITY = float("inf")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Ticker(msgspec.Struct, gc=False):
    """ticker as Coinbase begins it."""

    type: Literal["ticker"]
    product_id: str
    time: _Time
    best_bid: float
    best_bid_size: float
    best_ask: float
    best_ask_size: float


class _Match(msgspec.Struct, gc=False):
    """match as Coinbase begins it."""

    type: Literal["match"]
    product_id: str
    time: _Time
    trade_id: int
    price: float
    size: float
    side: str


class _Frame(msgspec.Struct, gc=False):
    """Either of them or a heartbeat, however its fields are ordered."""

    type: str
    product_id: str = ""
    time: _Time | None = None
    price: float = 0.0
    size: float = 0.0
    side: str = ""
    trade_id: int = 0
    best_bid: float = 0.0
    best_bid_size: float = 0.0
    best_ask: float = 0.0
    best_ask_size: float = 0.0


class _Other(msgspec.Struct):
    type: str
    message: str = ""
    reason: str = ""


class CoinbaseMarket:
    """MarketDialect of Coinbase Exchange."""

    exchange_id = ExchangeId.COINBASE

    def __init__(self) -> None:
        self.unknown = 0
        self.garbage = 0
        self.leaving: str | None = None
        self.refused: str | None = None
        self._decode_ticker = msgspec.json.Decoder(_Ticker, strict=False).decode
        self._decode_match = msgspec.json.Decoder(_Match, strict=False).decode
        self._decode_any = msgspec.json.Decoder(_Frame, strict=False).decode
        self._decode_other = msgspec.json.Decoder(_Other).decode

    def subscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return [_control("subscribe", exchange_symbols)]

    def unsubscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return [_control("unsubscribe", exchange_symbols)]

    def decode(self, frame: bytes, sink: MarketSink) -> None:
        # Comparisons are written so that NaN fails them; a crossed quote is no quote.
        kind = frame[9:10]
        if kind == b"t":
            try:
                tick = self._decode_ticker(frame)
            except _UNREADABLE:
                return self._read_any(frame, sink)
            bid, ask = tick.best_bid, tick.best_ask
            bids, asks = tick.best_bid_size, tick.best_ask_size
            if 0.0 < bid <= ask < _INFINITY and bids >= 0.0 <= asks and bids + asks < _INFINITY:
                return sink.on_quote(tick.product_id, bid, bids, ask, asks, _ns(tick.time))
        elif kind == b"m":
            try:
                match = self._decode_match(frame)
            except _UNREADABLE:
                return self._read_any(frame, sink)
            price, size = match.price, match.size
            if 0.0 < price < _INFINITY and 0.0 < size < _INFINITY:
                at_ns, maker_sold = _ns(match.time), match.side == "sell"
                return sink.on_trade(
                    match.product_id, price, size, maker_sold, match.trade_id, at_ns
                )
        return self._read_any(frame, sink)

    def _read_any(self, frame: bytes, sink: MarketSink) -> None:
        try:
            it = self._decode_any(frame)
        except _UNREADABLE:
            self._read_other(frame)
            return
        at_ns = 0 if it.time is None else _ns(it.time)
        bid, ask, sizes = it.best_bid, it.best_ask, it.best_bid_size + it.best_ask_size
        if it.type == "heartbeat":
            sink.on_heartbeat(it.product_id, at_ns)
        elif it.type == "match" and 0.0 < it.price < _INFINITY and 0.0 < it.size < _INFINITY:
            maker_sold = it.side == "sell"
            sink.on_trade(it.product_id, it.price, it.size, maker_sold, it.trade_id, at_ns)
        elif it.type == "ticker" and 0.0 < bid <= ask < _INFINITY and 0.0 <= sizes < _INFINITY:
            sink.on_quote(it.product_id, bid, it.best_bid_size, ask, it.best_ask_size, at_ns)
        elif it.type not in _QUIET:
            self._read_other(frame)

    def _read_other(self, frame: bytes) -> None:
        try:
            other = self._decode_other(frame)
        except _UNREADABLE:
            self.garbage += 1
            return
        if other.type == "error":
            self.refused = f"{other.message} {other.reason}".strip()
        elif other.type in {"ticker", "match", "heartbeat"}:
            self.garbage += 1  # ours, and not readable
        else:
            self.unknown += 1


def _control(kind: str, exchange_symbols: Sequence[str]) -> bytes:
    return msgspec.json.encode(
        {"type": kind, "product_ids": list(exchange_symbols), "channels": _CHANNELS}
    )


def _ns(time: datetime) -> int:
    """Unix nanoseconds, exact to the microsecond."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000

"""Coinbase Exchange public feed: ticker, matches, heartbeat (websocket-feed/channels).

1. `side` of a match is the maker's: the taker bought when it says sell.
2. last_match repeats a trade from before the subscription: it is never handed on as a new one.
3. The ticker's own price repeats a match: it gives quotes only.
Pure but for counters.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from trading_platform.exchanges.ports import MarketSink
from trading_platform.market.instruments import ExchangeId

_CHANNELS = ("ticker", "matches", "heartbeat")
_QUIET = frozenset({"subscriptions", "last_match"})
_INFINITY = float("inf")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Frame(msgspec.Struct, gc=False):
    """ticker, match and heartbeat in one."""

    type: str
    product_id: str = ""
    time: datetime | None = None
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
        self.missed_trades = 0
        self.leaving: str | None = None
        self.refused: str | None = None
        self._last_trade_id: dict[str, int] = {}
        self._decode = msgspec.json.Decoder(_Frame, strict=False).decode
        self._decode_other = msgspec.json.Decoder(_Other).decode

    def subscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return [_control("subscribe", exchange_symbols)]

    def unsubscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        return [_control("unsubscribe", exchange_symbols)]

    def decode(self, frame: bytes, sink: MarketSink) -> None:
        try:
            it = self._decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._read_other(frame)
            return
        kind = it.type
        if kind == "ticker":
            # Comparisons are written so that NaN fails them; a crossed quote is no quote.
            bid, bid_size, ask, ask_size = (
                it.best_bid,
                it.best_bid_size,
                it.best_ask,
                it.best_ask_size,
            )
            sizes_good = bid_size >= 0.0 <= ask_size and bid_size + ask_size < _INFINITY
            if 0.0 < bid <= ask < _INFINITY and sizes_good and it.product_id:
                sink.on_quote(it.product_id, bid, bid_size, ask, ask_size, _ns(it.time))
            else:
                self.garbage += 1
        elif kind == "match":
            self._read_match(it, sink)
        elif kind == "heartbeat":
            sink.on_heartbeat(it.product_id, _ns(it.time))
        elif kind not in _QUIET:
            self._read_other(frame)

    def _read_match(self, it: _Frame, sink: MarketSink) -> None:
        product, trade_id = it.product_id, it.trade_id
        if not (0.0 < it.price < _INFINITY and 0.0 < it.size < _INFINITY and product):
            self.garbage += 1
            return
        # The channel may drop trades; their ids are consecutive for each product.
        missed = trade_id - self._last_trade_id.get(product, trade_id) - 1
        if missed > 0:
            self.missed_trades += missed
        self._last_trade_id[product] = trade_id
        sink.on_trade(product, it.price, it.size, it.side == "sell", trade_id, _ns(it.time))

    def _read_other(self, frame: bytes) -> None:
        try:
            other = self._decode_other(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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


def _ns(time: datetime | None) -> int:
    """Unix nanoseconds, exact to the microsecond; 0 without a time."""
    if time is None:
        return 0
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000

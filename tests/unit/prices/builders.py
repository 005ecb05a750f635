"""Sources and readings, valid by default."""

from typing import Any

import msgspec

from trading_platform.market.instruments import ExchangeId
from trading_platform.prices.model import PricePolicy, Reading
from trading_platform.prices.sink import ExchangeSink
from trading_platform.prices.source import Source

S = 1_000_000_000
NOW_NS = 1_790_000_000 * S


def a_reading(price: float = 100.0, **changes: Any) -> Reading:
    """BTC-USD on Coinbase, quoted and traded just now, a tenth of a unit around `price`."""
    return msgspec.structs.replace(
        Reading(
            exchange_id=ExchangeId.COINBASE,
            symbol="BTC-USD",
            bid=price - 0.05,
            ask=price + 0.05,
            quoted_ns=NOW_NS,
            last=price,
            traded_ns=NOW_NS,
            vwap=price,
            volume=1.0,
            alive_ns=NOW_NS,
        ),
        **changes,
    )


def on_binance(price: float = 100.0, **changes: Any) -> Reading:
    """The same on Binance."""
    return a_reading(price, exchange_id=ExchangeId.BINANCE, **changes)


def a_policy(**changes: Any) -> PricePolicy:
    """BTC-USD by the defaults."""
    return msgspec.structs.replace(PricePolicy(symbol="BTC-USD"), **changes)


class Feed:
    """One source behind its sink, with a hand on the clock."""

    def __init__(self, now_ns: int = NOW_NS) -> None:
        self.now_ns = now_ns
        self.source = Source(ExchangeId.BINANCE, "BTC-USDT")
        self.sink = ExchangeSink({"BTCUSDT": self.source}, lambda: self.now_ns)
        self._next = 1

    def advance(self, duration_s: float) -> None:
        """Let time pass."""
        self.now_ns += int(duration_s * S)

    def quote(self, bid: float, ask: float, event_ns: int = 0) -> None:
        """The exchange sends its best bid and ask."""
        self.sink.on_quote("BTCUSDT", bid, 1.0, ask, 1.0, event_ns)

    def trade(
        self, price: float, quantity: float = 1.0, *, number: int = -1, event_ns: int | None = None
    ) -> None:
        """The exchange sends a trade, numbered in sequence unless told otherwise."""
        trade_id = self._next if number < 0 else number
        self._next = trade_id + 1
        event_ns = self.now_ns if event_ns is None else event_ns
        self.sink.on_trade("BTCUSDT", price, quantity, True, trade_id, event_ns)

    def reading(self) -> Reading:
        """What stands now."""
        offset_ns = self.sink.offset_ns(self.now_ns)
        return self.source.reading(self.now_ns, offset_ns, self.sink.alive_ns())

"""What was traded in public: the last trades and one-minute candles of one symbol, bounded."""

from collections import deque
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from trading_platform.market.orders import Side
from trading_platform.simulation.model import ZERO, PublicTrade

TRADES_MAX = 2000
MINUTES_MAX = 2 * 24 * 60
MINUTE_MS = 60_000


class TapeCandle(msgspec.Struct):
    """Open, high, low, close and sums of one interval; times in Unix milliseconds."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote_volume: Decimal = ZERO
    taker_buy_volume: Decimal = ZERO
    taker_buy_quote_volume: Decimal = ZERO
    trade_count: int = 0
    first_trade_id: int = -1
    last_trade_id: int = -1

    def add(self, other: "TapeCandle") -> None:
        """Join a later candle to this one."""
        self.high, self.low = max(self.high, other.high), min(self.low, other.low)
        self.close = other.close
        self.volume += other.volume
        self.quote_volume += other.quote_volume
        self.taker_buy_volume += other.taker_buy_volume
        self.taker_buy_quote_volume += other.taker_buy_quote_volume
        self.trade_count += other.trade_count
        self.last_trade_id = other.last_trade_id


def candle_of(trade: PublicTrade, interval_ms: int) -> TapeCandle:
    """The candle of one trade alone."""
    at_ms = trade.at_ns // 1_000_000
    notional = trade.price * trade.quantity
    bought = trade.taker_side is Side.BUY
    return TapeCandle(
        open_ms=at_ms - at_ms % interval_ms,
        open=trade.price,
        high=trade.price,
        low=trade.price,
        close=trade.price,
        volume=trade.quantity,
        quote_volume=notional,
        taker_buy_volume=trade.quantity if bought else ZERO,
        taker_buy_quote_volume=notional if bought else ZERO,
        trade_count=1,
        first_trade_id=trade.trade_id,
        last_trade_id=trade.trade_id,
    )


class Tape:
    """Takes every public trade of one symbol."""

    def __init__(self) -> None:
        self.trades: deque[PublicTrade] = deque(maxlen=TRADES_MAX)
        self._minutes: deque[TapeCandle] = deque(maxlen=MINUTES_MAX)

    @property
    def last(self) -> PublicTrade | None:
        """The newest trade."""
        return self.trades[-1] if self.trades else None

    def add(self, trade: PublicTrade) -> None:
        """Keep a trade; times never run backwards within one tape."""
        self.trades.append(trade)
        candle = candle_of(trade, MINUTE_MS)
        if self._minutes and self._minutes[-1].open_ms >= candle.open_ms:
            self._minutes[-1].add(candle)
        else:
            self._minutes.append(candle)

    def candles(self, interval_ms: int, start_ms: int = 0, end_ms: int = 2**62) -> list[TapeCandle]:
        """Candles of `interval_ms`, oldest first, opened within [start_ms, end_ms]. Intervals
        without trades are missing.
        """
        joined: list[TapeCandle] = []
        for small in self._source(interval_ms):
            open_ms = small.open_ms - small.open_ms % interval_ms
            if joined and joined[-1].open_ms == open_ms:
                joined[-1].add(small)
            elif start_ms <= open_ms <= end_ms:
                joined.append(msgspec.structs.replace(small, open_ms=open_ms))
        return joined

    def window(self, start_ms: int) -> TapeCandle | None:
        """Everything since the minute of `start_ms` as one candle; None without trades."""
        total: TapeCandle | None = None
        for small in self._minutes:
            if small.open_ms + MINUTE_MS <= start_ms:
                continue
            if total is None:
                total = msgspec.structs.replace(small)
            else:
                total.add(small)
        return total

    def _source(self, interval_ms: int) -> Iterator[TapeCandle]:
        if interval_ms < MINUTE_MS:
            return (candle_of(trade, interval_ms) for trade in self.trades)
        return iter(self._minutes)

"""Binance's public data: rules, book, trades, candles, tickers (rest-api "Market Data")."""

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from trading_platform.market.orders import Side
from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_api import Call, Operation, Venue
from trading_platform.simulation.binance_filters import amount, symbol_row
from trading_platform.simulation.binance_params import Params
from trading_platform.simulation.model import ZERO, PublicTrade, SimulatedInstrument
from trading_platform.simulation.tape import TapeCandle

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
INTERVALS_MS = {
    "1s": 1000,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
}
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))


def depth_weight(params: Params) -> int:
    """5, 25, 50 or 250 by limit."""
    limit = params.integer("limit") or 100
    return next((weight for most, weight in _DEPTH_WEIGHTS if limit <= most), 250)


def _by_symbols(one: int, few: int, many: int) -> Any:
    def weight(params: Params) -> int:
        if params.has("symbol"):
            return one
        if not params.has("symbols"):
            return many
        return one if len(params.symbols()) <= 20 else few

    return weight


def trade_row(trade: PublicTrade, time: int) -> dict[str, Any]:
    """One row of /trades."""
    return {
        "id": trade.trade_id,
        "price": amount(trade.price),
        "qty": amount(trade.quantity),
        "quoteQty": amount(trade.price * trade.quantity),
        "time": time,
        "isBuyerMaker": trade.taker_side is Side.SELL,
        "isBestMatch": True,
    }


def aggregate_row(trade: PublicTrade, time: int) -> dict[str, Any]:
    """One aggregate; every trade is its own here."""
    return {
        "a": trade.trade_id,
        "p": amount(trade.price),
        "q": amount(trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": time,
        "m": trade.taker_side is Side.SELL,
        "M": True,
    }


def levels(pairs: Iterable[tuple[Decimal, Decimal]]) -> list[list[str]]:
    """Book levels as text."""
    return [[amount(price), amount(quantity)] for price, quantity in pairs]


class MarketData:
    """Answers public requests from the exchange's books and tapes."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._exchange = venue.exchange

    def operations(self) -> list[Operation]:
        """The table of this file."""

        def get(name: str, path: str, handler: Any, names: str = "", weight: Any = 1) -> Operation:
            weigh = weight if callable(weight) else lambda _: weight
            return Operation(
                name, (("GET", f"/api/v3/{path}"),), handler, frozenset(names.split()), weigh
            )

        pick = "symbol symbols symbolStatus"
        return [
            get("ping", "ping", lambda call: {}),
            get("time", "time", self.time),
            get(
                "exchangeInfo",
                "exchangeInfo",
                self.exchange_info,
                f"{pick} permissions showPermissionSets",
                20,
            ),
            get("depth", "depth", self.depth, "symbol limit symbolStatus", depth_weight),
            get("trades.recent", "trades", self.trades, "symbol limit", 25),
            get("trades.historical", "historicalTrades", self.trades, "symbol limit fromId", 25),
            get(
                "trades.aggregate",
                "aggTrades",
                self.aggregates,
                "symbol fromId startTime endTime limit",
                4,
            ),
            get(
                "klines",
                "klines",
                self.klines,
                "symbol interval startTime endTime timeZone limit",
                2,
            ),
            get("avgPrice", "avgPrice", self.average_price, "symbol", 2),
            get("ticker.price", "ticker/price", self.prices, pick, _by_symbols(2, 4, 4)),
            get("ticker.book", "ticker/bookTicker", self.book_tickers, pick, _by_symbols(2, 4, 4)),
            get("ticker.24hr", "ticker/24hr", self.tickers, f"{pick} type", _by_symbols(2, 40, 80)),
        ]

    def time(self, call: Call) -> Any:
        """The simulator's clock."""
        return {"serverTime": call.params.time(self._venue.now_ns)}

    def exchange_info(self, call: Call) -> Any:
        """Limits and symbols, by any of the documented selections."""
        status = call.params.text_or("symbolStatus", "")
        rows = [
            symbol_row(instrument, self._exchange.is_trading(instrument.symbol))
            for instrument in self._selected(call.params)
        ]
        return {
            "timezone": "UTC",
            "serverTime": call.params.time(self._venue.now_ns),
            "rateLimits": self._venue.budgets.published(),
            "exchangeFilters": [],
            "symbols": [row for row in rows if status in ("", row["status"])],
        }

    def depth(self, call: Call) -> Any:
        """The book's best levels."""
        book = self._exchange.book(self._one(call.params).symbol)
        limit = call.params.limit(100, 5000)
        return {
            "lastUpdateId": book.update_id,
            "bids": levels(book.bids.levels(limit)),
            "asks": levels(book.asks.levels(limit)),
        }

    def trades(self, call: Call) -> Any:
        """Public trades, oldest first."""
        trades = self._tape_from(call.params)
        return [trade_row(trade, call.params.time(trade.at_ns)) for trade in trades]

    def aggregates(self, call: Call) -> Any:
        """Aggregate trades, oldest first."""
        start = call.params.integer("startTime") or 0
        end = call.params.integer("endTime") or 2**62
        trades = [t for t in self._tape_from(call.params) if start <= t.at_ns // 1_000_000 <= end]
        return [aggregate_row(trade, call.params.time(trade.at_ns)) for trade in trades]

    def klines(self, call: Call) -> Any:
        """Candles, oldest first; an interval without trades repeats the last close."""
        interval = call.params.text("interval")
        if interval not in INTERVALS_MS:
            raise errors.BinanceError(-1120, "Invalid interval.")
        tape = self._exchange.tape(self._one(call.params).symbol)
        limit = call.params.limit(500, 1000)
        start, end = call.params.integer("startTime"), call.params.integer("endTime")
        step_ms = INTERVALS_MS[interval]
        candles = tape.candles(step_ms, start or 0, end or 2**62)
        if start is not None:
            chosen = list(islice(fill_gaps(candles, step_ms), limit))
        else:
            chosen = last_filled(candles, step_ms, limit)
        return [kline_row(candle, step_ms) for candle in chosen]

    def average_price(self, call: Call) -> Any:
        """Five-minute average."""
        symbol = self._one(call.params).symbol
        last = self._exchange.tape(symbol).last
        return {
            "mins": 5,
            "price": amount(self._exchange.reference_price(symbol) or ZERO),
            "closeTime": call.params.time(last.at_ns if last else self._venue.now_ns),
        }

    def prices(self, call: Call) -> Any:
        """Last prices."""
        return self._answer(call.params, self._price_row)

    def book_tickers(self, call: Call) -> Any:
        """Best bids and asks."""
        return self._answer(call.params, self.book_ticker_row)

    def tickers(self, call: Call) -> Any:
        """24-hour statistics."""
        kind = call.params.text_or("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise errors.illegal("type", "^(FULL|MINI)$")
        mini = kind == "MINI"
        return self._answer(call.params, lambda i: self.ticker_row(i, mini=mini))

    def _price_row(self, instrument: SimulatedInstrument) -> dict[str, Any]:
        price = self._exchange.reference_price(instrument.symbol)
        last = self._exchange.tape(instrument.symbol).last
        value = last.price if last is not None else price or ZERO
        return {"symbol": instrument.exchange_symbol, "price": amount(value)}

    def book_ticker_row(self, instrument: SimulatedInstrument) -> dict[str, Any]:
        """Zeros on an empty side."""
        book = self._exchange.book(instrument.symbol)
        bid, ask = book.bids.best or ZERO, book.asks.best or ZERO
        return {
            "symbol": instrument.exchange_symbol,
            "bidPrice": amount(bid),
            "bidQty": amount(book.bids.total(bid)),
            "askPrice": amount(ask),
            "askQty": amount(book.asks.total(ask)),
        }

    def ticker_row(self, instrument: SimulatedInstrument, *, mini: bool) -> dict[str, Any]:
        """One symbol's last 24 hours."""
        now_ms = self._venue.now_ns // 1_000_000
        tape = self._exchange.tape(instrument.symbol)
        day = tape.window(now_ms - _DAY) or _no_trades(now_ms)
        row: dict[str, Any] = {
            "symbol": instrument.exchange_symbol,
            "openPrice": amount(day.open),
            "highPrice": amount(day.high),
            "lowPrice": amount(day.low),
            "lastPrice": amount(day.close),
            "volume": amount(day.volume),
            "quoteVolume": amount(day.quote_volume),
            "openTime": now_ms - _DAY,
            "closeTime": now_ms,
            "firstId": day.first_trade_id,
            "lastId": day.last_trade_id,
            "count": day.trade_count,
        }
        if mini:
            return row
        change = day.close - day.open
        book = self.book_ticker_row(instrument)
        return {
            **row,
            "priceChange": amount(change),
            "priceChangePercent": f"{change / day.open * 100 if day.open else ZERO:.3f}",
            "weightedAvgPrice": amount(day.quote_volume / day.volume if day.volume else ZERO),
            "prevClosePrice": amount(day.open),
            "lastQty": amount(tape.last.quantity if tape.last else ZERO),
            **book,
        }

    def _one(self, params: Params) -> SimulatedInstrument:
        return self._venue.instrument(params.symbol())

    def _selected(self, params: Params) -> list[SimulatedInstrument]:
        if params.has("symbol"):
            return [self._one(params)]
        if params.has("symbols"):
            return [self._venue.instrument(symbol) for symbol in params.symbols()]
        return list(self._exchange.instruments.values())

    def _answer(self, params: Params, row: Any) -> Any:
        """`symbol` gives an object, `symbols` or none an array."""
        rows = [row(instrument) for instrument in self._selected(params)]
        return rows[0] if params.has("symbol") else rows

    def _tape_from(self, params: Params) -> list[PublicTrade]:
        trades = list(self._exchange.tape(self._one(params).symbol).trades)
        limit, first = params.limit(500, 1000), params.integer("fromId")
        if first is not None:
            return [trade for trade in trades if trade.trade_id >= first][:limit]
        return trades[-limit:]


def _no_trades(now_ms: int) -> TapeCandle:
    return TapeCandle(open_ms=now_ms, open=ZERO, high=ZERO, low=ZERO, close=ZERO)


def fill_gaps(candles: Iterable[TapeCandle], step_ms: int) -> Iterator[TapeCandle]:
    """The candles in order, with flat ones where nothing was traded."""
    last: TapeCandle | None = None
    for candle in candles:
        for open_ms in range(last.open_ms + step_ms, candle.open_ms, step_ms) if last else ():
            close = last.close if last else ZERO
            yield TapeCandle(open_ms=open_ms, open=close, high=close, low=close, close=close)
        yield candle
        last = candle


def last_filled(candles: list[TapeCandle], step_ms: int, limit: int) -> list[TapeCandle]:
    """The newest `limit` candles with the gaps filled; looks no further back than it must."""
    first = len(candles) - 1
    while first > 0 and (candles[-1].open_ms - candles[first].open_ms) // step_ms + 1 < limit:
        first -= 1
    return list(deque(fill_gaps(candles[max(0, first) :], step_ms), maxlen=limit))


def kline_row(candle: TapeCandle, step_ms: int) -> list[Any]:
    """The array of twelve."""
    return [
        candle.open_ms,
        amount(candle.open),
        amount(candle.high),
        amount(candle.low),
        amount(candle.close),
        amount(candle.volume),
        candle.open_ms + step_ms - 1,
        amount(candle.quote_volume),
        candle.trade_count,
        amount(candle.taker_buy_volume),
        amount(candle.taker_buy_quote_volume),
        "0",
    ]

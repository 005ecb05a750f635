"""Binance's market streams: who subscribed to what, and what each event becomes (no sockets).

web-socket-streams: trade, aggTrade, bookTicker in real time; depth, depth5/10/20 every 100 ms or
1 s; ticker, miniTicker, kline, avgPrice every second. An unknown stream is acknowledged and silent.
"""

import re
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from trading_platform.market.orders import Side
from trading_platform.simulation.binance_filters import amount
from trading_platform.simulation.binance_market import INTERVALS_MS, MarketData, levels
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import (
    ZERO,
    BookChange,
    PublicTrade,
    SimEvent,
    SimulatedInstrument,
)
from trading_platform.simulation.tape import TapeCandle

_DEPTH = re.compile(r"depth(5|10|20)?(@100ms|@1000ms)?")
_ALL_TICKERS = {"!miniTicker@arr"}
TICK_MS = 100


class Subscriber(Protocol):
    """One connection; takes an encoded event of a stream."""

    def offer(self, stream: str, payload: bytes) -> None: ...


class _Changes:
    """Levels that changed since the last diff of one stream."""

    def __init__(self) -> None:
        self.first_id = self.last_id = 0
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}

    def add(self, change: BookChange) -> None:
        self.first_id = self.first_id or change.first_id
        self.last_id = change.last_id
        self.bids.update(change.bids)
        self.asks.update(change.asks)


class _Stream(NamedTuple):
    instrument: SimulatedInstrument | None
    kind: str


class StreamHub:
    """Turns exchange events into stream payloads, encoded once a stream and event."""

    def __init__(self, exchange: SimulatedExchange, market: MarketData) -> None:
        self._exchange, self._market = exchange, market
        self._subscribers: dict[str, dict[Subscriber, None]] = {}
        self._changes: dict[str, _Changes] = {}
        self._best: dict[str, tuple[str, str, str, str]] = {}
        self._last_kline: dict[str, tuple[int, int]] = {}
        self._dirty_books: dict[str, set[str]] = {}
        self._ticks = 0
        self._encode = msgspec.json.Encoder().encode
        exchange.listen(self.on_event)

    @property
    def stream_count(self) -> int:
        """Streams with at least one subscriber."""
        return len(self._subscribers)

    def subscribe(self, stream: str, subscriber: Subscriber) -> None:
        """From the next event on."""
        self._subscribers.setdefault(stream, {})[subscriber] = None

    def unsubscribe(self, stream: str, subscriber: Subscriber) -> None:
        """Unknown subscriptions are ignored."""
        waiting = self._subscribers.get(stream, {})
        waiting.pop(subscriber, None)
        if not waiting:
            self._subscribers.pop(stream, None)
            self._changes.pop(stream, None)

    def on_event(self, event: SimEvent) -> None:
        """Real-time streams now; periodic ones remember."""
        if isinstance(event, PublicTrade):
            self._on_trade(event)
        elif isinstance(event, BookChange):
            self._on_book(event)

    def tick(self) -> None:
        """Call every 100 ms."""
        self._ticks += 1
        second = self._ticks % (1000 // TICK_MS) == 0
        for stream in list(self._subscribers):
            found = self._parse(stream)
            if found is None:
                continue
            depth = _DEPTH.fullmatch(found.kind)
            if depth and found.instrument is not None:
                if second or depth.group(2) == "@100ms":
                    self._send_depth(stream, found.instrument, depth.group(1))
            elif second:
                self._send_second(stream, found)

    def _parse(self, stream: str) -> _Stream | None:
        if stream in _ALL_TICKERS:
            return _Stream(None, stream)
        name, at, kind = stream.partition("@")
        instrument = self._exchange.by_exchange_symbol.get(name.upper())
        return _Stream(instrument, kind) if at and instrument and name.islower() else None

    def _send(self, stream: str, body: Any) -> None:
        payload = self._encode(body)
        for subscriber in tuple(self._subscribers.get(stream, ())):
            subscriber.offer(stream, payload)

    def _lead(self, symbol: str) -> str:
        return self._exchange.instruments[symbol].exchange_symbol.lower()

    def _on_trade(self, trade: PublicTrade) -> None:
        lead = self._lead(trade.symbol)
        time_ms = trade.at_ns // 1_000_000
        head = {"E": time_ms, "s": lead.upper()}
        tail = {
            "p": amount(trade.price),
            "q": amount(trade.quantity),
            "T": time_ms,
            "m": trade.taker_side is Side.SELL,
            "M": True,
        }
        if f"{lead}@trade" in self._subscribers:
            self._send(f"{lead}@trade", {"e": "trade", **head, "t": trade.trade_id, **tail})
        if f"{lead}@aggTrade" in self._subscribers:
            ids = {"f": trade.trade_id, "l": trade.trade_id}
            body = {"e": "aggTrade", **head, "a": trade.trade_id, **ids, **tail}
            self._send(f"{lead}@aggTrade", body)

    def _on_book(self, change: BookChange) -> None:
        lead = self._lead(change.symbol)
        for suffix in ("@depth", "@depth@100ms", "@depth@1000ms"):
            if lead + suffix in self._subscribers:
                self._changes.setdefault(lead + suffix, _Changes()).add(change)
        self._dirty_books.setdefault(change.symbol, set()).update(
            stream for stream in self._subscribers if stream.startswith(f"{lead}@depth")
        )
        if f"{lead}@bookTicker" in self._subscribers:
            self._send_best(change, lead)

    def _send_best(self, change: BookChange, lead: str) -> None:
        row = self._market.book_ticker_row(self._exchange.instruments[change.symbol])
        best = (row["bidPrice"], row["bidQty"], row["askPrice"], row["askQty"])
        if self._best.get(lead) == best:
            return
        self._best[lead] = best
        body = {"u": change.last_id, "s": lead.upper()}
        body |= dict(zip(("b", "B", "a", "A"), best, strict=True))
        self._send(f"{lead}@bookTicker", body)

    def _send_depth(self, stream: str, instrument: SimulatedInstrument, depth: str | None) -> None:
        if depth is not None:
            self._send_partial(stream, instrument, int(depth))
            return
        changes = self._changes.pop(stream, None)
        if changes is None:
            return
        body = {
            "e": "depthUpdate",
            "E": self._now_ms(),
            "s": instrument.exchange_symbol,
            "U": changes.first_id,
            "u": changes.last_id,
            "b": levels(changes.bids.items()),
            "a": levels(changes.asks.items()),
        }
        self._send(stream, body)

    def _send_partial(self, stream: str, instrument: SimulatedInstrument, depth: int) -> None:
        dirty = self._dirty_books.get(instrument.symbol, set())
        if stream not in dirty:
            return
        dirty.discard(stream)
        book = self._exchange.book(instrument.symbol)
        body = {
            "lastUpdateId": book.update_id,
            "bids": levels(book.bids.levels(depth)),
            "asks": levels(book.asks.levels(depth)),
        }
        self._send(stream, body)

    def _send_second(self, stream: str, found: _Stream) -> None:
        if found.instrument is None:
            rows = (self._mini(i) for i in self._exchange.instruments.values())
            self._send(stream, [row for row in rows if row is not None])
        elif found.kind.startswith("kline_"):
            self._send_klines(stream, found.instrument, found.kind.removeprefix("kline_"))
        elif found.kind in ("ticker", "miniTicker", "avgPrice"):
            make = {"ticker": self._ticker, "miniTicker": self._mini, "avgPrice": self._average}
            body = make[found.kind](found.instrument)
            if body is not None:
                self._send(stream, body)

    def _send_klines(self, stream: str, instrument: SimulatedInstrument, interval: str) -> None:
        """The current candle where it changed, after the one that it closed."""
        step_ms = INTERVALS_MS.get(interval)
        if step_ms is None:
            return
        candles = self._exchange.tape(instrument.symbol).candles(step_ms)[-2:]
        for candle in candles:
            closed = candle.open_ms + step_ms <= self._now_ms()
            mark = (candle.open_ms, candle.last_trade_id * 2 + closed)
            if mark <= self._last_kline.get(stream, (0, 0)):
                continue
            if closed and stream not in self._last_kline:
                continue
            self._last_kline[stream] = mark
            self._send(stream, self._kline(instrument, interval, candle, step_ms, closed))

    def _kline(
        self,
        instrument: SimulatedInstrument,
        interval: str,
        candle: TapeCandle,
        step_ms: int,
        closed: bool,
    ) -> dict[str, Any]:
        symbol = instrument.exchange_symbol
        return {
            "e": "kline",
            "E": self._now_ms(),
            "s": symbol,
            "k": {
                "t": candle.open_ms,
                "T": candle.open_ms + step_ms - 1,
                "s": symbol,
                "i": interval,
                "f": candle.first_trade_id,
                "L": candle.last_trade_id,
                "o": amount(candle.open),
                "c": amount(candle.close),
                "h": amount(candle.high),
                "l": amount(candle.low),
                "v": amount(candle.volume),
                "n": candle.trade_count,
                "x": closed,
                "q": amount(candle.quote_volume),
                "V": amount(candle.taker_buy_volume),
                "Q": amount(candle.taker_buy_quote_volume),
                "B": "0",
            },
        }

    def _mini(self, instrument: SimulatedInstrument) -> dict[str, Any] | None:
        row = self._market.ticker_row(instrument, mini=True)
        if row["count"] == 0:
            return None
        return {
            "e": "24hrMiniTicker",
            "E": self._now_ms(),
            "s": row["symbol"],
            "c": row["lastPrice"],
            "o": row["openPrice"],
            "h": row["highPrice"],
            "l": row["lowPrice"],
            "v": row["volume"],
            "q": row["quoteVolume"],
        }

    def _ticker(self, instrument: SimulatedInstrument) -> dict[str, Any] | None:
        row = self._market.ticker_row(instrument, mini=False)
        if row["count"] == 0:
            return None
        return {
            "e": "24hrTicker",
            "E": self._now_ms(),
            "s": row["symbol"],
            "p": row["priceChange"],
            "P": row["priceChangePercent"],
            "w": row["weightedAvgPrice"],
            "x": row["prevClosePrice"],
            "c": row["lastPrice"],
            "Q": row["lastQty"],
            "b": row["bidPrice"],
            "B": row["bidQty"],
            "a": row["askPrice"],
            "A": row["askQty"],
            "o": row["openPrice"],
            "h": row["highPrice"],
            "l": row["lowPrice"],
            "v": row["volume"],
            "q": row["quoteVolume"],
            "O": row["openTime"],
            "C": row["closeTime"],
            "F": row["firstId"],
            "L": row["lastId"],
            "n": row["count"],
        }

    def _average(self, instrument: SimulatedInstrument) -> dict[str, Any] | None:
        last = self._exchange.tape(instrument.symbol).last
        if last is None:
            return None
        price = self._exchange.reference_price(instrument.symbol) or ZERO
        return {
            "e": "avgPrice",
            "E": self._now_ms(),
            "s": instrument.exchange_symbol,
            "i": "5m",
            "w": amount(price),
            "T": last.at_ns // 1_000_000,
        }

    def _now_ms(self) -> int:
        return self._exchange.clock.time_ns() // 1_000_000

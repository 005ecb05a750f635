"""Recorded frames as timed market events. Pure: lines in, events out; nothing waits here.

Rules
1. Offsets start at 0 and never decrease, whatever the recorded clocks did.
2. Quantities are absolute; within one `Levels` each price stands once (the last one wins) and
   removals come first, so that applying it level by level never crosses the book on the way.
3. A recording without a snapshot is seeded (`seed`): each price level starts with its first
   recorded quantity, if nothing recorded before that moment contradicts it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice

import msgspec

from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.simulation.recordings import Line, read_lines

Level = tuple[Decimal, Decimal]
"""(price, quantity)"""


class Book(msgspec.Struct, frozen=True):
    """The whole book, both sides best first."""

    bids: Sequence[Level]
    asks: Sequence[Level]


class Levels(msgspec.Struct, frozen=True):
    """Levels that changed; quantity 0 removes."""

    bids: Sequence[Level]
    asks: Sequence[Level]


class Trade(msgspec.Struct, frozen=True):
    """A public trade."""

    price: Decimal
    quantity: Decimal
    taker_side: Side


MarketEvent = Book | Levels | Trade


class Timed(msgspec.Struct, frozen=True):
    """An event and when it happens, in nanoseconds after the first one."""

    offset_ns: int
    event: MarketEvent


class _BinanceFrame(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    last_update_id: int = msgspec.field(name="lastUpdateId", default=0)
    bids: list[Level] = []
    asks: list[Level] = []


class _BinanceDepth(msgspec.Struct):
    event_ms: int = msgspec.field(name="E")
    last_id: int = msgspec.field(name="u")
    b: list[Level]
    a: list[Level]


class _BinanceTrade(msgspec.Struct):
    event_ms: int = msgspec.field(name="E")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="q")
    buyer_is_maker: bool = msgspec.field(name="m")


class _CoinbaseFrame(msgspec.Struct):
    type: str
    product_id: str = ""
    time: datetime | None = None
    side: str = ""
    price: Decimal = Decimal(0)
    size: Decimal = Decimal(0)
    changes: list[tuple[str, Decimal, Decimal]] = []
    bids: list[Level] = []
    asks: list[Level] = []


_binance_frame = msgspec.json.Decoder(_BinanceFrame)
_binance_depth = msgspec.json.Decoder(_BinanceDepth)
_binance_trade = msgspec.json.Decoder(_BinanceTrade)
_coinbase_frame = msgspec.json.Decoder(_CoinbaseFrame)


class BinanceReader:
    """Reads lines of a combined stream with depth updates, trades and perhaps one REST snapshot.

    Depth updates up to the snapshot's lastUpdateId are left out, as the exchange's own procedure
    says (web-socket-streams, "How to manage a local order book correctly"). `bookTicker` repeats
    what depth says and is left out too. Without a receive time, the exchange's time counts.
    """

    def __init__(self, exchange_symbol: str | None = None) -> None:
        self._stream_lead = f"{exchange_symbol.lower()}@" if exchange_symbol else ""
        self._snapshot_id = 0

    def read(self, line: Line) -> tuple[int, MarketEvent] | None:
        """(time in ns, event), or None for a frame that says nothing about the market."""
        frame = _binance_frame.decode(line.frame)
        if not frame.last_update_id and not frame.stream.startswith(self._stream_lead):
            return None
        if frame.last_update_id:
            self._snapshot_id = frame.last_update_id
            return line.received_ns, Book(frame.bids, frame.asks)
        if frame.stream.endswith("@trade"):
            trade = _binance_trade.decode(frame.data)
            side = Side.SELL if trade.buyer_is_maker else Side.BUY
            at_ns = line.received_ns or trade.event_ms * 1_000_000
            return at_ns, Trade(trade.price, trade.quantity, side)
        if "@depth" not in frame.stream:
            return None
        depth = _binance_depth.decode(frame.data)
        if depth.last_id <= self._snapshot_id:
            return None
        at_ns = line.received_ns or depth.event_ms * 1_000_000
        return at_ns, Levels(_removals_first(depth.b), _removals_first(depth.a))


class CoinbaseReader:
    """Reads lines of a feed with level2 (or level2_batch) and matches.

    `match.side` is the maker's side (matches channel), so the taker's is the other one.
    """

    def __init__(self, exchange_symbol: str | None = None) -> None:
        self._product_id = exchange_symbol

    def read(self, line: Line) -> tuple[int, MarketEvent] | None:
        """(time in ns, event), or None for a frame that says nothing about the market."""
        frame = _coinbase_frame.decode(line.frame)
        event = _coinbase_event(frame)
        if event is None or self._product_id not in (None, frame.product_id):
            return None
        at = frame.time
        return line.received_ns or (round(at.timestamp() * 1e6) * 1000 if at else 0), event


def _coinbase_event(frame: _CoinbaseFrame) -> MarketEvent | None:
    if frame.type == "match":
        side = Side.SELL if frame.side == "buy" else Side.BUY
        return Trade(frame.price, frame.size, side)
    if frame.type == "snapshot":
        return Book(frame.bids, frame.asks)
    if frame.type != "l2update":
        return None
    bids = [(price, size) for side, price, size in frame.changes if side == "buy"]
    asks = [(price, size) for side, price, size in frame.changes if side == "sell"]
    return Levels(_removals_first(bids), _removals_first(asks))


def _removals_first(levels: Iterable[Level]) -> list[Level]:
    return sorted(dict(levels).items(), key=lambda level: level[1] != 0)


Reader = BinanceReader | CoinbaseReader


def reader(exchange_id: ExchangeId, exchange_symbol: str | None = None) -> Reader:
    """A fresh reader of that exchange's recordings, of one symbol when there are several."""
    kind = BinanceReader if exchange_id is ExchangeId.BINANCE else CoinbaseReader
    return kind(exchange_symbol)


def events(lines: Iterable[Line], exchange_id: ExchangeId) -> Iterator[Timed]:
    """The market events of a recording, in order, timed from the first one."""
    return _timed(lines, reader(exchange_id), 0)


def _timed(lines: Iterable[Line], reading: Reader, start_ns: int) -> Iterator[Timed]:
    latest_ns = start_ns
    for line in lines:
        found = reading.read(line)
        if found is None:
            continue
        at_ns, event = found
        start_ns = start_ns or at_ns
        latest_ns = max(latest_ns, at_ns)
        yield Timed(latest_ns - start_ns, event)


class _Witness:
    """How far each side is known to have reached so far, from recorded quotes and trades."""

    def __init__(self, first_trade: Trade | None) -> None:
        self._bid_max: Decimal | None = None
        self._ask_min: Decimal | None = None
        self._bought_max: Decimal | None = None
        self._sold_min: Decimal | None = None
        if first_trade is not None:
            self.see_trade(first_trade)

    def see_trade(self, trade: Trade) -> None:
        """A buyer took everything below the price; a seller hit a bid, and everything above it."""
        if trade.taker_side is Side.BUY:
            self._bought_max = _most(self._bought_max, trade.price)
            self._ask_min = _least(self._ask_min, trade.price)
        else:
            self._sold_min = _least(self._sold_min, trade.price)
            self._bid_max = _most(self._bid_max, trade.price)

    def see_levels(self, levels: Levels) -> None:
        """A quantity at a price: that side reached it."""
        for price, quantity in levels.bids:
            if quantity:
                self._bid_max = _most(self._bid_max, price)
        for price, quantity in levels.asks:
            if quantity:
                self._ask_min = _least(self._ask_min, price)

    def allows_bid(self, price: Decimal) -> bool:
        """Whether a bid there since the start contradicts nothing seen."""
        return (self._ask_min is None or price < self._ask_min) and (
            self._sold_min is None or price <= self._sold_min
        )

    def allows_ask(self, price: Decimal) -> bool:
        """Whether an ask there since the start contradicts nothing seen."""
        return (self._bid_max is None or price > self._bid_max) and (
            self._bought_max is None or price >= self._bought_max
        )


def seed(recorded: Iterable[Timed]) -> Book:
    """A starting book for a recording that has none.

    Each level gets its first recorded quantity, unless that is a removal, the level stands on the
    wrong side of the first trade, or something recorded before its first mention shows that it
    cannot have been there since the start: the other side quoted at or through it, or trades went
    past it. What remains is uncrossed and stays so while the recording is applied to it.
    """
    recorded = list(recorded)
    trades = (timed.event for timed in recorded if isinstance(timed.event, Trade))
    witness = _Witness(next(trades, None))
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    for timed in recorded:
        event = timed.event
        if isinstance(event, Trade):
            witness.see_trade(event)
        elif isinstance(event, Levels):
            _first_mentions(event.bids, bids, witness.allows_bid)
            _first_mentions(event.asks, asks, witness.allows_ask)
            witness.see_levels(event)
    return Book(
        sorted(((p, q) for p, q in bids.items() if q), reverse=True),
        sorted((p, q) for p, q in asks.items() if q),
    )


def _first_mentions(
    levels: Iterable[Level], into: dict[Decimal, Decimal], allowed: Callable[[Decimal], bool]
) -> None:
    for price, quantity in levels:
        if price not in into:
            into[price] = quantity if allowed(price) else Decimal(0)


def _most(old: Decimal | None, new: Decimal) -> Decimal:
    return new if old is None else max(old, new)


def _least(old: Decimal | None, new: Decimal) -> Decimal:
    return new if old is None else min(old, new)


class RecordedPath:
    """One recording, ready to be played again and again; decoded as it is played.

    Only the starting book is kept between rounds: it is the large part, always the same, and
    decoding the megabyte that it has at Coinbase would hold up everything else at every seam.
    """

    def __init__(
        self, compressed: bytes, exchange_id: ExchangeId, exchange_symbol: str | None = None
    ) -> None:
        self._compressed = compressed
        self._skipped, self._start_ns = 0, 0
        self._reader = reader(exchange_id, exchange_symbol)
        self.start = self._first_book() or seed(self._recorded())

    def round(self) -> Iterator[Timed]:
        """The starting book, then everything after it, once.

        A later snapshot (the recorder had to connect again) is a part of what happened.
        """
        yield Timed(0, self.start)
        yield from self._recorded()

    def _first_book(self) -> Book | None:
        """The book, when the recording starts with one; the rounds then go on after its line."""
        for number, line in enumerate(read_lines(self._compressed)):
            found = self._reader.read(line)
            if found is not None:
                if isinstance(found[1], Book):
                    self._skipped, self._start_ns = number + 1, found[0]
                    return found[1]
                break
        return None

    def _recorded(self) -> Iterator[Timed]:
        lines = islice(read_lines(self._compressed), self._skipped, None)
        return _timed(lines, self._reader, self._start_ns)

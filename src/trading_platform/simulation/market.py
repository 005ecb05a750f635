"""Plays recorded and synthetic markets into the simulated exchanges, endlessly, in real time or
faster.

Every round of a recording starts with its book, so the seam between two rounds is a fresh snapshot
and never a crossed book. Events carry no recorded time: the exchange stamps them when they happen
and numbers the trades itself, so times and trade ids only grow.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from trading_platform.kit.clock import Clock
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.simulation import recordings
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.journal import Journal
from trading_platform.simulation.model import FeeRule, SimulatedInstrument
from trading_platform.simulation.recordings import Recording
from trading_platform.simulation.replay import (
    Book,
    Level,
    Levels,
    MarketEvent,
    RecordedPath,
    Timed,
    Trade,
)
from trading_platform.simulation.synthetic import Shape, SyntheticPath

SEAM_NS = 100_000_000
"""Pause between two rounds of a recording."""
LAG_MAX_S = 1.0
"""A replay later than this (a suspended machine) goes on from now instead of catching up."""
BURST_MAX = 200
"""Events applied before others get the event loop."""


class Exchange(Protocol):
    """The market side of a simulated exchange."""

    def set_levels(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> None: ...

    def replace_book(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> None: ...

    def external_trade(
        self, symbol: str, price: Decimal, quantity: Decimal, taker_side: Side
    ) -> object: ...


class Path(Protocol):
    """One round of a market, from its starting book on."""

    def round(self) -> Iterator[Timed]: ...


class Source:
    """A market of one exchange and what feeds it; knows the price it last played."""

    def __init__(self, exchange_id: ExchangeId, symbol: str, path: Path) -> None:
        self.exchange_id = exchange_id
        self.symbol = symbol
        self.path = path
        self.last_price: Decimal | None = None
        self.rounds = 0

    def timed(self) -> Iterator[Timed]:
        """Round after round, with offsets from the first one's start."""
        start_ns = 0
        while True:
            self.rounds += 1
            latest_ns = 0
            for timed in self.path.round():
                latest_ns = timed.offset_ns
                yield Timed(start_ns + latest_ns, timed.event)
            start_ns += latest_ns + SEAM_NS

    def play(self, event: MarketEvent, exchange: Exchange) -> None:
        """Apply one event to the exchange."""
        if isinstance(event, Trade):
            exchange.external_trade(self.symbol, event.price, event.quantity, event.taker_side)
            self.last_price = event.price
        elif isinstance(event, Levels):
            if event.bids or event.asks:
                exchange.set_levels(self.symbol, event.bids, event.asks)
        else:
            # Lowest price first: a sorted list grows at its end, which is cheap.
            exchange.replace_book(self.symbol, event.bids[::-1], event.asks)
            self.last_price = _middle(event)


def _middle(book: Book) -> Decimal | None:
    if not book.bids or not book.asks:
        return None
    return (book.bids[0][0] + book.asks[0][0]) / 2


class MarketReplay:
    """Plays sources into their exchanges in one order of time."""

    def __init__(
        self,
        exchanges: Mapping[ExchangeId, Exchange],
        sources: Sequence[Source],
        clock: Clock,
        speed: float = 1.0,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"the replay speed must be above 0, not {speed}")
        self._exchanges = exchanges
        self._sources = sources
        self._clock = clock
        self._speed = speed
        self._due: list[tuple[int, int, Timed]] = []
        self._iterators: list[Iterator[Timed]] = []
        self.events = 0

    def prime(self) -> None:
        """Fill the books at once, in the order of the sources; `run` goes on from there."""
        for number, source in enumerate(self._sources):
            self._iterators.append(source.timed())
            self._fetch(number)
            while self._due and self._due[0][0] == 0:
                self._play_next()

    async def run(self) -> None:
        """Play until cancelled."""
        if not self._iterators:
            self.prime()
        burst = 0
        started = self._clock.monotonic() - self._position_s()
        while self._due:
            wait_s = started + self._position_s() - self._clock.monotonic()
            if wait_s < -LAG_MAX_S:
                started -= wait_s
            burst += 1
            if wait_s > 0 or burst >= BURST_MAX:
                await self._clock.sleep(max(0.0, wait_s))
                burst = 0
            self._play_next()

    def _position_s(self) -> float:
        """When the next event is due, in seconds of replay since the start."""
        return self._due[0][0] / 1e9 / self._speed if self._due else 0.0

    def _play_next(self) -> None:
        _, number, timed = heapq.heappop(self._due)
        self._fetch(number)  # first: a failure to apply one event must not end its source
        source = self._sources[number]
        source.play(timed.event, self._exchanges[source.exchange_id])
        self.events += 1

    def _fetch(self, number: int) -> None:
        timed = next(self._iterators[number], None)
        if timed is not None:
            heapq.heappush(self._due, (timed.offset_ns, number, timed))


def default_markets() -> dict[ExchangeId, tuple[SimulatedInstrument, ...]]:
    """What the demo's exchanges list, with filters as the real ones have them.

    Binance: exchangeInfo of BTCUSDT and ETHUSDT (2025); Coinbase: /products of 2025-2026.
    """
    return {
        ExchangeId.BINANCE: (_binance("BTC", "0.00001", "9000"), _binance("ETH", "0.0001", "9000")),
        ExchangeId.COINBASE: (
            _coinbase("BTC-USD", "0.01", "0.00000001"),
            _coinbase("ETH-USD", "0.01", "0.00000001", synthetic=True),
            _coinbase("USDT-USD", "0.00001", "0.01", synthetic=True),
        ),
    }


def default_exchanges(
    clock: Clock,
    journals: Mapping[ExchangeId, Journal] | None = None,
    make: type[SimulatedExchange] = SimulatedExchange,
) -> dict[ExchangeId, SimulatedExchange]:
    """The demo's exchanges: fees of the lowest tier, taken as each exchange takes them."""
    journals, markets = journals or {}, default_markets()
    return {
        ExchangeId.BINANCE: make(
            markets[ExchangeId.BINANCE],
            clock=clock,
            journal=journals.get(ExchangeId.BINANCE),
        ),
        ExchangeId.COINBASE: make(
            markets[ExchangeId.COINBASE],
            clock=clock,
            fee_maker=Decimal("0.004"),
            fee_taker=Decimal("0.006"),
            fee_rule=FeeRule.QUOTE,
            journal=journals.get(ExchangeId.COINBASE),
        ),
    }


def _binance(base: str, quantity_increment: str, quantity_max: str) -> SimulatedInstrument:
    return SimulatedInstrument(
        symbol=f"{base}-USDT",
        exchange_symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        price_increment=Decimal("0.01"),
        quantity_increment=Decimal(quantity_increment),
        price_min=Decimal("0.01"),
        price_max=Decimal(1_000_000),
        quantity_min=Decimal(quantity_increment),
        quantity_max=Decimal(quantity_max),
        market_quantity_max=Decimal(100),
        notional_min=Decimal(5),
        notional_max=Decimal(9_000_000),
    )


def _coinbase(
    symbol: str, price_increment: str, quantity_increment: str, *, synthetic: bool = False
) -> SimulatedInstrument:
    base, quote = symbol.split("-")
    return SimulatedInstrument(
        symbol=symbol,
        exchange_symbol=symbol,
        base=base,
        quote=quote,
        price_increment=Decimal(price_increment),
        quantity_increment=Decimal(quantity_increment),
        notional_min=Decimal(1),
        orders_max=500,
        synthetic=synthetic,
    )


def default_sources(seed: int = 1) -> list[Source]:
    """What feeds the default markets, recorded ones first.

    USDT-USD wanders around 0.9995, the ratio of the two BTC recordings; ETH-USD follows the
    recorded ETH-USDT, converted at that rate, within a few basis points.
    """
    btc_usdt = _recorded(recordings.BINANCE_BTC_USDT, "BTC-USDT")
    eth_usdt = _recorded(recordings.BINANCE_ETH_USDT, "ETH-USDT")
    btc_usd = _recorded(recordings.COINBASE_BTC_USD, "BTC-USD")
    usdt_usd = Source(
        ExchangeId.COINBASE,
        "USDT-USD",
        SyntheticPath(_USDT_USD, lambda: Decimal("0.9995"), seed),
    )
    eth_usd = Source(
        ExchangeId.COINBASE,
        "ETH-USD",
        SyntheticPath(_ETH_USD, _product(eth_usdt, usdt_usd), seed + 1),
    )
    return [btc_usdt, eth_usdt, btc_usd, usdt_usd, eth_usd]


_USDT_USD = Shape(
    price_increment=Decimal("0.00001"),
    quantity_increment=Decimal("0.01"),
    quantity_typical=Decimal(40_000),
    wander_bp=0.5,
    step_ms=500,
)
_ETH_USD = Shape(
    price_increment=Decimal("0.01"),
    quantity_increment=Decimal("0.00000001"),
    quantity_typical=Decimal(3),
    wander_bp=0.7,
    half_spread_increments=2,
    level_gap_increments=9,
)


def _recorded(recording: Recording, symbol: str) -> Source:
    path = RecordedPath(recording.load(), recording.exchange_id, recording.exchange_symbol)
    return Source(recording.exchange_id, symbol, path)


def _product(one: Source, other: Source) -> Callable[[], Decimal | None]:
    """The price of the one in the other's quote currency, once both are known."""

    def anchor() -> Decimal | None:
        if one.last_price is None or other.last_price is None:
            return None
        return one.last_price * other.last_price

    return anchor

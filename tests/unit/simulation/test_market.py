"""The replay fills real simulated exchanges, in order of time, round after round."""

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.market import (
    MarketReplay,
    Source,
    default_exchanges,
    default_sources,
)
from trading_platform.simulation.model import BookChange, PublicTrade, SimEvent
from trading_platform.simulation.replay import Book, Levels, Timed, Trade
from trading_platform.simulation.synthetic import SyntheticPath

BINANCE, COINBASE = ExchangeId.BINANCE, ExchangeId.COINBASE


class Script:
    """A path that plays the same events every round."""

    def __init__(self, *events: Timed) -> None:
        self._events = events

    def round(self) -> Iterator[Timed]:
        yield from self._events


def book(bid: str, ask: str) -> Book:
    return Book([(Decimal(bid), Decimal(1))], [(Decimal(ask), Decimal(1))])


def trade(price: str, side: Side = Side.BUY) -> Trade:
    return Trade(Decimal(price), Decimal("0.5"), side)


def seconds(number: float) -> int:
    return round(number * 1e9)


def replay_of(
    clock: ManualClock, *sources: Source, speed: float = 1.0
) -> tuple[MarketReplay, dict[ExchangeId, SimulatedExchange]]:
    exchanges = default_exchanges(clock)
    return MarketReplay(exchanges, sources, clock, speed), exchanges


async def run_until(replay: MarketReplay, clock: ManualClock, monotonic_s: float) -> None:
    task = asyncio.create_task(replay.run())
    while clock.monotonic() < monotonic_s and not task.done():  # noqa: ASYNC110 - it moves the clock
        await asyncio.sleep(0)
    task.cancel()
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    assert isinstance(result, asyncio.CancelledError), result


def a_source(*events: Timed, symbol: str = "BTC-USDT") -> Source:
    return Source(BINANCE, symbol, Script(*events))


def times_of_trades(exchange: SimulatedExchange, clock: ManualClock) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []

    def listen(event: SimEvent) -> None:
        if isinstance(event, PublicTrade):
            told.append((event.trade_id, round(clock.monotonic() * 1000)))

    exchange.listen(listen)
    return told


async def test_events_happen_at_their_time() -> None:
    clock = ManualClock()
    replay, exchanges = replay_of(
        clock,
        a_source(
            Timed(0, book("100", "101")),
            Timed(seconds(1), trade("101")),
            Timed(seconds(3), trade("101")),
        ),
    )
    told = times_of_trades(exchanges[BINANCE], clock)
    replay.prime()
    assert exchanges[BINANCE].book("BTC-USDT").bids.best == 100
    assert told == []
    await run_until(replay, clock, 3.05)
    start = told[0][1]
    assert [at - start for _, at in told] == [0, 2000]


async def test_twice_the_speed_takes_half_the_time() -> None:
    clock = ManualClock()
    source = a_source(
        Timed(0, book("100", "101")),
        Timed(seconds(1), trade("101")),
        Timed(seconds(5), trade("101")),
    )
    replay, exchanges = replay_of(clock, source, speed=2.0)
    told = times_of_trades(exchanges[BINANCE], clock)
    await run_until(replay, clock, 2.52)
    assert [at - told[0][1] for _, at in told] == [0, 2000]


async def test_a_new_round_restores_the_book_and_trade_ids_go_on_growing() -> None:
    clock = ManualClock()
    source = a_source(
        Timed(0, book("100", "101")),
        Timed(
            seconds(1),
            Levels(
                [(Decimal(100), Decimal(0))],
                [(Decimal(99), Decimal(2)), (Decimal(101), Decimal(0))],
            ),
        ),
        Timed(seconds(1), trade("99")),
    )
    replay, exchanges = replay_of(clock, source)
    exchange = exchanges[BINANCE]
    told = times_of_trades(exchange, clock)
    bests = []

    def watch(event: SimEvent) -> None:
        if isinstance(event, BookChange):
            found = exchange.book("BTC-USDT")
            bests.append((found.bids.best, found.asks.best))

    exchange.listen(watch)
    await run_until(replay, clock, 3.5)
    assert source.rounds >= 3
    assert (Decimal(100), Decimal(101)) in bests[1:]
    ids = [trade_id for trade_id, _ in told]
    assert len(ids) >= 3
    assert ids == sorted(set(ids))


async def test_a_suspended_machine_goes_on_from_now() -> None:
    clock = ManualClock()
    source = a_source(
        Timed(0, book("100", "101")), *(Timed(seconds(n), trade("101")) for n in range(1, 200))
    )
    replay, exchanges = replay_of(clock, source)
    told = times_of_trades(exchanges[BINANCE], clock)

    def suspend(event: SimEvent) -> None:
        if isinstance(event, PublicTrade) and len(told) == 3:
            clock.advance(100)

    exchanges[BINANCE].listen(suspend)
    await run_until(replay, clock, 105.5)
    assert len(told) <= 8  # not the burst of a hundred trades that were missed
    assert told[-1][1] - told[-2][1] == 1000  # and then again one a second


async def test_a_failing_exchange_costs_one_event_and_not_the_source() -> None:
    class Failing(SimulatedExchange):
        failed = False

        def external_trade(
            self,
            symbol: str,
            price: Decimal,
            quantity: Decimal,
            taker_side: Side,
            trade_id: int | None = None,
        ) -> None:
            if not Failing.failed:
                Failing.failed = True
                raise OSError("disk full")
            super().external_trade(symbol, price, quantity, taker_side, trade_id)

    clock = ManualClock()
    exchange = Failing(default_exchanges(clock)[BINANCE].instruments.values(), clock=clock)
    source = a_source(
        Timed(0, book("100", "101")),
        Timed(seconds(1), trade("101")),
        Timed(seconds(2), trade("101")),
    )
    replay = MarketReplay({BINANCE: exchange}, [source], clock)
    with pytest.raises(OSError, match="disk full"):
        await replay.run()
    told = times_of_trades(exchange, clock)
    await run_until(replay, clock, 1.5)  # a supervisor runs it again
    assert len(told) >= 1


def test_a_speed_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        MarketReplay({}, [], ManualClock(), 0)


class TestDefaultMarkets:
    """The shipped set, played for several rounds."""

    @staticmethod
    def mids(exchanges: dict[ExchangeId, SimulatedExchange]) -> dict[str, Decimal]:
        found = {}
        for exchange in exchanges.values():
            for symbol in exchange.instruments:
                book = exchange.book(symbol)
                assert book.bids.best is not None, symbol
                assert book.asks.best is not None, symbol
                assert book.bids.best < book.asks.best, symbol
                found[symbol] = (book.bids.best + book.asks.best) / 2
        return found

    async def test_every_book_is_full_at_once_and_never_crossed(self) -> None:
        clock = ManualClock()
        exchanges = default_exchanges(clock)
        sources = default_sources()
        replay = MarketReplay(exchanges, sources, clock)
        replay.prime()
        self.mids(exchanges)
        for at_s in range(5, 96, 5):
            await run_until(replay, clock, at_s)
            mids = self.mids(exchanges)
            converted = mids["ETH-USDT"] * mids["USDT-USD"]
            assert abs(mids["ETH-USD"] / converted - 1) < Decimal("0.0005")
            assert abs(mids["USDT-USD"] - Decimal("0.9995")) < Decimal("0.0002")
            assert abs(mids["BTC-USD"] / (mids["BTC-USDT"] * mids["USDT-USD"]) - 1) < Decimal(
                "0.0005"
            )
        assert [source.rounds for source in sources][:3] == [3, 2, 2]

    async def test_the_same_seed_plays_the_same_market(self) -> None:
        async def prices(seed: int) -> Sequence[object]:
            clock = ManualClock()
            exchanges = default_exchanges(clock)
            replay = MarketReplay(exchanges, default_sources(seed)[3:4], clock)
            told = []

            def listen(event: SimEvent) -> None:
                if isinstance(event, PublicTrade):
                    told.append((event.symbol, event.price, event.quantity))

            exchanges[COINBASE].listen(listen)
            await run_until(replay, clock, 60)
            return told[:20]

        assert await prices(7) == await prices(7)
        assert await prices(7) != await prices(8)

    def test_invented_markets_are_marked_and_recorded_ones_are_not(self) -> None:
        exchanges = default_exchanges(ManualClock())
        instruments = {s: i for e in exchanges.values() for s, i in e.instruments.items()}
        invented = {s for s, instrument in instruments.items() if instrument.synthetic}
        assert invented == {"ETH-USD", "USDT-USD"}
        fed_by_script = {
            source.symbol for source in default_sources() if isinstance(source.path, SyntheticPath)
        }
        assert invented == fed_by_script

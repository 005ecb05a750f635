import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import an_instrument
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.instruments import ExchangeId, Instrument, split_symbol
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.prices.board import PriceResult
from trading_platform.prices.feeds import PriceFeedManager
from trading_platform.prices.model import PricePolicy
from trading_platform.prices.sink import ExchangeSink

BINANCE, COINBASE = ExchangeId.BINANCE, ExchangeId.COINBASE


class StoppedClock(ManualClock):
    """A sleep lasts until the test ends: the test calls what the loop would."""

    async def sleep(self, duration_s: float) -> None:
        await asyncio.Event().wait()


class Stream:
    """A connection that stays open."""

    def __init__(self) -> None:
        self.running = asyncio.Event()

    async def run(self) -> None:
        self.running.set()
        await asyncio.Event().wait()


class Exchanges:
    """Streams of both exchanges, fed by the test through their sinks."""

    def __init__(self) -> None:
        self.sinks: dict[ExchangeId, ExchangeSink] = {}
        self.asked: list[tuple[ExchangeId, list[str]]] = []
        self.synthetic: set[str] = set()

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]:
        symbols = ["BTC-USDT"] if exchange_id is BINANCE else ["BTC-USD", "USDT-USD"]
        return {symbol: _listed(exchange_id, symbol, self.synthetic) for symbol in symbols}

    def market_stream(
        self, exchange_id: ExchangeId, exchange_symbols: Sequence[str], sink: ExchangeSink
    ) -> Stream:
        self.asked.append((exchange_id, list(exchange_symbols)))
        self.sinks[exchange_id] = sink
        return Stream()

    def quote(self, exchange_id: ExchangeId, exchange_symbol: str, price: float) -> None:
        self.sinks[exchange_id].on_quote(exchange_symbol, price * 0.9999, 1, price * 1.0001, 1, 0)


def _listed(exchange_id: ExchangeId, symbol: str, synthetic: set[str]) -> Instrument:
    base, quote = split_symbol(symbol)
    return an_instrument(
        exchange_id=exchange_id,
        symbol=symbol,
        exchange_symbol=base + quote if exchange_id is BINANCE else symbol,
        base=base,
        quote=quote,
        price_increment=Decimal("0.01"),
        synthetic=symbol in synthetic,
    )


class Outbox:
    def __init__(self) -> None:
        self.batches: list[list[PriceResult]] = []

    def offer(self, batch: Sequence[PriceResult]) -> None:
        self.batches.append(list(batch))


class Log:
    def __init__(self) -> None:
        self.errors: list[str] = []

    def info(self, event: str, **fields: Any) -> None: ...

    def error(self, event: str, **fields: Any) -> None:
        self.errors.append(event)


class House:
    def __init__(self, **options: Any) -> None:
        self.exchanges, self.outbox, self.log = Exchanges(), Outbox(), Log()
        self.clock = StoppedClock()
        self.supervisor = Supervisor(self.log)
        policies: dict[str, PricePolicy] = options.pop("policies", {})
        self.manager = PriceFeedManager(
            self.exchanges,
            self.outbox,
            self.supervisor,
            self.clock,
            policies,
            log=self.log,
            **options,
        )

    async def both(self) -> None:
        await self.manager.start_feed(BINANCE, ["BTC-USDT"])
        await self.manager.start_feed(COINBASE, ["BTC-USD", "USDT-USD"])

    def quote_all(self, usdt: float = 0.999) -> None:
        self.exchanges.quote(COINBASE, "USDT-USD", usdt)
        self.exchanges.quote(COINBASE, "BTC-USD", 60_000 * usdt)
        self.exchanges.quote(BINANCE, "BTCUSDT", 60_000)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.both()
    yield house
    await house.manager.close()
    await house.supervisor.close()


async def test_price_of_two_exchanges_in_two_currencies(house: House) -> None:
    house.quote_all(usdt=0.97)
    price = await house.manager.get_latest_price("BTC-USD")
    assert price.price == pytest.approx(58_200)
    assert [s.symbol for s in price.sources] == ["BTC-USDT", "BTC-USD"]
    in_usdt = await house.manager.get_latest_price("BTC-USDT")
    assert in_usdt.price == pytest.approx(60_000)
    assert house.manager.symbols() == ["BTC-USD", "BTC-USDT", "USDT-USD"]


async def test_before_any_message_there_is_no_price_and_the_refusal_says_why(house: House) -> None:
    with pytest.raises(ServiceError) as caught:
        await house.manager.get_latest_price("BTC-USD")
    assert caught.value.code == "PRICE_UNAVAILABLE"
    refusal = caught.value.metadata["refusal"]
    assert refusal["reason"] == "TOO_FEW_SOURCES"
    assert [source["excluded"] for source in refusal["sources"]] == ["NO_DATA", "NO_DATA"]


async def test_without_a_rate_the_other_currency_is_left_out(house: House) -> None:
    house.exchanges.quote(COINBASE, "BTC-USD", 60_000)
    house.exchanges.quote(BINANCE, "BTCUSDT", 60_000)
    result = house.manager.latest("BTC-USD")
    assert isinstance(result, PriceRefusal)
    assert [source.excluded for source in result.sources] == ["NO_CONVERSION", None]


async def test_broken_stablecoin_is_no_rate(house: House) -> None:
    house.quote_all(usdt=0.85)
    assert isinstance(house.manager.latest("USDT-USD"), AggregatedPrice)
    assert house.manager.latest("BTC-USD").sources[0].excluded == "NO_CONVERSION"


async def test_unknown_symbols_are_clear_errors(house: House) -> None:
    with pytest.raises(ServiceError, match="No feed carries 'XYZ-USD'"):
        await house.manager.get_latest_price("XYZ-USD")
    with pytest.raises(ServiceError, match="BINANCE does not list XYZ-USD") as caught:
        await house.manager.start_feed(BINANCE, ["XYZ-USD", "BTC-USDT"])
    assert caught.value.code == "INVALID_REQUEST"


async def test_gap_takes_the_price_away_until_data_comes(house: House) -> None:
    house.quote_all()
    house.exchanges.sinks[BINANCE].on_gap("reconnect")
    assert isinstance(house.manager.latest("BTC-USD"), PriceRefusal)
    house.exchanges.quote(BINANCE, "BTCUSDT", 60_000)
    assert isinstance(house.manager.latest("BTC-USD"), AggregatedPrice)


async def test_silence_takes_the_price_away_and_subscribers_hear_it_once(house: House) -> None:
    heard: list[PriceResult] = []
    await house.manager.subscribe("BTC-USD", heard.append)
    house.quote_all()
    house.manager.publish_due()
    for _ in range(20):
        house.clock.advance(1)
        house.manager.publish_due()
    kinds = [type(result).__name__ for result in heard]
    assert kinds == ["AggregatedPrice"] * 6 + ["PriceRefusal"]


async def test_only_what_changed_is_published_between_sweeps(house: House) -> None:
    house.quote_all()
    house.clock.advance(1)
    assert house.manager.publish_due() == 3
    house.clock.advance(0.1)
    assert house.manager.publish_due() == 0
    house.exchanges.quote(BINANCE, "BTCUSDT", 60_001)
    house.exchanges.quote(BINANCE, "BTCUSDT", 60_002)
    assert house.manager.publish_due() == 2
    assert {result.symbol for result in house.outbox.batches[-1]} == {"BTC-USD", "BTC-USDT"}
    house.exchanges.quote(COINBASE, "USDT-USD", 0.9989)
    assert house.manager.publish_due() == 3  # the rate moved, and what it converts


async def test_subscriber_that_raises_is_logged_and_hinders_nobody(house: House) -> None:
    heard: list[PriceResult] = []

    def broken(result: PriceResult) -> None:
        raise RuntimeError("mine")

    await house.manager.subscribe("BTC-USD", broken)
    handle = await house.manager.subscribe("BTC-USD", heard.append)
    house.quote_all()
    house.manager.publish_due()
    assert len(heard) == 1
    assert house.log.errors == ["price subscriber failed"]
    await house.manager.unsubscribe(handle)
    await house.manager.unsubscribe(handle)
    house.quote_all()
    house.manager.publish_due()
    assert len(heard) == 1


async def test_feed_status_for_readiness(house: House) -> None:
    house.quote_all()
    house.exchanges.sinks[BINANCE].on_gap("reconnect")
    house.clock.advance(2)
    binance, coinbase = house.manager.feeds()
    assert (binance.connected, binance.gaps, binance.age_ms) == (False, 1, None)
    assert (coinbase.connected, coinbase.messages, coinbase.age_ms) == (True, 2, 2000)


async def test_start_feed_again_adds_symbols_and_keeps_what_is_known() -> None:
    house = House()
    await house.manager.start_feed(COINBASE, ["BTC-USD"])
    await house.manager.start_feed(COINBASE, ["BTC-USD"])
    house.exchanges.quote(COINBASE, "BTC-USD", 60_000)
    await house.manager.start_feed(COINBASE, ["USDT-USD"])
    assert house.exchanges.asked == [
        (COINBASE, ["BTC-USD"]),
        (COINBASE, ["BTC-USD", "USDT-USD"]),
    ]
    assert house.manager.latest("BTC-USD").sources[0].age_ms == 0
    await house.manager.stop_feed(COINBASE)
    assert house.manager.symbols() == []
    await house.supervisor.close()


async def test_made_up_data_is_marked() -> None:
    house = House()
    house.exchanges.synthetic = {"USDT-USD"}
    await house.both()
    house.quote_all()
    price = await house.manager.get_latest_price("BTC-USD")
    assert price.synthetic
    assert (await house.manager.get_latest_price("USDT-USD")).synthetic
    await house.supervisor.close()


async def test_policy_given_for_a_symbol_is_used() -> None:
    house = House(policies={"BTC-USD": PricePolicy(symbol="BTC-USD", sources_min=1)})
    await house.manager.start_feed(COINBASE, ["BTC-USD"])
    house.exchanges.quote(COINBASE, "BTC-USD", 60_000)
    assert (await house.manager.get_latest_price("BTC-USD")).notes == ("SINGLE_SOURCE",)
    await house.supervisor.close()

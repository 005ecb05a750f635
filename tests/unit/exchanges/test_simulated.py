"""The whole of exchanges/ against the simulated exchanges, over their real wire protocols."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from tests.builders import an_order
from tests.unit.exchanges.sinks import Account, Log, Market
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import (
    Accepted,
    Found,
    NotFound,
    Rejected,
    Trading,
    Unknown,
)
from trading_platform.kit.clock import SystemClock
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import CLOSED, Order, OrderStatus, OrderType, Side, TimeInForce
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.simulation.service import open_simulation

pytestmark = [
    pytest.mark.parametrize("exchange_id", list(ExchangeId)),
    pytest.mark.asyncio(loop_scope="module"),  # one simulation serves all: its start takes seconds
]
SYMBOLS = {ExchangeId.BINANCE: "BTC-USDT", ExchangeId.COINBASE: "BTC-USD"}


class Keys:
    """Everybody's keys at the simulated exchanges."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        keys = simulated_keys(tenant_id)
        return ExchangeCredentials(
            api_key=keys.api_key,
            api_secret=Secret(keys.api_secret),
            passphrase=Secret(keys.passphrase),
        )


class Desk:
    """One tenant at one exchange, with everything that it hears."""

    def __init__(
        self,
        factory: ExchangeFactory,
        trading: Trading,
        instrument: Instrument,
        market: Market,
        events: Account,
    ) -> None:
        self.factory = factory
        self.trading = trading
        self.instrument = instrument
        self.market = market
        self.events = events

    def quote(self) -> tuple[Decimal, Decimal]:
        """The newest bid and ask."""
        symbol = self.instrument.exchange_symbol
        told = [t for t in self.market.told if t[:2] == ("quote", symbol)][-1]
        return Decimal(str(told[2])), Decimal(str(told[4]))

    def order(self, **changes: Any) -> Order:
        """Buy 0.001 BTC a tenth below the market, never sent before."""
        price = self.near(Decimal("0.9"))
        return an_order(
            exchange_id=self.instrument.exchange_id,
            symbol=self.instrument.symbol,
            client_order_id=str(uuid4()),
            **{"quantity": Decimal("0.001"), "price": price, **changes},
        )

    def near(self, factor: Decimal) -> Decimal:
        """A price that far from the bid, in whole steps."""
        step = self.instrument.price_increment
        return (self.quote()[0] * factor / step).to_integral_value() * step

    async def settled(self, order: Order) -> Any:
        """The order's report once it is closed."""
        async with asyncio.timeout(20):
            while True:
                found = await self.trading.look_up(order, self.instrument)
                if isinstance(found, Found) and found.report.status in CLOSED:
                    return found.report
                await asyncio.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExchangeFactory]:
    async with open_simulation(tmp_path_factory.mktemp("simulation"), Log(), speed=3) as simulation:
        endpoints = {each: simulated(each, url) for each, url in simulation.urls.items()}
        exchanges = ExchangeFactory(endpoints, Keys(), SystemClock(), Log())
        await exchanges.start()
        yield exchanges
        await exchanges.close()


@pytest_asyncio.fixture(loop_scope="module")
async def desk(exchange_id: ExchangeId, factory: ExchangeFactory) -> AsyncIterator[Desk]:
    tenant_id = f"t-{uuid4()}"
    instrument = await factory.instrument(exchange_id, SYMBOLS[exchange_id])
    market, events = Market(), Account()
    stream = factory.market_stream(exchange_id, [instrument.exchange_symbol], market)
    user = await factory.user_stream(tenant_id, exchange_id, events)
    running = [asyncio.create_task(each.run()) for each in (stream, user)]
    await until(lambda: user.connections and {t[0] for t in market.told} >= {"quote", "trade"})
    trading = await factory.trading(tenant_id, exchange_id)
    yield Desk(factory, trading, instrument, market, events)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_market_order_fills_and_all_witnesses_agree(desk: Desk) -> None:
    order = desk.order(order_type=OrderType.MARKET, price=None)
    placed = await desk.trading.place(order, desk.instrument)
    assert isinstance(placed, Accepted)
    assert placed.report.client_order_id == order.client_order_id
    report = await desk.settled(order)
    assert report.status is OrderStatus.FILLED
    assert report.filled_quantity == order.quantity
    known = msgspec.structs.replace(order, exchange_order_id=report.exchange_order_id)
    fills = await desk.trading.fills(known, desk.instrument)
    assert sum(fill.quantity for fill in fills) == order.quantity
    assert sum(fill.quantity * fill.price for fill in fills) == report.filled_notional
    await until(lambda: [r for r in desk.events.reports if r.status is OrderStatus.FILLED])
    told = desk.events.reports[-1]
    assert told.client_order_id == order.client_order_id
    assert (told.filled_quantity, told.filled_notional) == (
        report.filled_quantity,
        report.filled_notional,
    )
    streamed = {fill.trade_id for r in desk.events.reports for fill in r.fills}
    assert streamed <= {fill.trade_id for fill in fills}


async def test_a_resting_order_is_listed_and_canceled_once(desk: Desk) -> None:
    order = desk.order(post_only=True)
    placed = await desk.trading.place(order, desk.instrument)
    assert isinstance(placed, Accepted)
    known = msgspec.structs.replace(order, exchange_order_id=placed.report.exchange_order_id)

    async def listed() -> set[str | None]:
        return {report.client_order_id for report in await desk.trading.open_orders()}

    async with asyncio.timeout(20):
        while order.client_order_id not in await listed():  # noqa: ASYNC110 - not ours to signal
            await asyncio.sleep(0.01)
    since = SystemClock().now() - timedelta(minutes=1)
    recent = await desk.trading.recent_orders(desk.instrument, since)
    assert [report.exchange_order_id for report in recent] == [known.exchange_order_id]
    canceled = await desk.trading.cancel(known, desk.instrument)
    assert isinstance(canceled, Accepted)
    assert canceled.report.status is OrderStatus.CANCELED
    assert canceled.report.filled_quantity == 0
    assert isinstance(await desk.trading.cancel(known, desk.instrument), NotFound)
    assert order.client_order_id not in await listed()
    await until(lambda: [r for r in desk.events.reports if r.status is OrderStatus.CANCELED])


async def test_a_held_balance_is_seen(desk: Desk) -> None:
    order = desk.order()
    assert isinstance(await desk.trading.place(order, desk.instrument), Accepted)
    async with asyncio.timeout(20):
        while True:
            held = {row.currency: row.held for row in await desk.trading.balances()}
            if held[desk.instrument.quote] >= order.quantity * (order.price or 0):
                break


async def test_the_engine_ends_what_may_not_rest(desk: Desk) -> None:
    ioc = desk.order(time_in_force=TimeInForce.IOC)
    assert isinstance(await desk.trading.place(ioc, desk.instrument), Accepted)
    fok = desk.order(time_in_force=TimeInForce.FOK, price=desk.near(Decimal("1.01")))
    assert isinstance(await desk.trading.place(fok, desk.instrument), Accepted)
    assert (await desk.settled(fok)).status is OrderStatus.FILLED
    found = await desk.trading.look_up(ioc, desk.instrument)
    # Coinbase purges what ended without fills.
    if isinstance(found, Found):
        assert found.report.status is OrderStatus.EXPIRED
    else:
        assert isinstance(found, NotFound)
    await until(lambda: any(r.status is OrderStatus.EXPIRED for r in desk.events.reports))


async def test_refusals_are_definite(desk: Desk) -> None:
    poor = desk.order(quantity=Decimal(1000))
    dust = desk.order(quantity=desk.instrument.quantity_increment)
    half_steps = desk.near(Decimal("0.9")) + desk.instrument.price_increment / 2
    for order in (poor, dust, desk.order(price=half_steps)):
        outcome = await desk.trading.place(order, desk.instrument)
        assert isinstance(outcome, Rejected), outcome
        assert outcome.message
        assert isinstance(await desk.trading.look_up(order, desk.instrument), NotFound)


async def test_the_same_id_twice_is_never_a_plain_rejection(
    desk: Desk, exchange_id: ExchangeId
) -> None:
    order = desk.order()
    assert isinstance(await desk.trading.place(order, desk.instrument), Accepted)
    again = await desk.trading.place(order, desk.instrument)
    # Binance refuses while the first is open, which proves that it exists; Coinbase takes both.
    assert isinstance(again, Unknown if exchange_id is ExchangeId.BINANCE else Accepted)


async def test_another_tenants_order_cannot_be_seen_or_canceled(
    desk: Desk, exchange_id: ExchangeId
) -> None:
    order = desk.order(side=Side.SELL, price=desk.near(Decimal("1.1")))
    placed = await desk.trading.place(order, desk.instrument)
    assert isinstance(placed, Accepted)
    other = await desk.factory.trading("somebody-else", exchange_id)
    known = msgspec.structs.replace(order, exchange_order_id=placed.report.exchange_order_id)
    assert isinstance(await other.look_up(known, desk.instrument), NotFound)
    assert isinstance(await other.cancel(known, desk.instrument), NotFound)
    assert await other.open_orders() == []
    found = await desk.trading.look_up(known, desk.instrument)
    assert isinstance(found, Found)
    assert found.report.status is OrderStatus.OPEN

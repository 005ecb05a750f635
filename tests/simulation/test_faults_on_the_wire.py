"""What goes wrong between us and an exchange, on the real adapters over the real wire protocols:
never a second order, and the right state after one look-up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.unit.exchanges.sinks import Log
from tests.unit.exchanges.test_simulated import SYMBOLS, Keys
from tests.unit.orders.scripted import Lines
from trading_platform.exchanges.binance_trading import BinanceTrading
from trading_platform.exchanges.coinbase_trading import CoinbaseTrading
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import Trading
from trading_platform.kit.bus import Bus, Subscription
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.events import OrderChanged
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Order, OrderRequest, OrderStatus, OrderType, Side
from trading_platform.orders import evidence, pursuit
from trading_platform.orders.manager import OrderManager
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.simulation.gate import Gate
from trading_platform.simulation.model import SimOrder
from trading_platform.simulation.service import Simulation, open_simulation
from trading_platform.storage.sqlite import SqliteRecords

pytestmark = [
    pytest.mark.parametrize("exchange_id", list(ExchangeId)),
    pytest.mark.asyncio(loop_scope="module"),
]
CALL_TIMEOUT_S = 0.6
PLACE = {ExchangeId.BINANCE: "order.place", ExchangeId.COINBASE: "POST /orders"}
CANCEL = {ExchangeId.BINANCE: "order.cancel", ExchangeId.COINBASE: "DELETE /orders/{id}"}
TIME = {ExchangeId.BINANCE: "time", ExchangeId.COINBASE: "GET /time"}
EXECUTED = {OrderType.LIMIT: OrderStatus.OPEN, OrderType.MARKET: OrderStatus.FILLED}
Break = Callable[[Gate, str], None]


class Accounts:
    """The factory's accounts and instruments."""

    def __init__(self, factory: ExchangeFactory) -> None:
        self._factory = factory

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        return await self._factory.trading(tenant_id, exchange_id)

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        return await self._factory.instrument(exchange_id, symbol)


class Switch:
    """A guard that a test turns off."""

    def __init__(self) -> None:
        self.halted = False

    def may_send(self, tenant_id: str, exchange_id: str) -> None:
        if self.halted:
            raise ServiceError("drill", "TRADING_HALTED")


class Floor(NamedTuple):
    """Both exchanges, and orders as the platform runs them."""

    simulation: Simulation
    factory: ExchangeFactory
    manager: OrderManager
    bus: Bus
    switch: Switch


class Desk:
    """A new tenant at one exchange."""

    def __init__(self, floor: Floor, exchange_id: ExchangeId) -> None:
        self.tenant_id = f"t-{uuid4()}"
        self.floor, self.exchange_id = floor, exchange_id
        self.price: Decimal | None = None
        self.changes: Subscription = floor.bus.subscribe(OrderChanged)

    @property
    def gate(self) -> Gate:
        return self.floor.simulation.gates[self.exchange_id]

    async def submit(self, order_type: OrderType, key: str = "key") -> Order:
        request = await self.request(order_type)
        return await self.floor.manager.submit(self.tenant_id, request, key)

    async def request(self, order_type: OrderType) -> OrderRequest:
        symbol = SYMBOLS[self.exchange_id]
        instrument = await self.floor.factory.instrument(self.exchange_id, symbol)
        if self.price is None:
            exchange = self.floor.simulation.exchanges[self.exchange_id]
            reference = exchange.reference_price(symbol) or Decimal(60_000)
            step = instrument.price_increment
            self.price = (reference * Decimal("0.9") // step) * step
        return OrderRequest(
            exchange_id=self.exchange_id,
            symbol=symbol,
            side=Side.BUY,
            order_type=order_type,
            quantity=Decimal("0.001"),
            price=self.price if order_type is OrderType.LIMIT else None,
        )

    def there(self) -> list[SimOrder]:
        """What the exchange has of this tenant."""
        exchange = self.floor.simulation.exchanges[self.exchange_id]
        key = exchange.key(simulated_keys(self.tenant_id).api_key)
        return exchange.orders(key.account_id) if key else []

    async def becomes(self, order: Order, status: OrderStatus) -> Order:
        """The order once it has this status and all its fills."""
        now = await self.floor.manager.get(self.tenant_id, order.order_id)
        async with asyncio.timeout(8):
            while now.status is not status or _lacks(now):
                fact: OrderChanged = await self.changes.next()
                if fact.order.order_id == order.order_id:
                    now = fact.order
        return now


def _lacks(order: Order) -> bool:
    return sum(fill.quantity for fill in order.fills) < order.filled_quantity


def lose_the_answer(gate: Gate, operation: str) -> None:
    gate.drop_next_answer_after_execution(operation=operation)


def answer_too_late(gate: Gate, operation: str) -> None:
    gate.delay_next_answer(CALL_TIMEOUT_S * 1.5, operation=operation)


def refuse_as_a_proxy(gate: Gate, operation: str) -> None:
    gate.refuse_before_execution(502, "<html>502</html>", operation=operation)


def refuse_as_overloaded(gate: Gate, operation: str) -> None:
    gate.refuse_before_execution(503, operation=operation)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Floor]:
    folder: Path = tmp_path_factory.mktemp("floor")
    patch = pytest.MonkeyPatch()
    # The simulated exchanges never accept anything late, so "not found" may count early here.
    patch.setattr(BinanceTrading, "acceptance_window_s", 0.3)
    patch.setattr(CoinbaseTrading, "acceptance_window_s", 0.3)
    patch.setattr(evidence, "CLOCK_MARGIN_S", 0.2)
    patch.setattr(pursuit, "MISSING_S", 0.5)
    clock, bus, switch = SystemClock(), Bus(), Switch()
    async with open_simulation(folder / "simulation", Log(), speed=3) as simulation:
        endpoints = {each: simulated(each, url) for each, url in simulation.urls.items()}
        factory = ExchangeFactory(
            endpoints,
            Keys(),
            clock,
            Log(),
            may_send=switch.may_send,
            call_timeout_s=CALL_TIMEOUT_S,
        )
        await factory.start()
        records = await SqliteRecords.open(folder / "records.db")
        manager = OrderManager(
            records, Accounts(factory), switch, bus, clock, Lines(), deployment_lead="7ad1f0c2"
        )
        await manager.recover()
        running = asyncio.create_task(manager.run())
        yield Floor(simulation, factory, manager, bus, switch)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await manager.close(timeout_s=1)
        await factory.close()
        await records.close()
    patch.undo()


@pytest_asyncio.fixture(loop_scope="module")
async def desk(exchange_id: ExchangeId, floor: Floor) -> AsyncIterator[Desk]:
    desk = Desk(floor, exchange_id)
    await desk.request(OrderType.LIMIT)  # the instruments are known
    yield desk
    desk.changes.close()


@pytest.mark.parametrize("order_type", list(OrderType))
@pytest.mark.parametrize("fault", [lose_the_answer, answer_too_late])
async def test_an_executed_order_whose_answer_is_lost_is_found_and_sent_once(
    desk: Desk, order_type: OrderType, fault: Break
) -> None:
    fault(desk.gate, PLACE[desk.exchange_id])
    orders = await asyncio.gather(*(desk.submit(order_type) for _ in range(4)))
    assert {(order.order_id, order.status) for order in orders} == {
        (orders[0].order_id, OrderStatus.UNKNOWN)
    }
    found = await desk.becomes(orders[0], EXECUTED[order_type])
    assert [order.client_order_id[-36:] for order in desk.there()] == [found.client_order_id]
    assert desk.there()[0].filled_quantity == found.filled_quantity
    if order_type is OrderType.MARKET:
        assert sum(fill.quantity for fill in found.fills) == found.quantity
    again = await desk.submit(order_type)
    assert again.order_id == found.order_id
    assert len(desk.there()) == 1


@pytest.mark.parametrize("order_type", list(OrderType))
@pytest.mark.parametrize("fault", [refuse_as_a_proxy, refuse_as_overloaded])
async def test_an_order_that_never_arrived_is_unknown_and_then_not_placed(
    desk: Desk, order_type: OrderType, fault: Break
) -> None:
    fault(desk.gate, PLACE[desk.exchange_id])
    order = await desk.submit(order_type)
    assert order.status is OrderStatus.UNKNOWN
    await desk.becomes(order, OrderStatus.NOT_PLACED)
    assert (await desk.submit(order_type)).status is OrderStatus.NOT_PLACED
    assert desk.there() == []


@pytest.mark.parametrize("fault", [lose_the_answer, answer_too_late, refuse_as_overloaded])
async def test_a_cancel_whose_answer_is_lost_ends_the_order_all_the_same(
    desk: Desk, fault: Break
) -> None:
    order = await desk.submit(OrderType.LIMIT)
    assert order.status is OrderStatus.OPEN
    fault(desk.gate, CANCEL[desk.exchange_id])
    await desk.floor.manager.cancel(desk.tenant_id, order.order_id)
    await desk.becomes(order, OrderStatus.CANCELED)
    assert [o.status.value for o in desk.there() if o.status.value == "OPEN"] == []


async def test_a_cancel_of_an_order_whose_fate_nobody_knows_ends_it(desk: Desk) -> None:
    lose_the_answer(desk.gate, PLACE[desk.exchange_id])
    order = await desk.submit(OrderType.LIMIT)
    assert order.status is OrderStatus.UNKNOWN
    await desk.floor.manager.cancel(desk.tenant_id, order.order_id)
    await desk.becomes(order, OrderStatus.CANCELED)


async def test_a_halt_while_the_exchanges_time_is_slow_lets_no_order_out(
    desk: Desk, floor: Floor
) -> None:
    client = floor.factory._exchange(desk.exchange_id).client
    client._measured_at = client._asked_at = float("-inf")  # as right after a start
    desk.gate.delay_next_answer(CALL_TIMEOUT_S / 2, operation=TIME[desk.exchange_id])
    submitting = asyncio.create_task(desk.submit(OrderType.MARKET))
    while (fact := await desk.changes.next()).order.tenant_id != desk.tenant_id:
        pass
    assert fact.order.status is OrderStatus.SUBMITTING
    await asyncio.sleep(0.05)
    floor.switch.halted = True
    try:
        with pytest.raises(ServiceError) as refusal:
            await submitting
    finally:
        floor.switch.halted = False
    assert refusal.value.code == "TRADING_HALTED"
    order = await floor.manager.get(desk.tenant_id, refusal.value.metadata["orderId"])
    assert order.status is OrderStatus.DENIED
    assert desk.there() == []

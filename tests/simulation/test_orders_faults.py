"""Orders under seeded faults in virtual time: late, lost and lagging answers, outages, failing
storage, doubled and reordered reports, restarts. A failure prints its seed.

The exchange keeps the truth. At the end every intent was sent at most once, and what we believe of
each order is what the exchange did. Two controls show that the harness catches the usual mistakes.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from tests.builders import a_request
from tests.unit.orders.house import House, open_house
from tests.unit.orders.scripted import (
    ANSWER,
    LOSE_ANSWER,
    LOSE_REQUEST,
    REJECT,
    ScriptedExchange,
)
from trading_platform.exchanges.ports import PlaceOutcome, Unknown
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import CLOSED, Order, OrderReport, OrderStatus, OrderType

TENANT = "tenant-1"
STEPS = 60
LATE_S_MAX, LAG_S_MAX = 4.0, 2.5
"""Together within the acceptance window of the exchange, as its margin promises."""
REFUSALS = {"CONFLICT", "STORAGE_UNAVAILABLE", "EXCHANGE_UNAVAILABLE", "ORDER_REJECTED"}


class Broken(AssertionError):
    """A promise was not kept."""


class Life:
    """One random life of a house."""

    def __init__(self, house: House, random: Random) -> None:
        self.house, self.exchange, self.random = house, house.exchange, random
        self.told: list[OrderReport] = []
        self.number = 0

    async def live(self) -> None:
        for _ in range(STEPS):
            await self.random.choice(self._acts())()
            self.told += self.exchange.placed
            await self.check_endings()
        self.house.records.broken = self.exchange.down = False
        await self.house.let_pass(400, step_s=1)
        await self.check_end()

    def _acts(self) -> list[Callable[[], Awaitable[None]]]:
        often = [self.submit] * 4 + [self.pass_time] * 3 + [self.trade] * 2 + [self.report] * 2
        return [*often, self.cancel, self.close_there, self.outage, self.lag, self.full, self.die]

    async def submit(self) -> None:
        late_s = self.random.uniform(0.1, LATE_S_MAX)
        words: list[str | float] = [ANSWER, LOSE_ANSWER, LOSE_REQUEST, REJECT, late_s]
        self.exchange.script.append(self.random.choice(words))
        market = {"order_type": OrderType.MARKET, "price": None}
        request = a_request(**(market if self.random.random() < 0.3 else {}))
        self.number += 1
        for _ in range(self.random.choice([1, 1, 2])):
            await self._tolerate(self.house.manager.submit(TENANT, request, f"key-{self.number}"))
        self.exchange.script.clear()

    async def cancel(self) -> None:
        orders = await self._orders()
        if orders:
            self.exchange.cancel_script.append(
                self.random.choice([ANSWER, LOSE_ANSWER, LOSE_REQUEST])
            )
            order = self.random.choice(orders)
            await self._tolerate(self.house.manager.cancel(TENANT, order.order_id))

    async def pass_time(self) -> None:
        await self.house.let_pass(self.random.choice([0.5, 2.0, 15.0]))

    async def trade(self) -> None:
        report = self._working()
        if report is not None:
            left = Decimal("0.01") - report.filled_quantity
            self.exchange.trade(report, str(min(left, Decimal("0.004"))))

    async def close_there(self) -> None:
        report = self._working()
        if report is not None:
            ends = [OrderStatus.CANCELED, OrderStatus.EXPIRED]
            self.exchange.change(report, status=self.random.choice(ends))

    async def report(self) -> None:
        for report in self.random.choices(self.told, k=3) if self.told else ():
            self.house.manager.on_report(TENANT, ExchangeId.BINANCE, report)

    async def outage(self) -> None:
        self.exchange.down = not self.exchange.down

    async def lag(self) -> None:
        self.exchange.lag_s = self.random.uniform(0, LAG_S_MAX)

    async def full(self) -> None:
        self.house.records.broken = not self.house.records.broken

    async def die(self) -> None:
        self.house.records.broken = False
        await self.house.restart()

    async def check_endings(self) -> None:
        known = {report.client_order_id for report in self.exchange.placed}
        known |= {order.client_order_id for _, order in self.exchange._late}
        for order in await self._orders():
            if order.inferred and order.client_order_id in known:
                raise Broken(f"{order.order_id} was concluded {order.status} but exists")

    async def check_end(self) -> None:
        twice = [name for name, count in Counter(self.exchange.sends).items() if count > 1]
        if twice:
            raise Broken(f"sent twice: {twice}")
        truth = {report.client_order_id: report for report in self.exchange.placed}
        if len(truth) != len(self.exchange.placed):
            raise Broken("two orders on the exchange for one intent")
        orders = {order.client_order_id: order for order in await self._orders()}
        if truth.keys() - orders.keys():
            raise Broken("an order on the exchange without an intent")
        for name, order in orders.items():
            self._agree(order, truth.get(name))

    def _agree(self, order: Order, report: OrderReport | None) -> None:
        if report is None:
            if order.status not in {OrderStatus.NOT_PLACED, OrderStatus.REJECTED}:
                raise Broken(f"{order.order_id} is {order.status} but was never placed")
            return
        said = (order.status, order.filled_quantity, order.filled_notional, len(order.fills))
        trades = self.exchange.trades.get(report.exchange_order_id, [])
        true = (report.status, report.filled_quantity, report.filled_notional, len(trades))
        if said != true:
            raise Broken(f"{order.order_id}: we say {said}, the exchange says {true}")

    async def _orders(self) -> list[Order]:
        return (await self.house.manager.list_orders(TENANT, limit=500))[0]

    def _working(self) -> OrderReport | None:
        working = [report for report in self.exchange.placed if report.status not in CLOSED]
        return self.random.choice(working) if working else None

    async def _tolerate(self, work: Awaitable[Order]) -> None:
        try:
            await work
        except ServiceError as error:
            if error.code not in REFUSALS:
                raise


async def live(folder: Path, seed: int, exchange: type[ScriptedExchange]) -> None:
    async with open_house(folder) as house:
        house.accounts.exchanges[TENANT] = exchange(house.clock)
        await Life(house, Random(seed)).live()


@pytest.mark.parametrize("seed", range(20))
async def test_what_we_believe_is_what_the_exchange_did(tmp_path: Path, seed: int) -> None:
    await live(tmp_path, seed, ScriptedExchange)


class Impatient(ScriptedExchange):
    """Control: a client that sends again when no answer comes, as most retry advice says."""

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        outcome = await super().place(order, instrument)
        if isinstance(outcome, Unknown):
            return await super().place(order, instrument)
        return outcome


class Hasty(ScriptedExchange):
    """Control: "not found" is believed at once."""

    acceptance_window_s = -100.0


@pytest.mark.parametrize("control", [Impatient, Hasty])
async def test_harness_catches_the_usual_mistakes(
    tmp_path: Path, control: type[ScriptedExchange]
) -> None:
    caught = 0
    for seed in range(6):
        (tmp_path / str(seed)).mkdir()
        try:
            await live(tmp_path / str(seed), seed, control)
        except Broken:
            caught += 1
    assert caught >= 3

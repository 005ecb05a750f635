"""Orders go out without a pause while keys are rotated, and the rotating process is killed between
any two of its steps; the exchange ends each old key at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import an_order
from tests.custody import TENANT, House, a_process, some_exchanges
from trading_platform.exchanges.credential_rows import fingerprint
from trading_platform.exchanges.ports import Accepted, NotFound, Unknown
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import OrderReport, OrderStatus, Side
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.simulation.exchange import SimulatedExchange

SYMBOLS = {ExchangeId.BINANCE: "BTC-USDT", ExchangeId.COINBASE: "BTC-USD"}
WATCHED = (
    ("custody", ("get", "put", "promote", "retire", "renew")),
    ("rows", ("change",)),
    ("audit", ("append",)),
)


GONE = Accepted(
    OrderReport(
        exchange_order_id="",
        client_order_id="",
        exchange_symbol="",
        status=OrderStatus.CANCELED,
        filled_quantity=Decimal(0),
    )
)


class Killed(BaseException):
    """The process ended here: nothing after this line happens, no clean-up either."""


class Fuse:
    """Kills before or after the call with the chosen number; 0 never does."""

    def __init__(self, house: House, at: int) -> None:
        self._at = at
        self.count = 0
        for part, names in WATCHED:
            owner = getattr(house, part)
            for name in names:
                setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any, **fields: Any) -> Any:
            self._tick()
            answer = await call(*args, **fields)
            self._tick()
            return answer

        return watched

    def _tick(self) -> None:
        self.count += 1
        if self.count == self._at:
            raise Killed


class Door:
    """Every key that comes to the exchange; `ended` are those that must not come any more."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self.ended: set[str] = set()
        self.late: list[str] = []
        self._look_up = exchange.key
        exchange.key = self._seen  # type: ignore[method-assign]  # a witness at the door

    def _seen(self, api_key: str) -> Any:
        if api_key in self.ended:
            self.late.append(api_key)
        return self._look_up(api_key)


class Trader:
    """Places and cancels one order after another."""

    def __init__(self, house: House, exchange_id: ExchangeId) -> None:
        self._house = house
        self._exchange_id = exchange_id
        self.outcomes: list[Any] = []
        self._more = asyncio.Event()

    async def run(self) -> None:
        symbol = SYMBOLS[self._exchange_id]
        trading = await self._house.accounts.trading(TENANT, self._exchange_id)
        instrument = await self._house.factory.instrument(self._exchange_id, symbol)
        while True:
            order = an_order(
                exchange_id=self._exchange_id,
                symbol=symbol,
                client_order_id=str(uuid4()),
                price=Decimal(59_000),
                quantity=Decimal("0.001"),
            )
            self.outcomes.append(await trading.place(order, instrument))
            canceled = await trading.cancel(order, instrument)
            if isinstance(canceled, Unknown):  # asked once more, as the resolver would
                canceled = await trading.cancel(order, instrument)
                canceled = canceled if canceled != NotFound() else GONE
            self.outcomes.append(canceled)
            self._more.set()

    async def next_orders(self, count: int) -> None:
        """Wait until so many more orders were begun and ended."""
        wanted = len(self.outcomes) + 2 * count
        async with asyncio.timeout(20):
            while len(self.outcomes) < wanted:
                self._more.clear()
                await self._more.wait()


async def go_on(house: House, exchange_id: ExchangeId, new: ExchangeCredentials) -> None:
    """What a person does after a stop: look, and do what is left."""
    name = fingerprint(new.api_key)
    row = await house.rotation.settled(TENANT, exchange_id)
    if row.current is None or row.current.fingerprint != name:
        if row.pending is None or row.pending.fingerprint != name:
            await house.rotation.stage(TENANT, exchange_id, new, actor="a")
        try:
            await house.rotation.test(TENANT, exchange_id, actor="a")
        except ServiceError as error:
            if error.code != "CONFLICT":
                raise
            await house.rotation.stage(TENANT, exchange_id, new, actor="a")
            await house.rotation.test(TENANT, exchange_id, actor="a")
        row = await house.rotation.switch(TENANT, exchange_id, actor="a")
    if row.previous is not None:
        await house.rotation.retire(TENANT, exchange_id, actor="a")


@contextlib.asynccontextmanager
async def trading_on(trader: Trader) -> AsyncIterator[None]:
    task = asyncio.create_task(trader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rotate_under_load(folder: Path, exchange_id: ExchangeId, rotations: int) -> int:
    """So many rotations with a kill in each; how many different points were killed at."""
    async with (
        some_exchanges() as (cores, urls),
        a_process(folder, cores, urls) as house,
    ):
        core = cores[exchange_id]
        symbol = SYMBOLS[exchange_id]
        core.set_levels(symbol, [(Decimal(60_000), Decimal(1))], [(Decimal(60_010), Decimal(1))])
        core.external_trade(symbol, Decimal(60_000), Decimal(1), Side.SELL)
        old = house.open_account(exchange_id, 1)
        await house.submit(exchange_id, old)
        door, trader, at, killed = Door(core), Trader(house, exchange_id), 0, set[int]()
        async with trading_on(trader):
            await trader.next_orders(2)
            for number in range(2, rotations + 2):
                new = house.another_key(exchange_id, old, number)
                at += 1
                async with a_process(folder, cores, urls) as doomed:
                    fuse = Fuse(doomed, at)
                    try:
                        await go_on(doomed, exchange_id, new)
                    except Killed:
                        killed.add(at)
                    else:
                        assert fuse.count < at
                        at = 0
                await trader.next_orders(1)
                async with a_process(folder, cores, urls) as operator:
                    await go_on(operator, exchange_id, new)
                core.revoke_key(old.api_key)
                await trader.next_orders(2)
                door.ended.add(old.api_key)
                old = new
            await trader.next_orders(2)
        bad = [outcome for outcome in trader.outcomes if not isinstance(outcome, Accepted)]
        assert bad == []
        assert door.late == []
        assert (await house.audit.verify(TENANT)).ok
        return len(killed)


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_no_order_fails_while_keys_are_rotated_and_the_rotation_is_killed(
    tmp_path: Path, exchange_id: ExchangeId
) -> None:
    assert await rotate_under_load(tmp_path, exchange_id, 8) >= 7


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_hundred_rotations_killed_at_every_point_fail_no_order(
    tmp_path: Path, exchange_id: ExchangeId
) -> None:
    points = await rotate_under_load(tmp_path, exchange_id, 100)
    print(f"killed at {points} different points")
    assert points >= 30

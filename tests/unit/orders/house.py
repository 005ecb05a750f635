"""Orders on real SQLite, with a scripted exchange and a clock that tests move."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.builders import NOW
from tests.unit.orders.scripted import Lines, OneAccount, ScriptedExchange, Switch
from trading_platform.kit.bus import Bus, Subscription
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.events import OrderChanged
from trading_platform.market.orders import Order
from trading_platform.orders.manager import OrderManager
from trading_platform.storage.records import Key, Page, Record, Write
from trading_platform.storage.sqlite import SqliteRecords

LEAD = "7ad1f0c2"


class FailingRecords:
    """Real records that refuse writes while `broken`, and write but say that they failed while
    `answers_lost`.
    """

    def __init__(self, records: SqliteRecords) -> None:
        self.real = records
        self.broken = False
        self.answers_lost = False
        self.puts = 0

    def _check(self) -> None:
        if self.broken:
            raise ServiceError("the disk is full", "STORAGE_UNAVAILABLE")

    async def get(self, table: str, key: Key) -> Record | None:
        return await self.real.get(table, key)

    async def put(self, table: str, record: Record, *, expect: int | None) -> Record:
        self._check()
        self.puts += 1
        return await self.real.put(table, record, expect=expect)

    async def delete(self, table: str, key: Key, *, expect: int | None) -> None:
        self._check()
        await self.real.delete(table, key, expect=expect)

    async def query(self, table: str, partition: str, **how: Any) -> Page:
        return await self.real.query(table, partition, **how)

    async def transact(self, writes: Any) -> None:
        self._check()
        asked: list[Write] = list(writes)
        await self.real.transact(asked)
        if self.answers_lost:
            raise ServiceError("it may have been written", "STORAGE_UNAVAILABLE")

    async def close(self) -> None:
        await self.real.close()


class House(msgspec.Struct):
    """One running platform, as far as orders go."""

    clock: ManualClock
    records: FailingRecords
    accounts: OneAccount
    guard: Switch
    bus: Bus
    log: Lines
    changes: Subscription
    manager: OrderManager

    @property
    def exchange(self) -> ScriptedExchange:
        return self.accounts.of("tenant-1")

    async def let_pass(self, duration_s: float, step_s: float = 0.5) -> None:
        """Time passes and the manager works."""
        end = self.clock.monotonic() + duration_s
        while self.clock.monotonic() < end:
            self.clock.advance(step_s)
            await self.manager.work_off()

    async def stored(self, order: Order) -> Order:
        return await self.manager.get(order.tenant_id, order.order_id)

    async def restart(self) -> None:
        """The process dies; a new one starts on the same records and the same exchange."""
        await self.manager.close(timeout_s=0)
        self.manager = self.new_manager()
        await self.manager.recover()

    def new_manager(self) -> OrderManager:
        return OrderManager(
            self.records,
            self.accounts,
            self.guard,
            self.bus,
            self.clock,
            self.log,
            deployment_lead=LEAD,
        )


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    """A platform that has just started, with records in `folder`."""
    clock = ManualClock(NOW)
    records = FailingRecords(await SqliteRecords.open(folder / "records.db", clock=clock))
    bus, log = Bus(), Lines()
    accounts, guard = OneAccount(clock), Switch()
    changes = bus.subscribe(OrderChanged)
    manager = OrderManager(records, accounts, guard, bus, clock, log, deployment_lead=LEAD)
    house = House(clock, records, accounts, guard, bus, log, changes, manager)
    await manager.recover()
    yield house
    await house.manager.close(timeout_s=0)
    await records.close()

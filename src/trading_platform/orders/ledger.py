"""The one way an order changes: event -> machine -> store -> whoever listens, in that order."""

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from trading_platform.kit.bus import Bus
from trading_platform.market.events import OrderChanged
from trading_platform.market.orders import Order
from trading_platform.orders.events import OrderEvent, Reported
from trading_platform.orders.machine import apply, is_about_another, is_overfilled
from trading_platform.orders.ports import Log
from trading_platform.orders.store import Change, OrderStore
from trading_platform.storage.records import Records


class Ledger:
    """Applies events one after another per order, and tells of each change once it is stored."""

    def __init__(self, records: Records, bus: Bus, log: Log) -> None:
        self._records = records
        self._bus = bus
        self._log = log
        # Weak: a lock lives only as long as somebody holds or awaits it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.on_stored: Callable[[Order], None] = lambda order: None

    def store(self, tenant_id: str) -> OrderStore:
        """The tenant's orders."""
        return OrderStore(self._records, tenant_id)

    async def record(self, order: Order, *events: OrderEvent, just_created: bool = False) -> Order:
        """The order after these events, durable. `order` only names it; the stored one counts."""
        lock = self._locks.get(order.order_id)
        if lock is None:
            lock = self._locks[order.order_id] = asyncio.Lock()
        async with lock:
            change = await self.store(order.tenant_id).change(
                order.order_id,
                lambda stored: _apply_all(stored, events),
                created=order if just_created else None,
            )
            self._tell(change, events)
        return change.after

    def announce(self, order: Order) -> None:
        """Tell of an order that was just stored."""
        self.on_stored(order)
        self._bus.publish(OrderChanged(order=order))

    def _tell(self, change: Change, events: tuple[OrderEvent, ...]) -> None:
        before, after = change.before, change.after
        if after is not before:
            self.announce(after)
        fields = {"order_id": after.order_id, "tenant_id": after.tenant_id}
        if is_overfilled(after) and not is_overfilled(before):
            self._log.error("order overfilled", filled=str(after.filled_quantity), **fields)
        if before.inferred and not after.inferred:
            self._log.warning("order ending taken back", status=after.status, **fields)
        for event in events:
            if isinstance(event, Reported) and is_about_another(
                before, event.report.exchange_order_id
            ):
                other = event.report.exchange_order_id
                self._log.error("two exchange orders for one order", other=other, **fields)


def _apply_all(order: Order, events: tuple[OrderEvent, ...]) -> Order:
    for event in events:
        order = apply(order, event)
    return order

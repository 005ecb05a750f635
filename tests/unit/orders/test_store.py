"""What is kept of orders, under many writers at once."""

import asyncio
from decimal import Decimal

from tests.builders import NOW, a_fill, a_report, a_request, an_order
from tests.unit.orders.house import House
from tests.unit.orders.scripted import Lines
from trading_platform.kit.bus import Bus
from trading_platform.market.events import OrderChanged
from trading_platform.market.orders import Order, OrderStatus
from trading_platform.orders import rows
from trading_platform.orders.events import FillReported, Reported
from trading_platform.orders.ledger import Ledger
from trading_platform.orders.machine import apply
from trading_platform.orders.store import OrderStore, unfinished


def fill_of(number: int) -> FillReported:
    fill = a_fill(trade_id=str(number), quantity=Decimal("0.0001"))
    return FillReported(exchange_order_id="31400271", fills=(fill,), at=NOW)


async def stored_order(house: House) -> Order:
    order = an_order()
    store = OrderStore(house.records, order.tenant_id)
    assert await store.create(order, "key-1", a_request()) == order
    return order


async def test_two_processes_that_change_one_order_lose_nothing(house: House) -> None:
    order = await stored_order(house)
    stores = [OrderStore(house.records, order.tenant_id) for _ in range(6)]

    async def add(number: int) -> None:
        await stores[number].change(order.order_id, lambda found: apply(found, fill_of(number)))

    await asyncio.gather(*(add(number) for number in range(6)))
    assert len((await stores[0].get(order.order_id)).fills) == 6


async def test_many_events_at_once_are_told_in_the_order_they_were_stored(house: House) -> None:
    order = await stored_order(house)
    bus = Bus()
    told = bus.subscribe(OrderChanged)
    ledger = Ledger(house.records, bus, Lines())
    await asyncio.gather(*(ledger.record(order, fill_of(number)) for number in range(40)))
    counts = [len((await told.next()).order.fills) for _ in range(40)]
    assert counts == list(range(1, 41))


async def test_unfinished_orders_of_all_tenants_are_found_and_finished_ones_not(
    house: House,
) -> None:
    for number in range(40):
        order = an_order(
            order_id=f"order-{number}",
            tenant_id=f"tenant-{number}",
            status=OrderStatus.OPEN if number % 2 else OrderStatus.CANCELED,
        )
        await OrderStore(house.records, order.tenant_id).create(order, "key", a_request())
    found = {order.order_id for order in await unfinished(house.records)}
    assert found == {f"order-{number}" for number in range(1, 40, 2)}


async def test_order_survives_its_row_unchanged(house: House) -> None:
    order = apply(
        an_order(quantity=Decimal("0.010"), price=Decimal("1E+3")),
        Reported(report=a_report(fills=(a_fill(),)), at=NOW),
    )
    assert rows.from_record(rows.to_record(order)) == order


def test_row_written_before_a_field_existed_is_still_read() -> None:
    record = rows.to_record(an_order())
    old = {name: value for name, value in record.data.items() if name != "reported_quantity"}
    assert rows.from_record(type(record)(key=record.key, data=old)) == an_order()

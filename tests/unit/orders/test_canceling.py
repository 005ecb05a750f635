"""Canceling: asked for durably, pressed until answered, honest about what could not be canceled."""

import asyncio
from decimal import Decimal

import pytest

from tests.builders import a_request
from tests.unit.orders.house import House
from tests.unit.orders.scripted import HANG, LOSE_ANSWER, LOSE_REQUEST, REJECT
from trading_platform.exchanges.ports import Rejected
from trading_platform.kit.errors import ServiceError
from trading_platform.market.orders import Order, OrderStatus


async def submit(house: House, fault: str | float | None = None) -> Order:
    if fault is not None:
        house.exchange.script.append(fault)
    return await house.manager.submit("tenant-1", a_request(), "key-1")


async def test_open_order_is_canceled(house: House) -> None:
    order = await submit(house)
    canceled = await house.manager.cancel("tenant-1", order.order_id)
    assert canceled.status == OrderStatus.CANCELED
    assert not canceled.inferred
    assert await house.stored(order) == canceled


async def test_cancel_keeps_the_part_that_filled(house: House) -> None:
    order = await submit(house)
    house.exchange.trade(house.exchange.placed[0], "0.004")
    canceled = await house.manager.cancel("tenant-1", order.order_id)
    await house.let_pass(2)
    assert canceled.filled_quantity == Decimal("0.004")
    assert len((await house.stored(order)).fills) == 1


async def test_kill_switch_does_not_stop_a_cancel(house: House) -> None:
    order = await submit(house)
    house.guard.halted = True
    assert (await house.manager.cancel("tenant-1", order.order_id)).status == OrderStatus.CANCELED


@pytest.mark.parametrize("end", [OrderStatus.CANCELED, OrderStatus.REJECTED])
async def test_closed_order_is_a_conflict(house: House, end: OrderStatus) -> None:
    order = await submit(house, REJECT if end == OrderStatus.REJECTED else None)
    if end == OrderStatus.CANCELED:
        await house.manager.cancel("tenant-1", order.order_id)
    with pytest.raises(ServiceError, match=f"is {end} and can no longer be canceled") as refusal:
        await house.manager.cancel("tenant-1", order.order_id)
    assert refusal.value.code == "CONFLICT"


async def test_another_tenants_order_is_not_found(house: House) -> None:
    order = await submit(house)
    with pytest.raises(ServiceError) as refusal:
        await house.manager.cancel("tenant-2", order.order_id)
    assert refusal.value.code == "NOT_FOUND"
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_cancel_that_finds_a_filled_order_says_filled(house: House) -> None:
    order = await submit(house)
    house.exchange.trade(house.exchange.placed[0], "0.01")
    assert (await house.manager.cancel("tenant-1", order.order_id)).status == OrderStatus.FILLED


async def test_lost_answer_to_a_cancel_is_looked_up(house: House) -> None:
    order = await submit(house)
    house.exchange.cancel_script.append(LOSE_ANSWER)
    assert (await house.manager.cancel("tenant-1", order.order_id)).status == OrderStatus.CANCELED


async def test_lost_cancel_is_pressed_until_it_arrives_also_after_a_restart(house: House) -> None:
    order = await submit(house)
    house.exchange.cancel_script.extend([LOSE_REQUEST] * 2)
    pending = await house.manager.cancel("tenant-1", order.order_id)
    assert pending.status == OrderStatus.CANCEL_PENDING
    await house.restart()
    await house.let_pass(30)
    assert (await house.stored(order)).status == OrderStatus.CANCELED
    assert house.exchange.asked.count("cancel") == 3


async def test_refused_cancel_leaves_the_order_working(house: House) -> None:
    order = await submit(house)
    house.exchange.cancel_script.append(Rejected(code="-2011", message="Market is closed."))
    with pytest.raises(ServiceError, match="Market is closed") as refusal:
        await house.manager.cancel("tenant-1", order.order_id)
    assert refusal.value.code == "ORDER_REJECTED"
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_throttled_cancel_is_pressed_later(house: House) -> None:
    order = await submit(house)
    house.exchange.cancel_script.append(Rejected(code="429", message="slow", retry_after_s=1.0))
    pending = await house.manager.cancel("tenant-1", order.order_id)
    assert pending.status == OrderStatus.CANCEL_PENDING
    await house.let_pass(5)
    assert (await house.stored(order)).status == OrderStatus.CANCELED


async def test_cancel_of_an_unknown_order_finds_it_by_client_id(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    assert (await house.manager.cancel("tenant-1", order.order_id)).status == OrderStatus.CANCELED


async def test_cancel_of_an_unknown_order_that_arrives_later_still_ends_it(house: House) -> None:
    order = await submit(house, 5.0)
    waiting = await house.manager.cancel("tenant-1", order.order_id)
    assert (waiting.status, waiting.cancel_requested) == (OrderStatus.UNKNOWN, True)
    await house.let_pass(25)
    assert (await house.stored(order)).status == OrderStatus.CANCELED
    assert [report.status for report in house.exchange.placed] == [OrderStatus.CANCELED]


async def test_cancel_while_in_flight_waits_for_the_answer_and_then_cancels(house: House) -> None:
    house.exchange.script.append(HANG)
    submitting = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    (order,), _ = await house.manager.list_orders("tenant-1")
    canceling = asyncio.create_task(house.manager.cancel("tenant-1", order.order_id))
    await house.manager.work_off()
    house.exchange.answer_now.set()
    assert (await canceling).status == OrderStatus.CANCELED
    assert (await submitting).order_id == order.order_id


async def test_cancel_of_an_unknown_order_is_pressed_although_look_ups_lag(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    house.exchange.blind_until = 1000.0
    house.exchange.cancel_script.append(LOSE_REQUEST)
    waiting = await house.manager.cancel("tenant-1", order.order_id)
    assert waiting.status == OrderStatus.UNKNOWN
    await house.let_pass(3)
    assert (await house.stored(order)).status == OrderStatus.CANCELED


async def test_cancel_that_we_could_not_ask_for_is_no_refusal_and_is_pressed_on(
    house: House,
) -> None:
    order = await submit(house)
    away = Rejected(code="PROVIDER_UNAVAILABLE", message="custody does not answer")
    house.exchange.cancel_script += [away, away, away]
    waiting = await house.manager.cancel("tenant-1", order.order_id)
    assert waiting.status == OrderStatus.CANCEL_PENDING
    await house.let_pass(30)
    assert (await house.stored(order)).status == OrderStatus.CANCELED

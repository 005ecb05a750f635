"""Submitting: once, durable before sent, and whatever comes back is stored as what it is."""

import asyncio
from decimal import Decimal

import pytest

from tests.builders import a_request, an_instrument
from tests.unit.orders.house import House
from tests.unit.orders.scripted import HALT, HANG, LOSE_ANSWER, LOSE_REQUEST, REJECT
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import OrderStatus


async def test_accepted_order_is_open_stored_and_told(house: House) -> None:
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert order.status == OrderStatus.OPEN
    assert order.client_order_id.startswith("7ad1f0c2-")
    assert await house.stored(order) == order
    told = [(await house.changes.next()).order.status for _ in range(2)]
    assert told == [OrderStatus.SUBMITTING, OrderStatus.OPEN]


async def test_intent_is_stored_before_the_request_leaves(house: House) -> None:
    house.exchange.script.append(HANG)
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    orders, _ = await house.manager.list_orders("tenant-1")
    assert [order.status for order in orders] == [OrderStatus.SUBMITTING]
    assert orders[0].client_order_id == house.exchange.sends[0]
    house.exchange.answer_now.set()
    assert (await task).status == OrderStatus.OPEN


async def test_same_key_gives_the_same_order_and_sends_once(house: House) -> None:
    first = await house.manager.submit("tenant-1", a_request(quantity=Decimal("0.010")), "key-1")
    again = await house.manager.submit("tenant-1", a_request(quantity=Decimal("0.01")), "key-1")
    assert again == first
    assert len(house.exchange.sends) == 1


async def test_racing_submits_with_one_key_send_once_and_agree(house: House) -> None:
    racing = [house.manager.submit("tenant-1", a_request(), "key-1") for _ in range(8)]
    orders = await asyncio.gather(*racing)
    assert len({order.order_id for order in orders}) == 1
    assert {order.status for order in orders} == {OrderStatus.OPEN}
    assert len(house.exchange.sends) == 1


async def test_two_processes_racing_with_one_key_send_once(house: House) -> None:
    other = house.new_manager()
    await other.recover()
    orders = await asyncio.gather(
        house.manager.submit("tenant-1", a_request(), "key-1"),
        other.submit("tenant-1", a_request(), "key-1"),
    )
    assert orders[0].order_id == orders[1].order_id
    assert len(house.exchange.sends) == 1
    await other.close(timeout_s=0)


async def test_same_key_for_another_request_is_a_conflict(house: House) -> None:
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    with pytest.raises(ServiceError) as refusal:
        await house.manager.submit("tenant-1", a_request(price=Decimal(61_000)), "key-1")
    assert refusal.value.code == "IDEMPOTENCY_CONFLICT"
    assert refusal.value.metadata == {"orderId": order.order_id}
    assert len(house.exchange.sends) == 1


async def test_same_key_of_two_tenants_is_two_orders(house: House) -> None:
    mine = await house.manager.submit("tenant-1", a_request(), "key-1")
    theirs = await house.manager.submit("tenant-2", a_request(), "key-1")
    assert mine.client_order_id != theirs.client_order_id
    with pytest.raises(ServiceError, match="there is no order"):
        await house.manager.get("tenant-1", theirs.order_id)
    assert (await house.manager.list_orders("tenant-2"))[0] == [theirs]


async def test_order_against_the_rules_is_denied_and_nothing_is_written(house: House) -> None:
    with pytest.raises(ServiceError, match="not a multiple") as refusal:
        await house.manager.submit("tenant-1", a_request(quantity=Decimal("0.000015")), "key-1")
    assert refusal.value.code == "ORDER_DENIED"
    assert (await house.manager.list_orders("tenant-1"))[0] == []
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert order.status == OrderStatus.OPEN


async def test_repeat_of_a_sent_order_is_answered_although_the_rules_changed(house: House) -> None:
    first = await house.manager.submit("tenant-1", a_request(), "key-1")
    house.accounts.instrument_now = an_instrument(trading=False)
    assert await house.manager.submit("tenant-1", a_request(), "key-1") == first


async def test_refused_order_is_stored_as_rejected_with_the_reason(house: House) -> None:
    house.exchange.script.append(REJECT)
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert order.status == OrderStatus.REJECTED
    assert order.reason == "-2010: Account has insufficient balance."
    assert await house.stored(order) == order


async def test_halt_between_intent_and_send_denies_and_never_sends(house: House) -> None:
    house.guard.halted = True
    with pytest.raises(ServiceError, match="drill") as refusal:
        await house.manager.submit("tenant-1", a_request(), "key-1")
    assert refusal.value.code == "TRADING_HALTED"
    order = await house.manager.get("tenant-1", refusal.value.metadata["orderId"])
    assert (order.status, order.reason) == (OrderStatus.DENIED, "trading is halted: drill")
    house.guard.halted = False
    assert await house.manager.submit("tenant-1", a_request(), "key-1") == order
    await house.restart()
    await house.let_pass(30)
    assert house.exchange.sends == []


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST])
async def test_no_answer_is_unknown_and_repeating_does_not_send_again(
    house: House, fault: str
) -> None:
    house.exchange.script.append(fault)
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert (order.status, order.reason) == (OrderStatus.UNKNOWN, "connection reset")
    assert await house.manager.submit("tenant-1", a_request(), "key-1") == order
    assert len(house.exchange.sends) == 1


async def test_caller_that_goes_away_does_not_abandon_the_send(house: House) -> None:
    house.exchange.script.append(HANG)
    caller = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    house.exchange.answer_now.set()
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert order.status == OrderStatus.OPEN
    assert len(house.exchange.sends) == 1


async def test_answer_that_cannot_be_stored_is_unknown_now_and_resolved_later(
    house: House,
) -> None:
    house.exchange.script.append(HANG)
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    house.records.broken = True
    house.exchange.answer_now.set()
    order = await task
    assert order.status == OrderStatus.UNKNOWN
    await house.let_pass(3)
    house.records.broken = False
    assert (await house.stored(order)).status == OrderStatus.SUBMITTING
    await house.let_pass(30)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert len(house.exchange.sends) == 1


async def test_intent_that_cannot_be_stored_is_never_sent(house: House) -> None:
    house.records.broken = True
    with pytest.raises(ServiceError) as refusal:
        await house.manager.submit("tenant-1", a_request(), "key-1")
    assert refusal.value.code == "STORAGE_UNAVAILABLE"
    assert house.exchange.sends == []


async def test_nothing_is_submitted_before_recovery(house: House) -> None:
    fresh = house.new_manager()
    with pytest.raises(ServiceError, match="after a restart") as refusal:
        await fresh.submit("tenant-1", a_request(), "key-1")
    assert refusal.value.retryable
    assert house.exchange.sends == []


async def test_list_is_newest_first_filtered_and_paged(house: House) -> None:
    orders = []
    for number in range(5):
        house.clock.advance(1)
        if number == 3:
            house.exchange.script.append(REJECT)
        orders.append(await house.manager.submit("tenant-1", a_request(), f"key-{number}"))
    newest = [order.order_id for order in reversed(orders)]
    page, after = await house.manager.list_orders("tenant-1", limit=2)
    assert [order.order_id for order in page] == newest[:2]
    rest, end = await house.manager.list_orders("tenant-1", limit=3, after=after)
    assert [order.order_id for order in rest] == newest[2:]
    assert end is None
    rejected, _ = await house.manager.list_orders("tenant-1", status=OrderStatus.REJECTED)
    assert [order.order_id for order in rejected] == [newest[1]]
    working, after = await house.manager.list_orders("tenant-1", open_only=True, limit=3)
    assert [order.order_id for order in working] == [newest[0], newest[2], newest[3]]
    last, _ = await house.manager.list_orders("tenant-1", open_only=True, limit=3, after=after)
    assert [order.order_id for order in last] == [newest[4]]
    both = await house.manager.list_orders("tenant-1", status=OrderStatus.REJECTED, open_only=True)
    assert both == ([], None)


async def test_report_that_overtakes_the_answer_is_not_overwritten(house: House) -> None:
    house.exchange.script.append(HANG)
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    filled = house.exchange.trade(house.exchange.placed[0], "0.01")
    house.manager.on_report("tenant-1", ExchangeId.BINANCE, filled)
    await house.manager.work_off()
    house.exchange.answer_now.set()
    order = await task
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, Decimal("0.01"))
    assert await house.stored(order) == order


async def test_halt_while_the_order_waits_for_a_connection_denies_it(house: House) -> None:
    house.exchange.script.append(HALT)
    with pytest.raises(ServiceError, match="drill") as refusal:
        await house.manager.submit("tenant-1", a_request(), "key-1")
    assert refusal.value.code == "TRADING_HALTED"
    order = await house.manager.get("tenant-1", refusal.value.metadata["orderId"])
    assert (order.status, order.reason) == (OrderStatus.DENIED, "trading is halted: drill")


async def test_intent_that_was_written_although_the_store_said_no_is_ended(house: House) -> None:
    house.records.answers_lost = True
    with pytest.raises(ServiceError, match="may have been written"):
        await house.manager.submit("tenant-1", a_request(), "key-1")
    house.records.answers_lost = False
    await house.let_pass(30)
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert order.status == OrderStatus.NOT_PLACED
    assert house.exchange.sends == []


async def test_intent_written_long_after_its_failure_is_ended_when_asked_for_again(
    house: House,
) -> None:
    house.records.answers_lost = True
    with pytest.raises(ServiceError, match="may have been written"):
        await house.manager.submit("tenant-1", a_request(), "key-1")
    house.records.answers_lost = False
    (order,), _ = await house.manager.list_orders("tenant-1")
    house.manager._resolver._watch.forget(order)  # as if it had not been there to be found
    await house.let_pass(30)
    assert (await house.stored(order)).status == OrderStatus.SUBMITTING
    await house.manager.submit("tenant-1", a_request(), "key-1")
    await house.let_pass(30)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED
    assert house.exchange.sends == []


async def test_intent_that_was_never_written_is_not_asked_about_for_ever(house: House) -> None:
    house.records.broken = True
    with pytest.raises(ServiceError, match="full"):
        await house.manager.submit("tenant-1", a_request(), "key-1")
    await house.let_pass(2)
    house.records.broken = False
    await house.let_pass(30)
    assert house.manager._resolver._watch.accounts() == []
    assert (await house.manager.submit("tenant-1", a_request(), "key-1")).status == OrderStatus.OPEN


async def test_what_a_key_names_can_be_read_without_sending(house: House) -> None:
    assert await house.manager.promised("tenant-1", a_request(), "key-1") is None
    order = await house.manager.submit("tenant-1", a_request(), "key-1")
    assert await house.manager.promised("tenant-1", a_request(), "key-1") == order
    assert await house.manager.promised("tenant-2", a_request(), "key-1") is None
    assert len(house.exchange.sends) == 1

"""How others lose or double orders, played against us: never a second order, never a false end."""

import asyncio

import pytest
from msgspec.structs import replace

from tests.builders import a_report, a_request, an_instrument
from tests.unit.orders.house import House
from tests.unit.orders.scripted import HANG, LOSE_ANSWER, LOSE_REQUEST, ScriptedExchange
from trading_platform.exchanges.ports import LookUp, Rejected, Unknown
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Order, OrderRequest, OrderStatus, OrderType
from trading_platform.orders.resolver import ROUNDS_MAX


def market() -> OrderRequest:
    return a_request(order_type=OrderType.MARKET, price=None)


async def submit(house: House, fault: str | float | None = None, key: str = "key-1") -> Order:
    if fault is not None:
        house.exchange.script.append(fault)
    return await house.manager.submit("tenant-1", a_request(), key)


async def test_lost_acknowledgement_is_found_again(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    await house.let_pass(2)
    found = await house.stored(order)
    assert (found.status, found.reason) == (OrderStatus.OPEN, None)
    assert len(house.exchange.sends) == 1


async def test_answer_that_is_90_s_late_changes_nothing_but_the_wait(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    house.exchange.blind_until = house.exchange.lists_blind_until = 90.0
    house.exchange.acceptance_window_s = 120.0
    await house.let_pass(89)
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN
    await house.let_pass(20)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert len(house.exchange.sends) == 1


async def test_order_endpoint_down_for_ten_minutes_is_no_evidence(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    house.exchange.down = True
    await house.let_pass(600, step_s=1)
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN
    assert house.exchange.asked.count("look up") >= 30
    house.exchange.down = False
    await house.let_pass(20)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert len(house.exchange.sends) == 1


async def test_not_found_counts_only_after_the_acceptance_window(house: House) -> None:
    order = await submit(house, LOSE_REQUEST)
    await house.let_pass(9)
    assert house.exchange.asked.count("look up") >= 3
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN
    await house.let_pass(20)
    ended = await house.stored(order)
    assert (ended.status, ended.inferred) == (OrderStatus.NOT_PLACED, True)
    assert {"open orders", "recent orders", "cancel"} <= set(house.exchange.asked)


async def test_fate_is_known_right_after_the_acceptance_window(house: House) -> None:
    house.exchange.acceptance_window_s = 20.0
    order = await submit(house, LOSE_REQUEST)
    await house.let_pass(23)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED


async def test_request_accepted_late_inside_the_window_is_found(house: House) -> None:
    order = await submit(house, 6.5)
    await house.let_pass(25)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert len(house.exchange.placed) == 1


async def test_second_witness_stops_a_false_ending(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    house.exchange.blind_until = 10_000.0
    await house.let_pass(60)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert "cancel" not in house.exchange.asked


async def test_failing_second_witness_ends_nothing(house: House) -> None:
    order = await submit(house, LOSE_REQUEST)
    house.exchange.cancel_script.extend([Unknown("503")] * 2)
    house.exchange.cancel_script.append(Rejected(code="429", message="slow", retry_after_s=1.0))
    await house.let_pass(20)
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN
    await house.let_pass(60)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED


async def test_wall_clock_that_jumps_ahead_does_not_shorten_the_window(house: House) -> None:
    order = await submit(house, LOSE_REQUEST)
    house.clock._now = house.clock._now.replace(year=2027)
    await house.let_pass(8)
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN


async def test_not_placed_is_taken_back_by_a_late_report(house: House) -> None:
    order = await submit(house, LOSE_REQUEST)
    await house.let_pass(60)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED
    report = a_report(client_order_id=order.client_order_id)
    house.manager.on_report("tenant-1", ExchangeId.BINANCE, report)
    await house.manager.work_off()
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert house.log.said("order ending taken back")


async def test_not_placed_is_doubted_again_by_itself(house: House) -> None:
    order = await submit(house, 30.0)
    await house.let_pass(29)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED
    await house.let_pass(90)
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_fills_arrive_without_a_user_stream(house: House) -> None:
    order = await submit(house)
    report = house.exchange.trade(house.exchange.placed[0], "0.004")
    await house.let_pass(8)
    partly = await house.stored(order)
    assert partly.status == OrderStatus.PARTIALLY_FILLED
    assert [str(fill.quantity) for fill in partly.fills] == ["0.004"]
    house.exchange.trade(report, "0.006", price="59990")
    await house.let_pass(12)
    done = await house.stored(order)
    assert (done.status, len(done.fills)) == (OrderStatus.FILLED, 2)
    assert done.filled_notional == sum(fill.price * fill.quantity for fill in done.fills)


async def test_order_that_closed_unseen_is_looked_up(house: House) -> None:
    order = await submit(house)
    house.exchange.change(house.exchange.placed[0], status=OrderStatus.EXPIRED)
    await house.let_pass(8)
    assert (await house.stored(order)).status == OrderStatus.EXPIRED


async def test_order_that_the_exchange_forgot_ends_only_after_a_while(house: House) -> None:
    order = await submit(house)
    house.exchange.forget(house.exchange.placed[0])
    await house.let_pass(9)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    await house.let_pass(20)
    gone = await house.stored(order)
    assert (gone.status, gone.inferred) == (OrderStatus.CANCELED, True)


async def test_working_order_is_never_ended_by_an_outage(house: House) -> None:
    order = await submit(house)
    house.exchange.down = True
    await house.let_pass(120)
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_report_of_a_user_stream_is_recorded_and_foreign_ones_are_left(house: House) -> None:
    order = await submit(house)
    report = house.exchange.placed[0]
    for stranger in ("web-1234", None, "7ad1f0c2-0000-4000-8000-00000000dead"):
        foreign = a_report(exchange_order_id="77", client_order_id=stranger)
        house.manager.on_report("tenant-1", ExchangeId.BINANCE, foreign)
    canceled = house.exchange.change(report, status=OrderStatus.CANCELED, client_order_id="c-9")
    house.manager.on_report("tenant-1", ExchangeId.BINANCE, canceled)
    await house.manager.work_off()
    assert (await house.stored(order)).status == OrderStatus.CANCELED
    assert len((await house.manager.list_orders("tenant-1"))[0]) == 1
    assert house.log.said("order of ours without an intent")


async def test_market_order_is_filled_soon_after_its_acceptance(house: House) -> None:
    await submit(house, key="resting")
    await house.let_pass(1)
    order = await house.manager.submit("tenant-1", market(), "key-1")
    house.exchange.trade(house.exchange.placed[1], "0.01")
    await house.let_pass(2)
    done = await house.stored(order)
    assert (done.status, len(done.fills)) == (OrderStatus.FILLED, 1)


async def test_order_still_being_sent_is_not_asked_about(house: House) -> None:
    house.exchange.script.append(HANG)
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    await house.let_pass(5)
    (order,), _ = await house.manager.list_orders("tenant-1")
    assert order.status == OrderStatus.SUBMITTING
    assert house.exchange.asked == []
    house.exchange.answer_now.set()
    await task


async def test_window_counts_from_the_missing_answer_not_from_the_intent(house: House) -> None:
    house.exchange.script.extend([HANG, LOSE_ANSWER])
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    house.exchange.forget(house.exchange.placed[0])
    await house.let_pass(40)
    house.exchange.answer_now.set()
    order = await task
    await house.let_pass(8)
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN
    await house.let_pass(15)
    assert (await house.stored(order)).status == OrderStatus.NOT_PLACED


async def test_failed_look_ups_do_not_lengthen_an_absence(house: House) -> None:
    order = await submit(house)
    report = house.exchange.placed[0]
    house.exchange.forget(report)
    await house.let_pass(1)
    house.exchange.look_ups_down = True
    await house.let_pass(60)
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_absence_starts_anew_when_the_order_was_seen_between(house: House) -> None:
    order = await submit(house)
    report = house.exchange.placed[0]
    for _ in range(4):
        house.exchange.forget(report)
        await house.let_pass(6)
        house.exchange.placed.append(report)
        await house.let_pass(6)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert "recent orders" not in house.exchange.asked


async def test_last_fills_of_a_forgotten_order_are_counted(house: House) -> None:
    order = await submit(house)
    report = house.exchange.placed[0]
    house.exchange.forget(house.exchange.trade(report, "0.004"))
    await house.let_pass(30)
    gone = await house.stored(order)
    assert (gone.status, len(gone.fills)) == (OrderStatus.CANCELED, 1)


async def test_fills_still_owed_at_a_restart_are_fetched_after_it(house: House) -> None:
    order = await submit(house)
    done = house.exchange.trade(house.exchange.placed[0], "0.01")
    house.manager.on_report("tenant-1", ExchangeId.BINANCE, done)
    house.exchange.down = True
    await house.manager.work_off()
    assert (await house.stored(order)).status == OrderStatus.FILLED
    await house.restart()
    house.exchange.down = False
    await house.let_pass(5)
    assert len((await house.stored(order)).fills) == 1


async def test_account_opens_again_only_when_all_its_orders_were_looked_up(house: House) -> None:
    orders = [await submit(house, LOSE_ANSWER, key=f"key-{number}") for number in range(2)]
    house.exchange.down = True
    await house.restart()
    for report in list(house.exchange.placed):
        with pytest.raises(ServiceError, match="after a restart"):
            await submit(house, key="key-9")
        house.manager.on_report("tenant-1", ExchangeId.BINANCE, report)
        await house.manager.work_off()
    assert (await submit(house, key="key-9")).status == OrderStatus.OPEN
    assert {(await house.stored(order)).status for order in orders} == {OrderStatus.OPEN}


async def test_restart_while_in_flight_looks_up_before_anything_new(house: House) -> None:
    house.exchange.script.append(HANG)
    work = house.manager.submit("tenant-1", a_request(), "key-1")
    task = asyncio.create_task(work)
    await house.exchange.arrived.wait()
    task.cancel()
    house.exchange.down = True
    await house.restart()
    orders, _ = await house.manager.list_orders("tenant-1")
    assert [order.status for order in orders] == [OrderStatus.UNKNOWN]
    assert orders[0].reason == "the platform stopped; looking it up"
    with pytest.raises(ServiceError, match="after a restart"):
        await submit(house, key="key-2")
    house.exchange.down = False
    await house.let_pass(20)
    assert (await house.stored(orders[0])).status == OrderStatus.OPEN
    assert (await submit(house, key="key-2")).status == OrderStatus.OPEN
    assert len(house.exchange.sends) == 2


async def test_window_of_an_order_in_flight_at_a_crash_counts_from_the_restart(
    house: House,
) -> None:
    house.exchange.script.append(HANG)
    task = asyncio.create_task(house.manager.submit("tenant-1", a_request(), "key-1"))
    await house.exchange.arrived.wait()
    house.exchange.forget(house.exchange.placed[0])
    task.cancel()
    house.clock.advance(3600)
    await house.restart()
    await house.let_pass(8)
    orders, _ = await house.manager.list_orders("tenant-1")
    assert [order.status for order in orders] == [OrderStatus.UNKNOWN]
    await house.let_pass(20)
    assert (await house.stored(orders[0])).status == OrderStatus.NOT_PLACED


async def test_restart_finds_what_filled_meanwhile(house: House) -> None:
    order = await submit(house)
    house.exchange.trade(house.exchange.placed[0], "0.01")
    await house.restart()
    await house.let_pass(6)
    done = await house.stored(order)
    assert (done.status, len(done.fills)) == (OrderStatus.FILLED, 1)


async def test_slow_exchange_of_one_tenant_holds_up_no_other(house: House) -> None:
    house.accounts.of("tenant-2").script.append(LOSE_ANSWER)
    stuck = await house.manager.submit("tenant-2", a_request(), "key-1")
    house.accounts.of("tenant-2").down = True
    order = await submit(house, LOSE_ANSWER)
    await house.let_pass(5)
    assert (await house.stored(order)).status == OrderStatus.OPEN
    assert (await house.stored(stuck)).status == OrderStatus.UNKNOWN


async def test_report_with_the_same_number_on_another_symbol_is_about_another_order(
    house: House,
) -> None:
    order = await submit(house)
    other = a_report(
        exchange_order_id=order.exchange_order_id,
        client_order_id="somebody-else",
        exchange_symbol="ETHUSDT",
        status=OrderStatus.FILLED,
        filled_quantity=order.quantity,
    )
    house.manager.on_report("tenant-1", ExchangeId.BINANCE, other)
    await house.let_pass(1)
    assert (await house.stored(order)).status == OrderStatus.OPEN


async def test_listed_order_with_the_same_number_on_another_symbol_is_no_witness(
    house: House,
) -> None:
    order = await submit(house)
    (mine,) = house.exchange.placed
    house.exchange.forget(mine)
    other = replace(mine, client_order_id="somebody-else", exchange_symbol="ETHUSDT")
    house.exchange.placed.append(other)
    await house.let_pass(60)
    assert (await house.stored(order)).status == OrderStatus.CANCELED


async def test_order_of_a_symbol_that_is_gone_does_not_keep_its_account_shut(house: House) -> None:
    order = await submit(house, LOSE_ANSWER)
    house.accounts.instrument_now = an_instrument(symbol="ETH-USDT", exchange_symbol="ETHUSDT")
    await house.restart()
    await house.let_pass(1)
    request = a_request(symbol="ETH-USDT")
    assert (await house.manager.submit("tenant-1", request, "key-2")).status == OrderStatus.OPEN
    assert (await house.stored(order)).status == OrderStatus.UNKNOWN


class Stuck(ScriptedExchange):
    """Every look-up hangs."""

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        await asyncio.Event().wait()
        raise AssertionError


async def test_exchange_that_hangs_for_everybody_holds_up_no_other_exchange(house: House) -> None:
    for number in range(ROUNDS_MAX + 1):
        tenant = f"stuck-{number}"
        house.accounts.exchanges[tenant] = Stuck(house.clock)
        house.accounts.exchanges[tenant].script.append(LOSE_ANSWER)
        await house.manager.submit(tenant, a_request(), "key-1")
    house.exchange.script.append(LOSE_ANSWER)
    request = a_request(exchange_id=ExchangeId.COINBASE)
    order = await house.manager.submit("tenant-1", request, "key-1")
    running = asyncio.create_task(house.manager.run())
    found = None
    async with asyncio.timeout(5):
        while found is None or (found.order_id, found.status) != (order.order_id, OrderStatus.OPEN):
            found = (await house.changes.next()).order
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_flood_of_gaps_lists_the_open_orders_once_a_second(house: House) -> None:
    await submit(house)
    await house.let_pass(6)
    house.exchange.asked.clear()
    for _ in range(30):
        house.manager.poll_soon("tenant-1", ExchangeId.BINANCE)
        await house.let_pass(0.1, step_s=0.1)
    assert 3 <= house.exchange.asked.count("open orders") <= 4

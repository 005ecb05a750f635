"""The pure plan of an arrival against a book."""

from decimal import Decimal
from typing import Any

from trading_platform.market.orders import Side, TimeInForce
from trading_platform.simulation.book import BookSide
from trading_platform.simulation.matching import Arrival, Ending, Match, Prevention, plan
from trading_platform.simulation.model import SelfTradePrevention

D = Decimal


def asks() -> BookSide:
    """1 at 100, 2 at 101, both external; 0.5 of "them" at 100 behind 0.4 external."""
    side = BookSide(Side.SELL)
    side.set_external(D(100), D("0.4"))
    side.rest(7, "them", D(100), D("0.5"))
    side.set_external(D(100), D(1))
    side.set_external(D(101), D(2))
    return side


def arrival(**changes: Any) -> Arrival:
    fields: dict[str, Any] = {
        "account_id": "us",
        "side": Side.BUY,
        "quantity": D(1),
        "budget": None,
        "limit": D(101),
        "time_in_force": TimeInForce.GTC,
        "prevention": SelfTradePrevention.EXPIRE_MAKER,
        "quantity_increment": D("0.001"),
    }
    return Arrival(**(fields | changes))


def test_queue_at_one_price_is_kept_external_before_own_before_external() -> None:
    planned = plan(arrival(quantity=D("1.2")), asks())
    assert planned.steps == (
        Match(D(100), D("0.4"), None),
        Match(D(100), D("0.5"), 7),
        Match(D(100), D("0.3"), None),
    )
    assert planned.ending is Ending.FILLED


def test_limit_stops_at_its_price_and_rests() -> None:
    planned = plan(arrival(quantity=D(5), limit=D(100)), asks())
    assert {step.price for step in planned.steps} == {D(100)}
    assert planned.ending is Ending.RESTS


def test_immediate_or_cancel_expires_what_is_left() -> None:
    planned = plan(arrival(quantity=D(5), time_in_force=TimeInForce.IOC), asks())
    assert (planned.ending, planned.reason) == (Ending.EXPIRED, "UNFILLED_IOC_QUANTITY_EXPIRED")
    assert len(planned.steps) == 4


def test_fill_or_kill_without_enough_does_nothing() -> None:
    planned = plan(arrival(quantity=D(5), time_in_force=TimeInForce.FOK), asks())
    assert (planned.steps, planned.ending) == ((), Ending.EXPIRED)


def test_fill_or_kill_with_enough_fills() -> None:
    planned = plan(arrival(quantity=D("3.5"), time_in_force=TimeInForce.FOK), asks())
    assert planned.ending is Ending.FILLED


def test_market_order_expires_when_the_book_runs_out() -> None:
    planned = plan(arrival(quantity=D(5), limit=None), asks())
    assert (planned.ending, planned.reason) == (Ending.EXPIRED, "INSUFFICIENT_LIQUIDITY")


def test_quote_budget_buys_whole_steps_and_never_more_than_the_budget() -> None:
    planned = plan(arrival(quantity=None, budget=D("200.05"), limit=None), asks())
    spent = sum(step.price * step.quantity for step in planned.steps if isinstance(step, Match))
    assert planned.ending is Ending.FILLED
    assert spent == D(150) + D("0.495") * 101 <= D("200.05")


def prevented(mode: SelfTradePrevention, quantity: str) -> tuple[list[Prevention], Ending]:
    planned = plan(arrival(account_id="them", prevention=mode, quantity=D(quantity)), asks())
    steps = [step for step in planned.steps if isinstance(step, Prevention)]
    return steps, planned.ending


def test_expire_taker_ends_the_arrival() -> None:
    steps, ending = prevented(SelfTradePrevention.EXPIRE_TAKER, "1")
    assert steps == [Prevention(7, D(100), D(0), D("0.6"))]
    assert ending is Ending.EXPIRED_IN_MATCH


def test_expire_maker_lets_the_arrival_go_on() -> None:
    steps, ending = prevented(SelfTradePrevention.EXPIRE_MAKER, "1")
    assert steps == [Prevention(7, D(100), D("0.5"), D(0))]
    assert ending is Ending.FILLED


def test_expire_both_ends_both() -> None:
    steps, ending = prevented(SelfTradePrevention.EXPIRE_BOTH, "1")
    assert steps == [Prevention(7, D(100), D("0.5"), D("0.6"))]
    assert ending is Ending.EXPIRED_IN_MATCH


def test_decrement_takes_the_smaller_from_both() -> None:
    steps, ending = prevented(SelfTradePrevention.DECREMENT, "2")
    assert steps == [Prevention(7, D(100), D("0.5"), D("0.5"))]
    assert ending is Ending.FILLED

"""Values in, values out: the rows of the table that are easy to get wrong."""

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.builders import NOW, a_fill, a_report, an_order
from trading_platform.market.orders import CLOSED, Order, OrderStatus
from trading_platform.orders.events import (
    CancelAsked,
    CanceledConcluded,
    CancelRefused,
    DeniedBeforeSend,
    FillReported,
    NotPlacedConcluded,
    OrderEvent,
    OutcomeUnknown,
    RejectedByExchange,
    Reported,
    Sent,
)
from trading_platform.orders.machine import MOVES, apply, is_overfilled, lacks_fills

LATER = NOW + timedelta(seconds=30)
UNKNOWN = OutcomeUnknown(reason="time-out", at=LATER)
NOT_PLACED = NotPlacedConcluded(reason="never received", at=LATER)
GONE = CanceledConcluded(reason="gone", at=LATER)
REJECTED = RejectedByExchange(code="-2010", message="Insufficient balance.", at=LATER)
DENIED = DeniedBeforeSend(reason="halted", at=LATER)
CANCEL = CancelAsked(at=LATER)
REFUSED = CancelRefused(reason="no", at=LATER)


def reported(status: OrderStatus, filled: str = "0", **changes: object) -> Reported:
    quantity = Decimal(filled)
    report = a_report(
        status=status, filled_quantity=quantity, filled_notional=quantity * 60_000, **changes
    )
    return Reported(report=report, at=LATER)


def filled(*fills: tuple[str, str]) -> FillReported:
    return FillReported(
        exchange_order_id="31400271",
        fills=tuple(a_fill(trade_id=name, quantity=Decimal(quantity)) for name, quantity in fills),
        at=LATER,
    )


def after(*events: OrderEvent) -> Order:
    order = an_order()
    for event in events:
        order = apply(order, event)
    return order


def test_accepted_order_is_open_and_keeps_the_exchange_id() -> None:
    order = after(Sent(at=NOW), reported(OrderStatus.OPEN))
    assert order.status == OrderStatus.OPEN
    assert order.exchange_order_id == "31400271"
    assert order.sent_at == NOW
    assert order.updated_at == LATER


def test_event_that_says_nothing_new_gives_back_the_same_object() -> None:
    order = after(reported(OrderStatus.OPEN))
    assert apply(order, reported(OrderStatus.OPEN)) is order
    assert apply(order, UNKNOWN) is order


def test_older_report_never_moves_backwards() -> None:
    order = after(reported(OrderStatus.PARTIALLY_FILLED, "0.004"), reported(OrderStatus.OPEN))
    assert (order.status, order.filled_quantity) == (
        OrderStatus.PARTIALLY_FILLED,
        Decimal("0.004"),
    )
    order = after(reported(OrderStatus.FILLED, "0.01"), reported(OrderStatus.OPEN))
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, Decimal("0.01"))


def test_late_fill_after_cancel_is_counted() -> None:
    order = after(reported(OrderStatus.CANCELED), filled(("1", "0.004")))
    assert order.status == OrderStatus.CANCELED
    assert order.filled_quantity == Decimal("0.004")
    assert order.filled_notional == Decimal(240)


def test_fills_that_complete_a_canceled_order_make_it_filled() -> None:
    order = after(reported(OrderStatus.CANCELED), filled(("1", "0.004"), ("2", "0.006")))
    assert order.status == OrderStatus.FILLED


def test_fill_told_twice_counts_once() -> None:
    order = after(filled(("1", "0.004")), filled(("1", "0.004")), filled(("2", "0.001")))
    assert order.filled_quantity == Decimal("0.005")
    assert len(order.fills) == 2


def test_cumulative_ahead_of_fills_counts_and_is_noticed() -> None:
    order = after(reported(OrderStatus.PARTIALLY_FILLED, "0.006"), filled(("1", "0.004")))
    assert order.filled_quantity == Decimal("0.006")
    assert order.filled_notional == Decimal(360)
    assert lacks_fills(order)
    assert not lacks_fills(apply(order, filled(("2", "0.002"))))


def test_cumulative_without_notional_is_valued_at_the_known_fills_until_they_come() -> None:
    silent = a_report(filled_quantity=Decimal("0.006"), filled_notional=None)
    cheap = a_fill(trade_id="1", quantity=Decimal("0.003"), price=Decimal(59_000))
    order = after(
        Reported(report=silent, at=LATER),
        FillReported(exchange_order_id="31400271", fills=(cheap,), at=LATER),
    )
    assert order.average_price == Decimal(59_000)


def test_overfill_is_recorded_and_noticed() -> None:
    order = after(filled(("1", "0.006"), ("2", "0.006")))
    assert order.filled_quantity == Decimal("0.012")
    assert is_overfilled(order)
    assert order.status == OrderStatus.FILLED


def test_expired_with_a_partial_fill_keeps_the_fill() -> None:
    order = after(reported(OrderStatus.EXPIRED, "0.004"))
    assert (order.status, order.filled_quantity) == (OrderStatus.EXPIRED, Decimal("0.004"))


@pytest.mark.parametrize("event", [NOT_PLACED, GONE, DENIED, CANCEL, REFUSED])
def test_submitting_order_cannot_end_by_conclusion(event: OrderEvent) -> None:
    order = after(Sent(at=NOW), event)
    assert order.status == OrderStatus.SUBMITTING


def test_unknown_remembers_the_latest_moment_it_can_have_been_signed() -> None:
    order = after(Sent(at=NOW), UNKNOWN)
    assert (order.status, order.sent_at) == (OrderStatus.UNKNOWN, LATER)


@pytest.mark.parametrize("event", [GONE, DENIED, CANCEL, REFUSED, UNKNOWN, Sent(at=LATER)])
def test_unknown_stays_without_evidence(event: OrderEvent) -> None:
    assert after(UNKNOWN, event).status == OrderStatus.UNKNOWN


@pytest.mark.parametrize("evidence", [reported(OrderStatus.OPEN), filled(("1", "0.001"))])
@pytest.mark.parametrize(
    "ending", [(UNKNOWN, NOT_PLACED), (REJECTED,), (DENIED,)], ids=["not-placed", "refused", "den"]
)
def test_ending_without_an_exchange_order_is_taken_back_by_evidence(
    ending: tuple[OrderEvent, ...], evidence: OrderEvent
) -> None:
    ended = after(*ending)
    assert ended.status in CLOSED
    alive = apply(ended, evidence)
    assert alive.status in {OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED}
    assert not alive.inferred


def test_inferred_cancel_is_taken_back_and_then_confirmed() -> None:
    gone = after(reported(OrderStatus.OPEN), GONE)
    assert (gone.status, gone.inferred) == (OrderStatus.CANCELED, True)
    assert apply(gone, reported(OrderStatus.OPEN)).status == OrderStatus.OPEN
    confirmed = apply(gone, reported(OrderStatus.CANCELED))
    assert (confirmed.status, confirmed.inferred) == (OrderStatus.CANCELED, False)
    assert apply(gone, reported(OrderStatus.EXPIRED)).status == OrderStatus.EXPIRED


def test_reported_ending_is_not_taken_back() -> None:
    order = after(reported(OrderStatus.CANCELED), reported(OrderStatus.OPEN))
    assert order.status == OrderStatus.CANCELED


def test_refusal_by_answer_is_void_once_the_exchange_has_shown_the_order() -> None:
    assert after(reported(OrderStatus.OPEN), REJECTED).status == OrderStatus.OPEN


def test_denied_only_before_anything_was_sent() -> None:
    assert after(DENIED).status == OrderStatus.DENIED
    assert after(Sent(at=NOW), DENIED).status == OrderStatus.SUBMITTING


def test_cancel_shows_as_pending_and_a_refusal_brings_back_what_was() -> None:
    order = after(reported(OrderStatus.PARTIALLY_FILLED, "0.004"), CANCEL)
    assert order.status == OrderStatus.CANCEL_PENDING
    assert apply(order, REFUSED).status == OrderStatus.PARTIALLY_FILLED
    assert after(UNKNOWN, CANCEL, reported(OrderStatus.OPEN)).status == OrderStatus.CANCEL_PENDING


def test_report_about_another_exchange_order_changes_nothing() -> None:
    order = after(reported(OrderStatus.OPEN))
    assert apply(order, reported(OrderStatus.FILLED, "0.01", exchange_order_id="9")) is order


def test_every_status_has_a_row_and_filled_has_no_way_out() -> None:
    assert set(MOVES) == set(OrderStatus)
    assert MOVES[OrderStatus.FILLED] == frozenset()
    assert OrderStatus.SUBMITTING not in {move for moves in MOVES.values() for move in moves}


def test_first_word_on_a_fill_stands() -> None:
    again = a_fill(trade_id="1", quantity=Decimal("0.004"), fee=Decimal(9))
    order = after(
        filled(("1", "0.004")),
        FillReported(exchange_order_id="31400271", fills=(again,), at=LATER),
    )
    assert order.fills[0].fee == Decimal("0.000004")

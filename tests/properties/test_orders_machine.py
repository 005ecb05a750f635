"""Whatever arrives in whatever order, however often: the same totals and the same end."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import NOW, a_fill, a_report, an_order
from trading_platform.market.orders import CLOSED, Fill, Order, OrderStatus
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
from trading_platform.orders.machine import MOVES, apply

STEP = Decimal("0.001")
ENDS = [OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED]


@st.composite
def histories(draw: st.DrawFn) -> list[OrderEvent]:
    """A true history of one order: its fills, and reports that say what was so at the time."""
    sizes = draw(st.lists(st.integers(1, 5), max_size=5))
    prices = draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    fills = [
        a_fill(
            trade_id=str(number),
            quantity=size * STEP,
            price=Decimal(price),
            event_at=NOW + timedelta(seconds=number),
        )
        for number, (size, price) in enumerate(zip(sizes, prices, strict=True))
    ]
    events: list[OrderEvent] = [
        FillReported(exchange_order_id="31400271", fills=(fill,), at=NOW) for fill in fills
    ]
    events += [_report(fills[:count]) for count in range(len(fills) + 1)]
    ends = draw(st.lists(st.sampled_from(ENDS), max_size=2))
    events += [_report(fills, end) for end in ends]
    return events


def _report(fills: list[Fill], status: OrderStatus | None = None) -> Reported:
    working = OrderStatus.PARTIALLY_FILLED if fills else OrderStatus.OPEN
    report = a_report(
        status=status or working,
        filled_quantity=sum((fill.quantity for fill in fills), Decimal(0)),
        filled_notional=sum((fill.quantity * fill.price for fill in fills), Decimal(0)),
        fills=tuple(fills[-1:]),
    )
    return Reported(report=report, at=NOW)


def run(events: list[OrderEvent]) -> Order:
    order = an_order()
    for event in events:
        order = apply(order, event)
    return order


def ending(order: Order) -> tuple[object, ...]:
    return (
        order.status,
        order.filled_quantity,
        order.filled_notional,
        order.fills,
        order.exchange_order_id,
        order.inferred,
    )


@settings(max_examples=150, deadline=None)
@given(history=histories(), data=st.data())
def test_any_order_and_any_repetition_give_the_same_totals_and_end(
    history: list[OrderEvent], data: st.DataObject
) -> None:
    doubled = history + data.draw(st.lists(st.sampled_from(history), max_size=6))
    shuffled = data.draw(st.permutations(doubled))
    assert ending(run(shuffled)) == ending(run(history))


EVENTS: list[OrderEvent] = [
    Sent(at=NOW),
    OutcomeUnknown(reason="r", at=NOW),
    NotPlacedConcluded(reason="r", at=NOW),
    CanceledConcluded(reason="r", at=NOW),
    DeniedBeforeSend(reason="r", at=NOW),
    RejectedByExchange(code="c", message="m", at=NOW),
    CancelAsked(at=NOW),
    CancelRefused(reason="r", at=NOW),
    _report([]),
    _report([a_fill()]),
    _report([a_fill()], OrderStatus.CANCELED),
    _report([], OrderStatus.REJECTED),
    _report([], OrderStatus.EXPIRED),
    FillReported(exchange_order_id="31400271", fills=(a_fill(),), at=NOW),
    FillReported(exchange_order_id="31400271", fills=(a_fill(trade_id="2"),), at=NOW),
    FillReported(exchange_order_id="31400271", fills=(a_fill(trade_id="3"),), at=NOW),
]


@settings(max_examples=300, deadline=None)
@given(events=st.lists(st.sampled_from(EVENTS), max_size=12))
def test_nothing_is_lost_or_moved_backwards_by_any_sequence(events: list[OrderEvent]) -> None:
    order, evidence = an_order(), False
    for event in events:
        after = apply(order, event)
        evidence = evidence or isinstance(event, Reported | FillReported)
        assert after.status == order.status or after.status in MOVES[order.status]
        assert after.filled_quantity >= order.filled_quantity
        assert set(order.fills) <= set(after.fills)
        assert after.exchange_order_id == order.exchange_order_id or not order.exchange_order_id
        if order.status in CLOSED and order.exchange_order_id and not order.inferred:
            assert after.status in CLOSED
        if evidence:
            assert after.status not in {OrderStatus.NOT_PLACED, OrderStatus.DENIED}
        if order.status == OrderStatus.UNKNOWN and after.status != order.status:
            assert isinstance(event, Reported | FillReported | NotPlacedConcluded) or (
                after.status == OrderStatus.REJECTED
            )
        assert apply(after, event) == after
        order = after

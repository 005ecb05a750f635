"""The one table of states of an order. Pure: an order and an event in, an order out.

1. Forward only: a status changes only along MOVES, whatever arrives in whatever order.
2. Fills are facts: kept by trade id, counted once, also doubled, also after the end.
3. `filled_quantity` is the larger of the sum of fills and the largest reported cumulative; it never
   shrinks. `filled_notional` belongs to that quantity.
4. More filled than ordered is recorded, never dropped: see `is_overfilled`.
5. An order ends only on evidence. Endings without the exchange's order id behind them (NOT_PLACED,
   DENIED, a refusal by answer) and endings we concluded (`inferred`) are taken back by later
   evidence; endings that the exchange reported stay, and only fills still count.
6. UNKNOWN leaves only by evidence or by NotPlacedConcluded.
7. A report about another exchange order changes nothing.
8. An event that says nothing new gives back the same object.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from msgspec.structs import replace

from trading_platform.market.orders import CLOSED, Fill, Order, OrderReport
from trading_platform.market.orders import OrderStatus as S
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

_WORKING = frozenset({S.OPEN, S.PARTIALLY_FILLED, S.CANCEL_PENDING})
_REPORTED_ENDS = frozenset({S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED})
_EVIDENCE = _WORKING | _REPORTED_ENDS

MOVES: Mapping[S, frozenset[S]] = {
    S.SUBMITTING: _EVIDENCE | {S.UNKNOWN, S.DENIED},
    S.UNKNOWN: _EVIDENCE | {S.NOT_PLACED},
    S.OPEN: _EVIDENCE - {S.OPEN},
    S.PARTIALLY_FILLED: _EVIDENCE - {S.OPEN, S.PARTIALLY_FILLED},
    S.CANCEL_PENDING: _EVIDENCE - {S.CANCEL_PENDING},  # back to work when the cancel was refused
    # The remaining quantity may trade while the cancel or the expiry is on its way to us.
    S.CANCELED: _EVIDENCE - {S.CANCELED},  # working again, or another end, only if `inferred`
    # Exchanges name one ending twice (Coinbase says "canceled" for what expired); _RANK decides,
    # so that the order in which the two names arrive does not.
    S.EXPIRED: frozenset({S.CANCELED, S.FILLED}),
    # A refusal by answer is our reading of a status code; an order id from the exchange overrules
    # it.
    S.REJECTED: _EVIDENCE - {S.REJECTED},
    S.NOT_PLACED: _EVIDENCE,
    S.DENIED: _EVIDENCE,
    S.FILLED: frozenset(),
}
"""Status -> where it may go."""

_RANK = {S.REJECTED: 1, S.EXPIRED: 2, S.CANCELED: 3, S.FILLED: 4}
_UNPLACED = frozenset({S.SUBMITTING, S.UNKNOWN})


def apply(order: Order, event: OrderEvent) -> Order:
    """The order after the event; the same object when the event changes nothing."""
    after = _facts(order, event)
    if after == order:
        return order
    return replace(after, updated_at=max(order.updated_at, event.at))


def is_closed(order: Order) -> bool:
    """Whether the order has ended."""
    return order.status in CLOSED


def is_placed(order: Order) -> bool:
    """Whether the exchange has shown that it has (or had) the order."""
    return order.exchange_order_id is not None


def is_overfilled(order: Order) -> bool:
    """Whether the exchange executed more than was ordered."""
    return order.filled_quantity > order.quantity


def lacks_fills(order: Order) -> bool:
    """Whether the exchange reported more than the fills that we hold explain."""
    return sum((fill.quantity for fill in order.fills), Decimal(0)) < order.filled_quantity


def is_about_another(order: Order, exchange_order_id: str) -> bool:
    """Whether this exchange order id contradicts the one that we know."""
    known = order.exchange_order_id
    return known is not None and bool(exchange_order_id) and known != exchange_order_id


def _facts(order: Order, event: OrderEvent) -> Order:
    match event:
        case Reported():
            return _reported(order, event.report)
        case FillReported():
            return _filled(order, event)
        case CancelAsked() | CancelRefused():
            return _cancel_wanted(order, event)
        case CanceledConcluded() if is_placed(order) and not is_closed(order):
            return replace(order, status=S.CANCELED, inferred=True, reason=event.reason)
        case _:
            return _answered(order, event)


def _answered(order: Order, event: OrderEvent) -> Order:
    """What is only about the submission: void once the exchange has shown the order."""
    if order.status not in _UNPLACED or is_placed(order):
        return order
    submitting = order.status == S.SUBMITTING
    match event:
        case Sent() if submitting and order.sent_at is None:
            return replace(order, sent_at=event.at)
        case DeniedBeforeSend() if submitting and order.sent_at is None:
            return replace(order, status=S.DENIED, reason=event.reason)
        case OutcomeUnknown() if submitting:
            sent_at = _latest(order.sent_at, event.at)
            return replace(order, status=S.UNKNOWN, sent_at=sent_at, reason=event.reason)
        case NotPlacedConcluded() if not submitting:
            return replace(order, status=S.NOT_PLACED, inferred=True, reason=event.reason)
        case RejectedByExchange():
            return replace(order, status=S.REJECTED, reason=f"{event.code}: {event.message}")
    return order


def _latest(known: datetime | None, at: datetime) -> datetime:
    return at if known is None else max(known, at)


def _cancel_wanted(order: Order, event: CancelAsked | CancelRefused) -> Order:
    if is_closed(order):
        return order
    return _settled(replace(order, cancel_requested=isinstance(event, CancelAsked)), None)


def _reported(order: Order, report: OrderReport) -> Order:
    if is_about_another(order, report.exchange_order_id):
        return order
    ending = report.status if report.status in _REPORTED_ENDS else None
    merged = replace(
        _with_fills(_with_cumulative(order, report), report.fills),
        exchange_order_id=report.exchange_order_id or order.exchange_order_id,
    )
    after = _settled(merged, ending, was_placed=is_placed(order))
    if after.status == order.status and after.inferred == order.inferred:
        return after
    return replace(after, reason=report.reason if ending else None)


def _filled(order: Order, event: FillReported) -> Order:
    if is_about_another(order, event.exchange_order_id) or not event.fills:
        return order
    merged = replace(_with_fills(order, event.fills), exchange_order_id=event.exchange_order_id)
    return _settled(merged, None, was_placed=is_placed(order))


def _settled(order: Order, ending: S | None, *, was_placed: bool = True) -> Order:
    """`order` with the status that its facts call for, if MOVES lets it go there."""
    firm = is_closed(order) and was_placed and not order.inferred
    endings = [end for end in (ending, order.status if firm else None) if end in _RANK]
    if order.filled_quantity >= order.quantity and is_placed(order):
        status = S.FILLED
    elif endings:
        status = max(endings, key=_RANK.__getitem__)
    elif is_placed(order):
        status = _working(order)
    else:
        return order
    if status != order.status and status not in MOVES[order.status]:
        return order
    inferred = order.inferred and status == order.status and ending is None
    return replace(order, status=status, inferred=inferred)


def _working(order: Order) -> S:
    if order.cancel_requested:
        return S.CANCEL_PENDING
    return S.PARTIALLY_FILLED if order.filled_quantity else S.OPEN


def _with_cumulative(order: Order, report: OrderReport) -> Order:
    """The larger cumulative wins; of equal ones the larger notional, None being the smallest."""
    known = (order.reported_quantity, order.reported_notional)
    said = (report.filled_quantity, report.filled_notional)
    quantity, notional = max(known, said, key=lambda pair: (pair[0], pair[1] or Decimal(0)))
    return replace(order, reported_quantity=quantity, reported_notional=notional)


def _with_fills(order: Order, fills: tuple[Fill, ...]) -> Order:
    """`order` with these fills added by trade id (the first word on one stands) and its totals."""
    known = {fill.trade_id: fill for fill in (*fills, *order.fills)}
    kept = tuple(sorted(known.values(), key=lambda fill: (fill.event_at, fill.trade_id)))
    quantity = sum((fill.quantity for fill in kept), Decimal(0))
    notional = sum((fill.price * fill.quantity for fill in kept), Decimal(0))
    if quantity < order.reported_quantity:
        notional = _reported_notional(order, quantity, notional)
        quantity = order.reported_quantity
    return replace(order, fills=kept, filled_quantity=quantity, filled_notional=notional)


def _reported_notional(order: Order, quantity: Decimal, notional: Decimal) -> Decimal:
    """Quote amount of the reported cumulative when the fills do not explain all of it.

    Where the exchange did not say (Coinbase's "done" message), the gap is valued at the average of
    the known fills, or at the limit, until the fills themselves are fetched.
    """
    if order.reported_notional is not None:
        return order.reported_notional
    price = notional / quantity if quantity else order.price or Decimal(0)
    return notional + (order.reported_quantity - quantity) * price

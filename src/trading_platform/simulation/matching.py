"""Pure price-time matching: what an arriving order would do to a book, decided before it is done.

1. Better price first; at one price in queue order (book.py).
2. A trade happens at the resting order's price: never worse than the taker's limit.
3. An account never trades with itself: the taker's self-trade prevention decides who ends.
4. FOK trades whole or not at all; a plan without steps changes nothing.
"""

from decimal import ROUND_DOWN, Decimal
from enum import StrEnum

import msgspec

from trading_platform.market.orders import Side, TimeInForce
from trading_platform.simulation.book import BookSide, Slice
from trading_platform.simulation.model import ZERO, SelfTradePrevention


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An order at the gate. `limit` None: market. Either `quantity` or `budget` (quote) is set."""

    account_id: str
    side: Side
    quantity: Decimal | None
    budget: Decimal | None
    limit: Decimal | None
    time_in_force: TimeInForce
    prevention: SelfTradePrevention
    quantity_increment: Decimal


class Match(msgspec.Struct, frozen=True):
    """Trade `quantity` at `price`; `maker_order_id` None: with external liquidity."""

    price: Decimal
    quantity: Decimal
    maker_order_id: int | None


class Prevention(msgspec.Struct, frozen=True):
    """A self-trade that did not happen: both sides lose these quantities, 0 where one goes on."""

    maker_order_id: int
    price: Decimal
    maker_quantity: Decimal
    taker_quantity: Decimal


class Ending(StrEnum):
    """What becomes of the arriving order after its steps."""

    FILLED = "FILLED"
    RESTS = "RESTS"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"


class Plan(msgspec.Struct, frozen=True):
    """The steps of one arrival in order, and its ending. `reason` in Binance's words."""

    steps: tuple[Match | Prevention, ...]
    ending: Ending
    reason: str | None = None


class _Want:
    """What the taker still wants, in base or in quote."""

    def __init__(self, arrival: Arrival) -> None:
        self._quantity = arrival.quantity
        self._budget = arrival.budget
        self._increment = arrival.quantity_increment

    def at(self, price: Decimal) -> Decimal:
        if self._quantity is not None:
            return self._quantity
        steps = ((self._budget or ZERO) / price / self._increment).to_integral_value(ROUND_DOWN)
        # The division is rounded to the context's precision: one step less keeps the budget exact.
        if steps * self._increment * price > (self._budget or ZERO):
            steps -= 1
        return steps * self._increment

    def less(self, quantity: Decimal, price: Decimal) -> None:
        if self._quantity is not None:
            self._quantity -= quantity
        elif self._budget is not None:
            self._budget -= quantity * price


def plan(arrival: Arrival, opposite: BookSide) -> Plan:
    """What `arrival` does against the side it takes from. Changes nothing."""
    want, steps = _Want(arrival), list[Match | Prevention]()
    last_price = ZERO
    for slice_ in opposite.slices():
        if not opposite.meets(slice_.price, arrival.limit):
            break
        wanted = want.at(slice_.price)
        last_price = slice_.price
        if wanted <= 0:
            break
        if slice_.order is not None and slice_.order.account_id == arrival.account_id:
            prevention = _prevent(slice_, wanted, arrival.prevention)
            steps.append(prevention)
            if prevention.taker_quantity == wanted:
                return _ended(arrival, steps, Ending.EXPIRED_IN_MATCH)
            want.less(prevention.taker_quantity, slice_.price)
            continue
        quantity = min(wanted, slice_.quantity)
        maker = slice_.order.order_id if slice_.order is not None else None
        steps.append(Match(slice_.price, quantity, maker))
        want.less(quantity, slice_.price)
    satisfied = bool(last_price or arrival.quantity) and want.at(last_price) <= 0
    return _ended(arrival, steps, Ending.FILLED if satisfied else Ending.RESTS)


def _prevent(slice_: Slice, wanted: Decimal, mode: SelfTradePrevention) -> Prevention:
    """Who gives up how much when an account meets itself (Binance STP FAQ)."""
    order = slice_.order
    assert order is not None  # noqa: S101 - the caller met an own order
    both = min(wanted, slice_.quantity)
    maker, taker = {
        SelfTradePrevention.EXPIRE_TAKER: (ZERO, wanted),
        SelfTradePrevention.EXPIRE_MAKER: (slice_.quantity, ZERO),
        SelfTradePrevention.EXPIRE_BOTH: (slice_.quantity, wanted),
        SelfTradePrevention.DECREMENT: (both, both),
    }[mode]
    return Prevention(order.order_id, slice_.price, maker, taker)


def _ended(arrival: Arrival, steps: list[Match | Prevention], ending: Ending) -> Plan:
    """Apply time in force to what is left."""
    if ending is not Ending.FILLED and arrival.time_in_force is TimeInForce.FOK:
        return Plan((), Ending.EXPIRED, "UNFILLED_FOK_ORDER_EXPIRED")
    if ending is not Ending.RESTS:
        return Plan(tuple(steps), ending)
    if arrival.limit is None:
        return Plan(tuple(steps), Ending.EXPIRED, "INSUFFICIENT_LIQUIDITY")
    if arrival.time_in_force is TimeInForce.IOC:
        return Plan(tuple(steps), Ending.EXPIRED, "UNFILLED_IOC_QUANTITY_EXPIRED")
    return Plan(tuple(steps), Ending.RESTS)

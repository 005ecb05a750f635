"""What may be concluded from what an exchange said, and what to ask next. Pure.

1. A failed look-up is no evidence: it never counts, however often it happens.
2. "Not found" counts only after the request can no longer be accepted: `acceptance_window_s` and
   CLOCK_MARGIN_S have passed since the answer stayed out, which is after the signing. The
   monotonic clock counts, for it cannot jump; a restart starts the count again.
3. Even then open orders and recent orders must not show it, and a cancel by client id must find
   nothing (Coinbase answers 404 also for what is not visible yet).
4. An order that the exchange has shown before ends as canceled only after it was missing
   throughout MISSING_S, no list shows it and its last fills are counted.
"""

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

from trading_platform.market.orders import Order, OrderReport, OrderType, TimeInForce
from trading_platform.orders.machine import is_closed, is_placed, lacks_fills

CLOCK_MARGIN_S = 2.0
MISSING_S = 10.0
LOOK_BACK = timedelta(minutes=1)
"""How far before our own creation time an exchange's clock may date the order."""

RECHECKS_S = (60.0, 300.0, 900.0, 3600.0)
"""When an ending that we inferred is doubted again."""


class Step(StrEnum):
    """What to ask about an order next."""

    RESOLVE = "RESOLVE"
    CANCEL = "CANCEL"
    FETCH_FILLS = "FETCH_FILLS"
    REFRESH = "REFRESH"
    POLL = "POLL"
    RECHECK = "RECHECK"


_PAUSES_S = {
    Step.RESOLVE: (0.5, 15.0),
    Step.CANCEL: (1.0, 30.0),
    Step.FETCH_FILLS: (0.25, 300.0),
    Step.REFRESH: (0.25, 5.0),
    Step.POLL: (5.0, 5.0),
}
"""Step -> first and longest pause between two questions, seconds; each pause is the double."""


def next_step(order: Order) -> Step | None:
    """The most urgent question about an order; None when there is none left."""
    if is_closed(order):
        if order.inferred:
            return Step.RECHECK
        return Step.FETCH_FILLS if lacks_fills(order) else None
    if not is_placed(order):
        return Step.RESOLVE
    if order.cancel_requested:
        return Step.CANCEL
    if lacks_fills(order):
        return Step.FETCH_FILLS
    rests = order.order_type == OrderType.LIMIT and order.time_in_force == TimeInForce.GTC
    return Step.POLL if rests else Step.REFRESH


def pause_s(step: Step, attempts: int) -> float | None:
    """Seconds before attempt number `attempts` (from 0); None: do not ask again."""
    if step == Step.RECHECK:
        return RECHECKS_S[attempts] if attempts < len(RECHECKS_S) else None
    first, longest = _PAUSES_S[step]
    return float(min(longest, first * 2 ** min(attempts, 20)))


def arrives_until(unanswered_since: float, window_s: float) -> float:
    """The monotonic time up to which a submission may yet be accepted."""
    return unanswered_since + window_s + CLOCK_MARGIN_S


def exchange_name(symbol: str, exchange_order_id: str) -> str:
    """What names an order on its exchange: Binance counts order ids for each symbol anew.

    `symbol` is ours (BTC-USDT) or theirs (BTCUSDT): both give the same name.
    """
    return f"{symbol.replace('-', '')}/{exchange_order_id}"


def find(order: Order, reports: Iterable[OrderReport]) -> OrderReport | None:
    """The report about this order: by the exchange's id where it is known, else by ours."""
    known = order.exchange_order_id
    ours = None if known is None else exchange_name(order.symbol, known)
    for report in reports:
        if ours is not None:
            if exchange_name(report.exchange_symbol, report.exchange_order_id) == ours:
                return report
        elif report.client_order_id == order.client_order_id:
            return report
    return None

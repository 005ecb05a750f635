"""Asks the exchange about one order and records its answer. Nothing here submits an order."""

from collections.abc import Callable
from datetime import datetime

from trading_platform.exchanges.ports import (
    Accepted,
    CancelOutcome,
    Found,
    LookUp,
    NotFound,
    Rejected,
    Trading,
)
from trading_platform.kit.errors import CODES
from trading_platform.market.instruments import Instrument
from trading_platform.market.orders import Order
from trading_platform.orders.events import (
    CanceledConcluded,
    CancelRefused,
    FillReported,
    NotPlacedConcluded,
    OrderEvent,
    Reported,
)
from trading_platform.orders.evidence import LOOK_BACK, find
from trading_platform.orders.ledger import Ledger
from trading_platform.orders.machine import is_closed, is_placed


class Inquiry:
    """Questions about orders; answers go through the ledger. Reads raise ServiceError."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now

    async def look_up(
        self, trading: Trading, instrument: Instrument, order: Order
    ) -> tuple[Order, LookUp]:
        """Ask for the order by id."""
        answer = await trading.look_up(order, instrument)
        if isinstance(answer, Found):
            order = await self._ledger.record(order, Reported(report=answer.report, at=self._now()))
        return order, answer

    async def cancel(
        self, trading: Trading, instrument: Instrument, order: Order
    ) -> tuple[Order, CancelOutcome]:
        """Ask for its end; whatever is not a full answer is looked up."""
        outcome = await trading.cancel(order, instrument)
        if isinstance(outcome, Accepted):
            at = self._now()
            return await self._ledger.record(order, Reported(report=outcome.report, at=at)), outcome
        order, _ = await self.look_up(trading, instrument, order)
        # A code of our own means that the exchange was not asked: the wish stands.
        if (
            isinstance(outcome, Rejected)
            and outcome.retry_after_s is None
            and outcome.code not in CODES
        ):
            reason = f"{outcome.code}: {outcome.message}"
            order = await self._ledger.record(order, CancelRefused(reason=reason, at=self._now()))
        return order, outcome

    async def fetch_fills(self, trading: Trading, instrument: Instrument, order: Order) -> Order:
        """Ask for its executions, where the exchange has shown the order."""
        if order.exchange_order_id is None:
            return order
        fills = tuple(await trading.fills(order, instrument))
        event = FillReported(exchange_order_id=order.exchange_order_id, fills=fills, at=self._now())
        return await self._ledger.record(order, event)

    async def conclude_not_placed(
        self, trading: Trading, instrument: Instrument, order: Order
    ) -> Order:
        """End an order that was not found and can no longer arrive, if no other witness knows it.

        The last witness is a cancel by client id: it must find nothing. Every other answer leaves
        the order as it is.
        """
        if await self._shown(trading, instrument, order):
            return order
        outcome = await trading.cancel(order, instrument)
        if isinstance(outcome, Accepted):
            return await self._ledger.record(order, Reported(report=outcome.report, at=self._now()))
        if not isinstance(outcome, NotFound):
            return order
        reason = "the exchange never received it"
        return await self._ledger.record(order, NotPlacedConcluded(reason=reason, at=self._now()))

    async def conclude_gone(self, trading: Trading, instrument: Instrument, order: Order) -> Order:
        """End an order that the exchange had and no longer knows, after counting its fills."""
        if not is_placed(order) or is_closed(order):
            return order
        if await self._shown(trading, instrument, order):
            return order
        order = await self.fetch_fills(trading, instrument, order)
        reason = "the exchange no longer knows it, so it was canceled there"
        return await self._ledger.record(order, CanceledConcluded(reason=reason, at=self._now()))

    async def _shown(self, trading: Trading, instrument: Instrument, order: Order) -> bool:
        """Whether open or recent orders show it; if so that is recorded."""
        since = min(order.created_at, self._now()) - LOOK_BACK  # our clock may have been set back
        report = find(order, await trading.open_orders()) or find(
            order, await trading.recent_orders(instrument, since)
        )
        if report is None:
            return False
        event: OrderEvent = Reported(report=report, at=self._now())
        await self._ledger.record(order, event)
        return True

"""Asks the due question about one watched order and follows the rules of orders/evidence.py."""

from collections.abc import Callable

from trading_platform.exchanges.ports import Found, LookUp, LookUpFailed, NotFound, Trading
from trading_platform.kit.clock import Clock
from trading_platform.market.instruments import Instrument
from trading_platform.market.orders import Order, OrderStatus
from trading_platform.orders.evidence import MISSING_S, Step, arrives_until
from trading_platform.orders.inquiry import Inquiry
from trading_platform.orders.watch import Watched

_AT_ONCE_S = 0.1
"""After the last moment of arrival, so that nobody waits longer than the evidence asks."""


class Pursuit:
    """One step for one order at a time. Reads raise ServiceError, which is no evidence."""

    def __init__(
        self, inquiry: Inquiry, clock: Clock, on_answered: Callable[[Order], None]
    ) -> None:
        self._inquiry = inquiry
        self._clock = clock
        self._on_answered = on_answered

    async def ask(self, trading: Trading, instrument: Instrument, watched: Watched) -> None:
        """Ask what this order's step calls for."""
        match watched.step:
            case Step.RESOLVE:
                await self._resolve(trading, instrument, watched)
            case Step.CANCEL:
                await self._press_cancel(trading, instrument, watched)
            case Step.FETCH_FILLS:
                await self._inquiry.fetch_fills(trading, instrument, watched.order)
            case Step.REFRESH | Step.POLL | Step.RECHECK:
                await self._refresh(trading, instrument, watched)

    async def _resolve(self, trading: Trading, instrument: Instrument, watched: Watched) -> None:
        order, answer = await self._inquiry.look_up(trading, instrument, watched.order)
        if isinstance(answer, LookUpFailed):
            return
        self._on_answered(order)
        if not isinstance(answer, NotFound) or order.status != OrderStatus.UNKNOWN:
            return
        until = arrives_until(watched.since, trading.acceptance_window_s)
        if self._clock.monotonic() > until:
            await self._inquiry.conclude_not_placed(trading, instrument, order)
            return
        watched.due = min(watched.due, until + _AT_ONCE_S)
        if order.cancel_requested:
            await self._inquiry.cancel(trading, instrument, order)

    async def _press_cancel(
        self, trading: Trading, instrument: Instrument, watched: Watched
    ) -> None:
        order, answer = await self._inquiry.look_up(trading, instrument, watched.order)
        if isinstance(answer, Found) and order.status == OrderStatus.CANCEL_PENDING:
            await self._inquiry.cancel(trading, instrument, order)
        await self._weigh(trading, instrument, watched, answer)

    async def _refresh(self, trading: Trading, instrument: Instrument, watched: Watched) -> None:
        _, answer = await self._inquiry.look_up(trading, instrument, watched.order)
        await self._weigh(trading, instrument, watched, answer)

    async def _weigh(
        self, trading: Trading, instrument: Instrument, watched: Watched, answer: LookUp
    ) -> None:
        """Count how long an order that the exchange had has been missing, and end it then."""
        now = self._clock.monotonic()
        if isinstance(answer, Found):
            watched.missing_since = None
        elif isinstance(answer, NotFound) and watched.missing_since is None:
            watched.missing_since = now
        elif isinstance(answer, NotFound) and now - (watched.missing_since or now) >= MISSING_S:
            await self._inquiry.conclude_gone(trading, instrument, watched.order)

"""One tenant's account at one exchange: `Trading` for any dialect.

1. A placement is sent once. The only second attempt is after the exchange refused the first for our
   clock alone, which proves that nothing was placed; it is signed anew, and happens once. Both ask
   `may_send` when the connection stands, before the first byte leaves.
2. All of `place`, the clock included, ends within the client's time-out, which the dialect's
   `acceptance_window_s` counts in.
3. `place`, `cancel` and `look_up` answer with values for whatever a network or an exchange does.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from trading_platform.exchanges.client import Answer, Lost, MayLeave, NotSent, RestClient
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse, TradingDialect
from trading_platform.exchanges.ports import (
    Accepted,
    CancelOutcome,
    Found,
    LookUp,
    LookUpFailed,
    NotFound,
    PlaceOutcome,
    Rejected,
    Unknown,
)
from trading_platform.exchanges.signer import Signer
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import CLOSED, Fill, Order, OrderReport, OrderStatus

T = TypeVar("T")
PAGES_MAX = 20
CANCEL_SETTLES_WITHIN_S = (0.0, 0.1, 0.4)
VISIBLE_AFTER = timedelta(seconds=5)
"""Reads show an order of this age; they may lag behind the engine before."""


class ExchangeAccount:
    """`Trading` over REST."""

    def __init__(
        self,
        dialect: TradingDialect,
        signer: Signer,
        client: RestClient,
        clock: Clock,
        *,
        may_send: MayLeave | None = None,
    ) -> None:
        """`may_send` raises TRADING_HALTED when no new order may leave; cancels always may."""
        self.exchange_id: ExchangeId = dialect.exchange_id
        self.acceptance_window_s = dialect.acceptance_window_s
        self._dialect = dialect
        self._signer = signer
        self._client = client
        self._clock = clock
        self._may_send = may_send

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        try:
            request = self._dialect.place(order, instrument)
            answer = await self._call(request, may_leave=self._may_send)
        except ServiceError as refusal:  # ours, before anything was sent
            return Rejected(code=refusal.code, message=refusal.message)
        match answer:
            case NotSent():
                return answer.as_rejected()
            case Lost():
                return Unknown(answer.reason)
        return self._dialect.read_placed(order, instrument, answer)

    async def cancel(self, order: Order, instrument: Instrument) -> CancelOutcome:
        try:
            answer = await self._call(self._dialect.cancel(order, instrument))
        except ServiceError as refusal:
            return Rejected(code=refusal.code, message=refusal.message)
        if isinstance(answer, NotSent | Lost):
            # Not sent is no refusal: the exchange was never asked, so the wish for the end stands.
            return Unknown(answer.reason)
        if self._dialect.is_clock_refusal(answer):
            return Unknown("the exchange refused the time of the request")
        outcome = self._dialect.read_canceled(order, instrument, answer)
        if isinstance(outcome, Accepted) and self._dialect.look_up_after_cancel:
            return await self._confirm_cancel(order, instrument, outcome)
        return outcome

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        try:
            answer = await self._call(self._dialect.look_up(order, instrument))
        except ServiceError as refusal:
            return LookUpFailed(refusal.message)
        if isinstance(answer, HttpResponse):
            return self._dialect.read_looked_up(order, instrument, answer)
        return LookUpFailed(answer.reason)

    async def open_orders(self) -> Sequence[OrderReport]:
        return await self._pages(self._dialect.open_orders(), self._dialect.read_orders)

    async def recent_orders(self, instrument: Instrument, since: datetime) -> Sequence[OrderReport]:
        request = self._dialect.recent_orders(instrument, since - await self._ahead())
        return await self._pages(request, self._dialect.read_orders)

    async def fills(self, order: Order, instrument: Instrument) -> Sequence[Fill]:
        if not order.exchange_order_id:
            raise ServiceError("Fills are asked by the exchange's order id.", "INVALID_REQUEST")
        request = self._dialect.fills(order, instrument)
        return await self._pages(request, self._dialect.read_fills)

    async def balances(self) -> Sequence[Balance]:
        return await self._pages(self._dialect.balances(), self._dialect.read_balances)

    async def _confirm_cancel(
        self, order: Order, instrument: Instrument, received: Accepted
    ) -> CancelOutcome:
        # "Not found" about an order that reads may not show yet is not "purged".
        visible = self._clock.now() - order.created_at > VISIBLE_AFTER
        for pause_s in CANCEL_SETTLES_WITHIN_S:
            if pause_s:
                await self._clock.sleep(pause_s)
            found = await self.look_up(order, instrument)
            if isinstance(found, NotFound) and visible:
                return await self._purged(order, instrument, received)
            if isinstance(found, Found) and found.report.status in CLOSED:
                return Accepted(found.report)
            visible = visible or isinstance(found, Found)
        if isinstance(found, NotFound):
            return await self._purged(order, instrument, received)
        # Received but not yet done: the report says open, and the next look-up will tell.
        return Accepted(found.report) if isinstance(found, Found) else received

    async def _purged(
        self, order: Order, instrument: Instrument, received: Accepted
    ) -> CancelOutcome:
        """The cancel was received and the order is gone: that happens to orders without fills."""
        report = received.report
        known = replace(order, exchange_order_id=report.exchange_order_id or None)
        if order.filled_quantity or not known.exchange_order_id:
            return Unknown("the order is gone, and what it filled is not known")
        try:
            if await self.fills(known, instrument):
                return Unknown("the order is gone although it has fills")
        except ServiceError as error:
            return Unknown(f"the order is gone, and its fills could not be read: {error.message}")
        return Accepted(
            replace(report, status=OrderStatus.CANCELED, reason="canceled without fills")
        )

    async def _ahead(self) -> timedelta:
        """How far our clock is ahead of the exchange's; zero when it is behind or nobody knows."""
        theirs_ms = await self._client.server_time_ms()
        if isinstance(theirs_ms, NotSent):
            return timedelta()
        return timedelta(milliseconds=max(0, self._clock.time_ns() // 1_000_000 - theirs_ms))

    async def _call(self, request: HttpRequest, *, may_leave: MayLeave | None = None) -> Answer:
        """One answer, within the client's time-out; signed anew once if refused for our clock."""
        deadline = _now() + self._client.timeout_s
        answer = await self._call_once(request, deadline, may_leave, fresh=False)
        if isinstance(answer, HttpResponse) and self._dialect.is_clock_refusal(answer):
            return await self._call_once(request, deadline, may_leave, fresh=True)
        return answer

    async def _call_once(
        self, request: HttpRequest, deadline: float, may_leave: MayLeave | None, *, fresh: bool
    ) -> Answer:
        time_ms = await self._client.server_time_ms(fresh=fresh)
        if isinstance(time_ms, NotSent):
            if request.method == "POST":
                return time_ms
            # Asking and canceling are harmless at a wrong time: at worst they are refused.
            time_ms = self._clock.time_ns() // 1_000_000
        left_s = deadline - _now()
        if left_s <= 0.05:
            return NotSent(reason="The exchange's time could not be learnt quickly enough.")
        signed = self._signer.sign(request, time_ms)
        return await self._client.send(signed, timeout_s=left_s, may_leave=may_leave)

    async def _pages(
        self, request: HttpRequest, read: Callable[[HttpResponse], Sequence[T]]
    ) -> Sequence[T]:
        rows: list[T] = []
        for _ in range(PAGES_MAX):
            answer = await self._call(request)
            if isinstance(answer, Lost):
                raise ServiceError(f"The exchange: {answer.reason}", "EXCHANGE_UNAVAILABLE")
            if isinstance(answer, NotSent):
                raise answer.as_error()
            rows += read(answer)
            following = self._dialect.next_page(request, answer)
            if following is None:
                return rows
            request = following
        # A part would be mistaken for the whole.
        raise ServiceError(
            f"More than {PAGES_MAX} pages of {request.path}.", "EXCHANGE_UNAVAILABLE"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()

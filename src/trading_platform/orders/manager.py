"""Submits each order exactly once and cancels on demand.

check -> intent durable (SUBMITTING) -> guard -> send -> accepted, rejected or unknown -> machine ->
store -> listeners. A stop anywhere leaves SUBMITTING or a later state in the store; the resolver
takes it from there by looking up. Nothing is ever sent twice.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from trading_platform.exchanges.ports import Accepted, PlaceOutcome, Rejected, Trading, Unknown
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.ids import derived_uuid, sortable_id
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Order, OrderReport, OrderRequest, OrderStatus
from trading_platform.orders.checks import check
from trading_platform.orders.events import (
    CancelAsked,
    DeniedBeforeSend,
    OrderEvent,
    OutcomeUnknown,
    RejectedByExchange,
    Reported,
    Sent,
)
from trading_platform.orders.inquiry import Inquiry
from trading_platform.orders.ledger import Ledger
from trading_platform.orders.machine import apply, is_closed
from trading_platform.orders.ports import Accounts, Guard, Log
from trading_platform.orders.resolver import Resolver
from trading_platform.orders.store import OPEN_STATUSES, OrderStore
from trading_platform.storage.records import Records

IN_FLIGHT_MAX = 2048
"""At one exchange: one that hangs takes no room of another's orders."""
PLACE_TIMEOUT_S = 60.0
"""The client has its own, shorter, time-outs; this one only bounds a client that hangs."""
PAGE_MAX = 500
_STOPPED = frozenset({"TRADING_HALTED", "CREDENTIAL_SUSPENDED"})
"""What the guard says, also to an order that waits for its connection: no byte of it has left."""


class OrderManager:
    """The orders of all tenants. Raises ServiceError only."""

    def __init__(
        self,
        records: Records,
        accounts: Accounts,
        guard: Guard,
        bus: Bus,
        clock: Clock,
        log: Log,
        *,
        deployment_lead: str,
    ) -> None:
        self._accounts = accounts
        self._guard = guard
        self._clock = clock
        self._log = log
        self._lead = deployment_lead
        self._ledger = Ledger(records, bus, log)
        self._inquiry = Inquiry(self._ledger, clock.now)
        self._resolver = Resolver(
            records, accounts, self._ledger, clock, log, deployment_lead=deployment_lead
        )
        self._sends: dict[str, asyncio.Task[Order]] = {}
        self._sending: Counter[ExchangeId] = Counter()
        self._works: set[asyncio.Task[Order]] = set()

    async def submit(self, tenant_id: str, request: OrderRequest, idempotency_key: str) -> Order:
        """Submit once. The same key and request give the same order again.

        An order that the exchange refused is returned as REJECTED, one whose fate nobody knows as
        UNKNOWN. Raises ORDER_DENIED and INVALID_REQUEST with nothing written, IDEMPOTENCY_CONFLICT,
        TRADING_HALTED, and EXCHANGE_UNAVAILABLE before anything is sent.
        """
        earlier = await self.promised(tenant_id, request, idempotency_key)
        if earlier is not None:
            return earlier
        self._resolver.require_settled(tenant_id, request.exchange_id)
        trading = await self._accounts.trading(tenant_id, request.exchange_id)
        instrument = await self._accounts.instrument(request.exchange_id, request.symbol)
        denial = check(request, instrument)
        if denial is not None:
            raise ServiceError(denial.message, "ORDER_DENIED", metadata={"reason": denial.code})
        if self._sending[request.exchange_id] >= IN_FLIGHT_MAX:
            raise ServiceError("too many orders are being sent now", "EXCHANGE_UNAVAILABLE")
        order = self._intent(tenant_id, request, idempotency_key)
        task = self._start(self._submit(order, request, idempotency_key, trading, instrument))
        self._sends[order.order_id] = task
        self._sending[order.exchange_id] += 1
        task.add_done_callback(lambda _: self._sent(order))
        return await asyncio.shield(task)

    async def promised(
        self, tenant_id: str, request: OrderRequest, idempotency_key: str
    ) -> Order | None:
        """The order that this key already names, once its submission has ended; sends nothing.

        Raises IDEMPOTENCY_CONFLICT when the key names another request.
        """
        earlier = await self._ledger.store(tenant_id).promised(idempotency_key, request)
        return None if earlier is None else await self._outcome(earlier)

    async def cancel(self, tenant_id: str, order_id: str) -> Order:
        """Ask for the order's end; asking again is fine. CONFLICT when it has ended."""
        order = await self.get(tenant_id, order_id)
        if is_closed(order):
            raise ServiceError(
                f"order {order_id} is {order.status} and can no longer be canceled",
                "CONFLICT",
                metadata={"status": order.status},
            )
        return await asyncio.shield(self._start(self._cancel(order)))

    async def get(self, tenant_id: str, order_id: str) -> Order:
        """One order of the tenant; NOT_FOUND for every other."""
        return await self._ledger.store(tenant_id).get(order_id)

    async def list_orders(
        self,
        tenant_id: str,
        *,
        status: OrderStatus | None = None,
        open_only: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> tuple[list[Order], str | None]:
        """Newest first; the second value continues the list, None at its end."""
        statuses = OPEN_STATUSES if open_only else None
        if status is not None:
            statuses = frozenset({status}) & (OPEN_STATUSES if open_only else {status})
        store = self._ledger.store(tenant_id)
        return await store.newest(
            statuses=statuses, limit=max(1, min(limit, PAGE_MAX)), after=after
        )

    async def recover(self) -> None:
        """Take up what an earlier run left unfinished; until then nothing is submitted."""
        await self._resolver.recover()

    async def run(self) -> None:
        """Look up, poll and follow user streams until canceled."""
        await self._resolver.run()

    async def work_off(self) -> None:
        """Do once what `run` would do now."""
        await self._resolver.work_off()

    def on_report(self, tenant_id: str, exchange_id: ExchangeId, report: OrderReport) -> None:
        """Take an event of a user stream; never waits."""
        self._resolver.on_report(tenant_id, exchange_id, report)

    def poll_soon(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Events of a user stream may have been missed: list the open orders at once."""
        self._resolver.poll_soon(tenant_id, exchange_id)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Wait for answers to what was sent; the next start looks up what stays unanswered."""
        if self._works:
            await asyncio.wait(self._works, timeout=timeout_s)
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, Order]) -> asyncio.Task[Order]:
        """Run in a task of its own: a caller that goes away does not abandon what was sent."""
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._finished)
        return task

    def _sent(self, order: Order) -> None:
        self._sends.pop(order.order_id, None)
        self._sending[order.exchange_id] -= 1

    def _finished(self, task: asyncio.Task[Order]) -> None:
        self._works.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.warning("order request ended", error=repr(task.exception()))

    def _intent(self, tenant_id: str, request: OrderRequest, key: str) -> Order:
        now = self._clock.now()
        return Order(
            order_id=sortable_id("order", self._clock.time_ns()),
            tenant_id=tenant_id,
            client_order_id=derived_uuid(self._lead, tenant_id, key),
            exchange_id=request.exchange_id,
            symbol=request.symbol,
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force,
            post_only=request.post_only,
            quantity=request.quantity,
            price=request.price,
            status=OrderStatus.SUBMITTING,
            created_at=now,
            updated_at=now,
        )

    async def _submit(
        self,
        order: Order,
        request: OrderRequest,
        key: str,
        trading: Trading,
        instrument: Instrument,
    ) -> Order:
        store = self._ledger.store(order.tenant_id)
        self._resolver.leave_alone(order.order_id)
        try:
            if await self._keep(store, order, key, request) is None:
                return await self._winner(store, key, request)
            self._ledger.announce(order)
            await self._let_pass(order)
            sent = Sent(at=self._clock.now())
            outcome = await self._place(trading, order, instrument)
            if isinstance(outcome, Rejected) and outcome.code in _STOPPED:
                raise await self._denied(order, ServiceError(outcome.message, outcome.code))
            return await self._settle(order, sent, self._meaning(outcome))
        finally:
            self._resolver.hand_over(order.order_id)

    async def _keep(
        self, store: OrderStore, order: Order, key: str, request: OrderRequest
    ) -> Order | None:
        try:
            return await store.create(order, key, request)
        except ServiceError:
            # It will not be sent, but may have been written: then somebody must end it.
            self._resolver.note(order)
            raise

    async def _winner(self, store: OrderStore, key: str, request: OrderRequest) -> Order:
        winner = await store.promised(key, request)
        if winner is None:
            raise ServiceError("the order could not be stored; try again", "CONFLICT")
        return await self._outcome(winner)

    async def _outcome(self, order: Order) -> Order:
        """The order once its submission, if one is under way here, has ended."""
        send = self._sends.get(order.order_id)
        if send is None:
            if order.status == OrderStatus.SUBMITTING:  # sent since we read it, or by nobody here
                order = await self.get(order.tenant_id, order.order_id)
                self._resolver.note(order)
            return order
        return await asyncio.shield(send)

    async def _let_pass(self, order: Order) -> None:
        """Ask the guard; its refusal ends the order, which then can never be sent."""
        try:
            self._guard.may_send(order.tenant_id, order.exchange_id)
        except ServiceError as refusal:
            raise await self._denied(order, refusal) from None

    async def _denied(self, order: Order, refusal: ServiceError) -> ServiceError:
        refusal.metadata.setdefault("orderId", order.order_id)
        denied = DeniedBeforeSend(reason=refusal.message, at=self._clock.now())
        await self._ledger.record(order, denied)
        return refusal

    async def _place(self, trading: Trading, order: Order, instrument: Instrument) -> PlaceOutcome:
        try:
            async with asyncio.timeout(PLACE_TIMEOUT_S):
                return await trading.place(order, instrument)
        except TimeoutError:
            return Unknown(f"no answer within {PLACE_TIMEOUT_S:g} s")
        except ServiceError as error:
            # The port promises not to raise; if it does, nobody knows how far the request came.
            return Unknown(error.message)

    def _meaning(self, outcome: PlaceOutcome) -> OrderEvent:
        """Taken after the answer: an unknown request was signed no later than now."""
        now = self._clock.now()
        match outcome:
            case Accepted(report):
                return Reported(report=report, at=now)
            case Rejected():
                return RejectedByExchange(code=outcome.code, message=outcome.message, at=now)
            case Unknown(reason):
                return OutcomeUnknown(reason=reason, at=now)

    async def _settle(self, order: Order, sent: Sent, event: OrderEvent) -> Order:
        try:
            return await self._ledger.record(order, sent, event, just_created=True)
        except ServiceError as error:
            # Still SUBMITTING in the store: the resolver will look it up.
            self._log.error("outcome not stored", order_id=order.order_id, error=error.message)
            reason = "the answer could not be stored; it will be looked up"
            return apply(apply(order, sent), OutcomeUnknown(reason=reason, at=event.at))

    async def _cancel(self, order: Order) -> Order:
        order = await self._ledger.record(order, CancelAsked(at=self._clock.now()))
        if order.order_id in self._sends:
            await asyncio.wait({self._sends[order.order_id]})
            order = await self.get(order.tenant_id, order.order_id)
        if is_closed(order):
            return order
        trading = await self._accounts.trading(order.tenant_id, order.exchange_id)
        instrument = await self._accounts.instrument(order.exchange_id, order.symbol)
        order, outcome = await self._inquiry.cancel(trading, instrument, order)
        if isinstance(outcome, Rejected) and not is_closed(order) and not order.cancel_requested:
            raise ServiceError(
                f"the exchange refused to cancel: {outcome.message}",
                "ORDER_REJECTED",
                metadata={"exchangeCode": outcome.code},
            )
        return order

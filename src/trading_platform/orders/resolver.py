"""Keeps asking until every order's fate is known. It looks up and cancels; it never submits.

Each account is asked in a task of its own, so that one tenant's slow exchange holds up no other.
"""

import asyncio
from collections import Counter, deque

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Order, OrderReport, OrderStatus
from trading_platform.orders.events import OutcomeUnknown, Reported
from trading_platform.orders.evidence import Step, next_step
from trading_platform.orders.inquiry import Inquiry
from trading_platform.orders.ledger import Ledger
from trading_platform.orders.ports import Accounts, Log
from trading_platform.orders.pursuit import Pursuit
from trading_platform.orders.store import unfinished
from trading_platform.orders.watch import Account, Watched, Watchlist, account_of
from trading_platform.storage.records import Records

TICK_S = 0.1
POLL_S = 5.0
"""How often an account's open orders are listed, so that fills arrive without a user stream."""
POLL_SOON_S = 1.0
ROUND_ORDERS_MAX = 50
ROUND_TIMEOUT_S = 120.0
ROUNDS_MAX = 64
"""At once at one exchange: one that hangs takes none of another's."""
RECOVER_S = 5.0
REPORTS_MAX = 10_000


class Resolver:
    """Resolves unknown outcomes, presses cancels, fetches fills and polls open orders."""

    def __init__(
        self,
        records: Records,
        accounts: Accounts,
        ledger: Ledger,
        clock: Clock,
        log: Log,
        *,
        deployment_lead: str,
    ) -> None:
        self._records = records
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._lead = deployment_lead
        self._pursuit = Pursuit(Inquiry(ledger, clock.now), clock, self._answered)
        self._watch = Watchlist()
        self._in_flight: set[str] = set()
        self._polled_at: dict[Account, float] = {}
        self._poll_wanted: set[Account] = set()
        self._rounds: dict[Account, asyncio.Task[None]] = {}
        self._unsettled: dict[Account, set[str]] = {}
        self._recovered = False
        self._reports: deque[tuple[Account, OrderReport]] = deque()
        self._reports_ready = asyncio.Event()
        ledger.on_stored = self.note

    def note(self, order: Order) -> None:
        """Take the newest state of an order."""
        self._watch.note(order, self._clock.monotonic())
        if next_step(order) != Step.RESOLVE:
            self._answered(order)

    def leave_alone(self, order_id: str) -> None:
        """A submission is on its way: do not ask about it until `hand_over`."""
        self._in_flight.add(order_id)

    def hand_over(self, order_id: str) -> None:
        """The submission is over, whatever came of it."""
        self._in_flight.discard(order_id)

    def require_settled(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Raise EXCHANGE_UNAVAILABLE while orders from before the start were not yet looked up."""
        if self._recovered and not self._unsettled.get(Account(tenant_id, exchange_id)):
            return
        raise ServiceError(
            f"orders at {exchange_id} are still being looked up after a restart; try again shortly",
            "EXCHANGE_UNAVAILABLE",
        )

    async def recover(self) -> None:
        """Take up every unfinished order. What was in flight when we stopped becomes UNKNOWN.

        The intent does not hold when its request was signed, only that it was before now: that
        is the latest moment from which the acceptance window counts.
        """
        for order in await unfinished(self._records):
            if order.status == OrderStatus.SUBMITTING and order.order_id not in self._in_flight:
                order = await self._ledger.record(order, self._unknown("the platform stopped"))
            if next_step(order) == Step.RESOLVE:
                self._unsettled.setdefault(account_of(order), set()).add(order.order_id)
            self.note(order)
        self._recovered = True
        for account in self._watch.accounts():
            self._watch.hurry(account, self._clock.monotonic())
        self._start_rounds()
        if self._rounds:
            await asyncio.wait(self._rounds.values(), timeout=RECOVER_S)

    async def run(self) -> None:
        """Work until canceled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_reports())
                group.create_task(self._tick())
        finally:
            for task in self._rounds.values():
                task.cancel()
            await asyncio.gather(*self._rounds.values(), return_exceptions=True)
            self._rounds.clear()

    def on_report(self, tenant_id: str, exchange_id: ExchangeId, report: OrderReport) -> None:
        """Take an event of a user stream; never waits. When too many wait the account is polled
        instead.
        """
        account = Account(tenant_id, exchange_id)
        if len(self._reports) >= REPORTS_MAX:
            return self.poll_soon(tenant_id, exchange_id)
        self._reports.append((account, report))
        return self._reports_ready.set()

    def poll_soon(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Events may have been missed: list the account's open orders at once, but not again and
        again while another client's events cannot be read: orders spend the same budget there.
        """
        self._poll_wanted.add(Account(tenant_id, exchange_id))

    async def work_off(self) -> None:
        """Do once all that is due now."""
        await self._take_reports()
        accounts = self._watch.accounts()
        await asyncio.gather(*(self._round(account) for account in accounts))

    async def _tick(self) -> None:
        while True:
            self._start_rounds()
            await self._clock.sleep(TICK_S)

    def _start_rounds(self) -> None:
        for account, task in list(self._rounds.items()):
            if task.done():
                del self._rounds[account]
                task.result()  # a fault of ours ends the loop, loudly; the supervisor restarts it
        running = Counter(account.exchange_id for account in self._rounds)
        for account in self._watch.accounts():
            if running[account.exchange_id] >= ROUNDS_MAX:
                continue
            if account not in self._rounds and self._has_work(account):
                self._rounds[account] = asyncio.create_task(self._round(account))
                self._watch.move_to_end(account)
                running[account.exchange_id] += 1

    def _has_work(self, account: Account) -> bool:
        return self._poll_is_due(account) or bool(
            self._watch.due(account, self._clock.monotonic(), 1)
        )

    def _poll_is_due(self, account: Account) -> bool:
        if not self._watch.working(account):
            return False
        polled_at = self._polled_at.get(account)
        pause_s = POLL_SOON_S if account in self._poll_wanted else POLL_S
        return polled_at is None or self._clock.monotonic() - polled_at >= pause_s

    async def _round(self, account: Account) -> None:
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await self._ask_account(account)
        except (ServiceError, TimeoutError) as error:
            self._failed(account, error)

    async def _ask_account(self, account: Account) -> None:
        due = self._watch.due(account, self._clock.monotonic(), ROUND_ORDERS_MAX)
        for watched in due:
            if not self._watch.is_current(watched):
                continue
            if watched.order.order_id in self._in_flight:
                watched.due = self._clock.monotonic() + TICK_S
                continue
            self._watch.postpone(watched, self._clock.monotonic())
            try:
                await self._ask_order(account, watched)
            except ServiceError as error:
                self._failed(account, error, order_id=watched.order.order_id)
                if error.code == "NOT_FOUND":
                    # No keys or no such symbol any more: it cannot be asked, and must not keep the
                    # account shut for ever.
                    self._answered(watched.order)
        if self._poll_is_due(account):
            self._polled_at[account] = self._clock.monotonic()
            self._poll_wanted.discard(account)
            await self._poll(account)

    async def _ask_order(self, account: Account, watched: Watched) -> None:
        order = watched.order
        if order.status == OrderStatus.SUBMITTING:
            await self._take_over(order)
            return
        trading = await self._accounts.trading(account.tenant_id, account.exchange_id)
        instrument = await self._accounts.instrument(order.exchange_id, order.symbol)
        await self._pursuit.ask(trading, instrument, watched)

    async def _take_over(self, order: Order) -> None:
        """Nobody is sending it any more and no outcome was stored."""
        try:
            stored = await self._ledger.record(order, self._unknown("the outcome was not stored"))
        except ServiceError as error:
            if error.code != "NOT_FOUND":
                raise
            self._watch.forget(order)  # its intent was not stored either, so it was never sent
        else:
            self.note(stored)

    async def _poll(self, account: Account) -> None:
        """One list of open orders; those that it lacks are looked up one by one."""
        expected = self._watch.working(account)
        trading = await self._accounts.trading(account.tenant_id, account.exchange_id)
        reports = await trading.open_orders()
        shown: set[str] = set()
        for report in reports:
            watched = await self._take(account, report)
            if watched is not None:
                watched.missing_since = None
                shown.add(watched.order.order_id)
        missing = [watched for watched in expected if watched.order.order_id not in shown]
        for watched in missing[:ROUND_ORDERS_MAX]:
            if watched.step == Step.POLL:
                order = watched.order
                instrument = await self._accounts.instrument(order.exchange_id, order.symbol)
                await self._pursuit.ask(trading, instrument, watched)

    async def _follow_reports(self) -> None:
        while True:
            await self._reports_ready.wait()
            await self._take_reports()

    async def _take_reports(self) -> None:
        self._reports_ready.clear()
        while self._reports:
            account, report = self._reports.popleft()
            try:
                await self._take(account, report)
            except ServiceError as error:
                self._failed(account, error)
                self.poll_soon(account.tenant_id, account.exchange_id)

    async def _take(self, account: Account, report: OrderReport) -> Watched | None:
        """Record a report about an order of ours; foreign ones are left alone."""
        watched = self._watch.find(account, report)
        if watched is not None:
            if watched.seen != report:
                await self._ledger.record(
                    watched.order, Reported(report=report, at=self._clock.now())
                )
                watched.seen = report
        elif report.client_order_id is not None and report.client_order_id.startswith(self._lead):
            await self._take_late(account, report, report.client_order_id)
        return watched

    async def _take_late(self, account: Account, report: OrderReport, client_order_id: str) -> None:
        """Evidence about an order that we thought was over."""
        order = await self._ledger.store(account.tenant_id).by_client_order_id(client_order_id)
        if order is not None:
            await self._ledger.record(order, Reported(report=report, at=self._clock.now()))
            return
        self._log.error(
            "order of ours without an intent",
            tenant_id=account.tenant_id,
            exchange_id=account.exchange_id,
            client_order_id=client_order_id,
        )

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(reason=f"{why}; looking it up", at=self._clock.now())

    def _answered(self, order: Order) -> None:
        """The exchange has spoken about an order from before the start."""
        waiting = self._unsettled.get(account_of(order))
        if waiting is not None:
            waiting.discard(order.order_id)
            if not waiting:
                del self._unsettled[account_of(order)]

    def _failed(self, account: Account, error: Exception, **fields: str) -> None:
        self._log.warning(
            "could not ask the exchange",
            tenant_id=account.tenant_id,
            exchange_id=account.exchange_id,
            error=repr(error),
            **fields,
        )

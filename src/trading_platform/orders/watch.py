"""Which orders still have questions, and when each is due. In memory; rebuilt at start."""

import msgspec

from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Order, OrderReport
from trading_platform.orders.evidence import Step, exchange_name, next_step, pause_s
from trading_platform.orders.machine import is_closed, is_placed


class Account(msgspec.Struct, frozen=True):
    """One tenant at one exchange."""

    tenant_id: str
    exchange_id: ExchangeId


class Watched(msgspec.Struct):
    """One order with its next question; times are monotonic seconds."""

    order: Order
    step: Step
    since: float
    due: float
    attempts: int = 0
    seen: OrderReport | None = None
    missing_since: float | None = None


def account_of(order: Order) -> Account:
    """Where the order trades."""
    return Account(order.tenant_id, order.exchange_id)


class Watchlist:
    """Every order about which its exchange still has to be asked."""

    def __init__(self) -> None:
        self._accounts: dict[Account, dict[str, Watched]] = {}
        self._names: dict[tuple[Account, str], Watched] = {}

    def note(self, order: Order, now: float) -> None:
        """Take the newest state of an order; a new question starts with its shortest pause."""
        watched = self._accounts.get(account_of(order), {}).get(order.order_id)
        step = next_step(order)
        if step is None:
            self.forget(order)
        elif watched is not None and (watched.step, watched.order.status) == (step, order.status):
            watched.order = order
        else:
            due = now + (pause_s(step, 0) or 0.0)
            self._keep(Watched(order=order, step=step, since=now, due=due))

    def forget(self, order: Order) -> None:
        """Ask nothing more."""
        account = account_of(order)
        orders = self._accounts.get(account, {})
        orders.pop(order.order_id, None)
        for name in _names(order):
            self._names.pop((account, name), None)
        if not orders:
            self._accounts.pop(account, None)

    def is_current(self, watched: Watched) -> bool:
        """Whether the question still stands: an answer may have come from elsewhere."""
        orders = self._accounts.get(account_of(watched.order), {})
        return orders.get(watched.order.order_id) is watched

    def postpone(self, watched: Watched, now: float) -> None:
        """Ask again after the next longer pause, or never when the step has no more."""
        watched.attempts += 1
        pause = pause_s(watched.step, watched.attempts)
        if pause is None:
            self.forget(watched.order)
        else:
            watched.due = now + pause

    def hurry(self, account: Account, now: float) -> None:
        """Make every question of an account due."""
        for watched in self._orders(account):
            watched.due = min(watched.due, now)

    def accounts(self) -> list[Account]:
        """Accounts with at least one question."""
        return list(self._accounts)

    def move_to_end(self, account: Account) -> None:
        """Its turn has come: of many waiting accounts the others are first now."""
        self._accounts[account] = self._accounts.pop(account)

    def due(self, account: Account, now: float, limit: int) -> list[Watched]:
        """Orders whose own question is due, longest waiting first; POLL has none of its own."""
        waiting = [
            watched
            for watched in self._orders(account)
            if watched.step != Step.POLL and watched.due <= now
        ]
        return sorted(waiting, key=lambda watched: watched.due)[:limit]

    def working(self, account: Account) -> list[Watched]:
        """Orders that should stand in the account's list of open orders."""
        return [
            watched
            for watched in self._orders(account)
            if is_placed(watched.order) and not is_closed(watched.order)
        ]

    def find(self, account: Account, report: OrderReport) -> Watched | None:
        """The watched order that a report is about: the exchange's own id decides before ours,
        for a cancel may carry an id of its own.
        """
        theirs = exchange_name(report.exchange_symbol, report.exchange_order_id)
        watched = self._names.get((account, theirs))
        if watched is None and report.client_order_id is not None:
            watched = self._names.get((account, report.client_order_id))
        return watched

    def _keep(self, watched: Watched) -> None:
        account = account_of(watched.order)
        self._accounts.setdefault(account, {})[watched.order.order_id] = watched
        for name in _names(watched.order):
            self._names[account, name] = watched

    def _orders(self, account: Account) -> list[Watched]:
        return list(self._accounts.get(account, {}).values())


def _names(order: Order) -> tuple[str, ...]:
    known = order.exchange_order_id
    if known is None:
        return (order.client_order_id,)
    return (order.client_order_id, exchange_name(order.symbol, known))

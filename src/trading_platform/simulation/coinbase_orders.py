"""Orders of the simulated Coinbase Exchange on top of the matching core.

1. An answered `POST /orders` means received: the engine gets the order a few milliseconds later,
   and only then can it be refused by the engine, rest, or trade.
2. The order's UUID and its client_oid travel as the core's client order id, so they survive with
   the core's journal.
3. An order cancelled without a fill is forgotten: looking it up answers 404.
4. client_oid is a label: a second order with the same one is taken, and look-ups find the newest.
"""

import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_platform.market.orders import OrderType, Side
from trading_platform.simulation.coinbase_checks import CheckedOrder
from trading_platform.simulation.coinbase_security import ApiError
from trading_platform.simulation.coinbase_text import is_client_oid, is_order_id
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import (
    ZERO,
    NewOrder,
    OrderEvent,
    OrderEventKind,
    RefusalKind,
    SimEvent,
    SimOrder,
    SimRefusal,
)

_K = TypeVar("_K")
_V = TypeVar("_V")

REMEMBERED_MAX = 30_000
REASONS = {
    RefusalKind.WOULD_TAKE: "post only",
    RefusalKind.INSUFFICIENT_BALANCE: "Insufficient funds",
    RefusalKind.MARKET_CLOSED: "Trading pair not available",
}

Schedule = Callable[[float, Callable[[], None]], object]
"""Call back after so many seconds."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """An order that the engine has not taken, or (with `reject_reason`) did not want."""

    order_id: str
    account_id: str
    client_oid: str | None
    request: NewOrder
    specified_funds: Decimal | None
    created_ns: int
    reject_reason: str | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the engine under its public ids."""

    order_id: str
    client_oid: str | None
    order: SimOrder


AnyOrder = Received | Known


def public_ids(order: SimOrder) -> tuple[str, str | None]:
    """(order id, client_oid) of an order in the core."""
    order_id, _, client_oid = order.client_order_id.partition("/")
    return order_id, client_oid or None


class OrderDesk:
    """Takes checked orders and answers for them. `refused` is called when the engine says no."""

    def __init__(
        self,
        exchange: SimulatedExchange,
        schedule: Schedule,
        *,
        opening_delay_s: float = 0.005,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        refused: Callable[[Received], None] = lambda received: None,
    ) -> None:
        self._exchange = exchange
        self._schedule = schedule
        self._opening_delay_s = opening_delay_s
        self._new_id = new_id
        self._refused = refused
        self._pending: dict[str, Received] = {}
        self._rejected: dict[str, Received] = {}
        self._in_core: dict[str, tuple[str, int]] = {}
        self._by_client_oid: dict[tuple[str, str], str] = {}
        self._public: dict[int, str] = {}
        self._accounts: set[str] = set()
        exchange.listen(self._on_event)

    def place(self, account_id: str, checked: CheckedOrder) -> Received:
        """Receive an order; ApiError 400 when it cannot be paid."""
        self.know(account_id)
        self._check_funds(account_id, checked)
        order_id = self._new_id()
        received = Received(
            order_id=order_id,
            account_id=account_id,
            client_oid=checked.client_oid,
            specified_funds=checked.specified_funds,
            request=msgspec.structs.replace(
                checked.request, client_order_id=f"{order_id}/{checked.client_oid or ''}"
            ),
            created_ns=self._exchange.clock.time_ns(),
        )
        self._pending[order_id] = received
        if checked.client_oid is not None:
            _remember(self._by_client_oid, (account_id, checked.client_oid), order_id)
        self._schedule(self._opening_delay_s, lambda: self._open(order_id))
        return received

    def find(self, account_id: str, reference: str) -> AnyOrder:
        """By id or `client:<client_oid>`; 404 when unknown, or cancelled without fills."""
        order_id = self._resolve(account_id, reference)
        waiting = self._pending.get(order_id) or self._rejected.get(order_id)
        if waiting is not None and waiting.account_id == account_id:
            return waiting
        order = self._core_order(account_id, order_id)
        if order is None or _purged(order):
            raise ApiError(404, "NotFound")
        return Known(order_id=order_id, client_oid=public_ids(order)[1], order=order)

    def cancel(self, account_id: str, reference: str) -> str:
        """End an open order; its id. 404 unknown, 400 when it is done."""
        order_id = self._resolve(account_id, reference)
        waiting = self._pending.get(order_id)
        if waiting is not None and waiting.account_id == account_id:
            self._open(order_id)  # the engine works in order: it sees the order before the cancel
        found = self.find(account_id, order_id)
        if isinstance(found, Received) or not found.order.open:
            raise ApiError(400, "Order already done")
        self._exchange.cancel(account_id, found.order.order_id)
        return order_id

    def cancel_all(self, account_id: str, symbol: str | None) -> list[str]:
        """End all open orders, of one product or of all; their ids."""
        for received in list(self._pending.values()):
            if received.account_id == account_id and symbol in (None, received.request.symbol):
                self._open(received.order_id)
        orders = self._exchange.open_orders(account_id, symbol)
        for order in orders:
            self._exchange.cancel(account_id, order.order_id)
        return [public_ids(order)[0] for order in orders]

    def orders(self, account_id: str, symbol: str | None) -> Iterable[AnyOrder]:
        """Every order that can still be seen, in no order."""
        for waiting in (*self._pending.values(), *self._rejected.values()):
            if waiting.account_id == account_id and symbol in (None, waiting.request.symbol):
                yield waiting
        for order in self._exchange.orders(account_id, symbol):
            if not _purged(order):
                order_id, client_oid = public_ids(order)
                yield Known(order_id=order_id, client_oid=client_oid, order=order)

    def know(self, account_id: str) -> None:
        """Index what the core remembers of an account from before a restart, once."""
        if account_id not in self._accounts:
            self._accounts.add(account_id)
            for order in self._exchange.orders(account_id):
                self._index(order)

    def core_id(self, account_id: str, reference: str) -> int | None:
        """The core's id of an order of the account, None when the engine never had it."""
        owner, core_id = self._in_core.get(self._resolve(account_id, reference), ("", 0))
        return core_id if owner == account_id else None

    def public_id(self, core_id: int | None) -> str | None:
        """The UUID of an order of ours in the core, when it is known."""
        return None if core_id is None else self._public.get(core_id)

    def _on_event(self, event: SimEvent) -> None:
        if isinstance(event, OrderEvent) and event.kind is OrderEventKind.NEW:
            self._index(event.order)

    def _index(self, order: SimOrder) -> None:
        order_id, client_oid = public_ids(order)
        _remember(self._in_core, order_id, (order.account_id, order.order_id))
        _remember(self._public, order.order_id, order_id)
        if client_oid is not None:
            _remember(self._by_client_oid, (order.account_id, client_oid), order_id)

    def _open(self, order_id: str) -> None:
        received = self._pending.pop(order_id, None)
        if received is None:
            return
        try:
            self._exchange.submit(received.account_id, received.request)
        except SimRefusal as refusal:
            reason = REASONS.get(refusal.kind, refusal.message)
            rejected = msgspec.structs.replace(received, reject_reason=reason)
            _remember(self._rejected, order_id, rejected)
            self._refused(rejected)

    def _resolve(self, account_id: str, reference: str) -> str:
        self.know(account_id)
        prefix, colon, client_oid = reference.partition(":")
        if colon and prefix == "client" and is_client_oid(client_oid):
            order_id = self._by_client_oid.get((account_id, client_oid))
            if order_id is None:
                raise ApiError(404, "NotFound")
            return order_id
        if colon or not is_order_id(reference):
            raise ApiError(400, "Invalid order id")
        return reference.lower()

    def _core_order(self, account_id: str, order_id: str) -> SimOrder | None:
        owner, core_id = self._in_core.get(order_id, ("", 0))
        return self._exchange.order(account_id, core_id) if owner == account_id else None

    def _check_funds(self, account_id: str, checked: CheckedOrder) -> None:
        instrument = self._exchange.instruments[checked.request.symbol]
        if not self._exchange.is_trading(instrument.symbol):
            raise ApiError(400, "Trading pair not available")
        if len(self._exchange.open_orders(account_id, instrument.symbol)) >= instrument.orders_max:
            raise ApiError(400, "Open order limit reached")
        currency, needed = self._hold(checked.request, checked.specified_funds)
        for waiting in self._pending.values():
            if waiting.account_id == account_id:
                other, held = self._hold(waiting.request, waiting.specified_funds)
                needed += held if other == currency else ZERO
        if self._exchange.ledger.free(account_id, currency) < needed:
            raise ApiError(400, "Insufficient funds")

    def _hold(self, request: NewOrder, specified_funds: Decimal | None) -> tuple[str, Decimal]:
        """(currency, amount): size for a sell; with its fee, what a buy may cost."""
        instrument = self._exchange.instruments[request.symbol]
        if request.side is Side.SELL:
            return instrument.base, request.quantity or ZERO
        if specified_funds is not None:
            return instrument.quote, specified_funds
        price = request.price
        if price is None or request.order_type is OrderType.MARKET:
            price = self._exchange.book(request.symbol).asks.best or ZERO
        rate = 1 + max(self._exchange.fee_maker, self._exchange.fee_taker)
        return instrument.quote, price * (request.quantity or ZERO) * rate


def _purged(order: SimOrder) -> bool:
    return not order.open and order.filled_quantity == 0


def _remember(into: dict[_K, _V], key: _K, value: _V) -> None:
    into.pop(key, None)
    into[key] = value
    if len(into) > REMEMBERED_MAX:
        del into[next(iter(into))]

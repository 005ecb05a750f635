"""Every order that the simulated exchange remembers, with its executions; bounded."""

from collections import deque
from collections.abc import Iterable

from trading_platform.simulation.model import SimOrder, SimTrade


class OrderRegister:
    """Orders by id, client id, account and state; remembers what changed until `drain`."""

    def __init__(self, closed_orders_max: int) -> None:
        self._closed_orders_max = closed_orders_max
        self._orders: dict[int, SimOrder] = {}
        self._open: dict[int, None] = {}
        self._closed: deque[int] = deque()
        self._by_client_id: dict[tuple[str, str], int] = {}
        self._trades: dict[int, list[SimTrade]] = {}
        self._changed_orders: dict[int, None] = {}
        self._changed_trades: list[SimTrade] = []

    def __getitem__(self, order_id: int) -> SimOrder:
        return self._orders[order_id]

    def get(self, order_id: int) -> SimOrder | None:
        """An order of any account."""
        return self._orders.get(order_id)

    def by_client_id(self, account_id: str, client_order_id: str) -> SimOrder | None:
        """The newest order with this client id."""
        order_id = self._by_client_id.get((account_id, client_order_id))
        return None if order_id is None else self._orders.get(order_id)

    def open_orders(self, account_id: str, symbol: str | None) -> list[SimOrder]:
        """Open orders, oldest first."""
        return _of((self._orders[order_id] for order_id in self._open), account_id, symbol)

    def orders(self, account_id: str, symbol: str | None) -> list[SimOrder]:
        """All orders, oldest first."""
        return _of(self._orders.values(), account_id, symbol)

    def trades(self, order_id: int) -> list[SimTrade]:
        """The executions of one order, oldest first."""
        return list(self._trades.get(order_id, ()))

    def put(self, order: SimOrder) -> None:
        """A new order, or a new value of a known one; a closed one stays closed."""
        known = self._orders.get(order.order_id)
        if known is None:
            self._by_client_id[order.account_id, order.client_order_id] = order.order_id
        if order.open:
            self._open[order.order_id] = None
        elif known is None or known.open:
            self._open.pop(order.order_id, None)
            self._closed.append(order.order_id)
        self._orders[order.order_id] = order
        self._changed_orders[order.order_id] = None

    def add_trade(self, trade: SimTrade) -> None:
        """One execution of an order."""
        self._trades.setdefault(trade.order_id, []).append(trade)
        self._changed_trades.append(trade)

    def drain(self) -> tuple[tuple[SimOrder, ...], tuple[SimTrade, ...]]:
        """What changed since the last call; the oldest closed orders are then forgotten."""
        orders = tuple(self._orders[order_id] for order_id in self._changed_orders)
        trades = tuple(self._changed_trades)
        self._changed_orders, self._changed_trades = {}, []
        while len(self._closed) > self._closed_orders_max:
            self._forget(self._closed.popleft())
        return orders, trades

    def _forget(self, order_id: int) -> None:
        order = self._orders.pop(order_id)
        self._trades.pop(order_id, None)
        client_key = (order.account_id, order.client_order_id)
        if self._by_client_id.get(client_key) == order_id:
            del self._by_client_id[client_key]


def _of(orders: Iterable[SimOrder], account_id: str, symbol: str | None) -> list[SimOrder]:
    return [o for o in orders if o.account_id == account_id and symbol in (None, o.symbol)]

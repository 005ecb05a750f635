"""What every Binance call has in common, by REST or WebSocket API: weight, identity, parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_limits import Budgets, Limits
from trading_platform.simulation.binance_params import Params
from trading_platform.simulation.binance_security import Security
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.gate import Answer
from trading_platform.simulation.model import (
    OrderEvent,
    SimEvent,
    SimKey,
    SimRefusal,
    SimulatedInstrument,
)

SIGNED_NAMES = frozenset({"timestamp", "recvWindow", "signature"})
SOCKET_NAMES = frozenset({"apiKey", "returnRateLimits"})


def names(text: str) -> frozenset[str]:
    """Parameter names written with spaces between."""
    return frozenset(text.split())


class Call(NamedTuple):
    """One admitted request. `key` is None for public operations."""

    params: Params
    key: SimKey | None

    @property
    def account_id(self) -> str:
        """The caller's account; only signed operations ask."""
        if self.key is None:
            raise errors.bad_key_format()
        return self.key.account_id


class Operation(NamedTuple):
    """One endpoint. `name` is its WebSocket API method, `routes` its REST methods and paths."""

    name: str
    routes: tuple[tuple[str, str], ...]
    handler: Callable[[Call], Any]
    names: frozenset[str] = frozenset()
    weight: Callable[[Params], int] = lambda _: 1
    security: Security = Security.NONE
    orders: bool = False
    """Whether it places or cancels: weighs nothing when it succeeds, counts as an order."""


class Venue:
    """The exchange with its budgets: what all operations stand on."""

    def __init__(self, exchange: SimulatedExchange, limits: Limits) -> None:
        self.exchange = exchange
        self.budgets = Budgets(limits)
        exchange.listen(self._on_event)

    @property
    def now_ns(self) -> int:
        """The simulator's clock."""
        return self.exchange.clock.time_ns()

    @property
    def now_s(self) -> int:
        """Whole Unix seconds."""
        return self.now_ns // 1_000_000_000

    def instrument(self, exchange_symbol: str) -> SimulatedInstrument:
        """A listed symbol, or -1121."""
        instrument = self.exchange.by_exchange_symbol.get(exchange_symbol)
        if instrument is None:
            raise errors.invalid_symbol()
        return instrument

    def execute(
        self,
        operation: Operation,
        params: Params,
        authenticate: Callable[[], SimKey | None],
        address: str,
    ) -> Answer:
        """Admit, identify, run; errors become answers."""
        weight = 1
        try:
            weight = operation.weight(params)
            self.budgets.admit(address, 0 if operation.orders else weight, self.now_s)
            key = authenticate()
            params.known_only(operation.names | SIGNED_NAMES | SOCKET_NAMES)
            body = _run(operation, Call(params, key))
        except errors.BinanceError as error:
            if operation.orders:
                self.budgets.charge(address, weight, self.now_s)
            return self._answer_error(error, address)
        headers = self.budgets.weight_headers(address, self.now_s)
        if operation.orders and key is not None:
            headers |= self.budgets.order_headers(key.account_id, self.now_s)
        return Answer(status=200, body=body, headers=headers)

    def _answer_error(self, error: errors.BinanceError, address: str) -> Answer:
        headers = self.budgets.weight_headers(address, self.now_s)
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        return Answer(status=error.status, body=error.body(), headers=headers)

    def _on_event(self, event: SimEvent) -> None:
        """The unfilled-order count goes down when an order fills for the first time."""
        if isinstance(event, OrderEvent) and event.trade is not None:
            order = event.order
            if order.filled_quantity == event.trade.quantity:
                self.budgets.count_order(order.account_id, -1, self.now_s)


def _run(operation: Operation, call: Call) -> Any:
    try:
        return operation.handler(call)
    except SimRefusal as refusal:
        raise errors.of_refusal(refusal) from refusal


def table(operations: list[Operation]) -> Mapping[tuple[str, str], Operation]:
    """REST routes."""
    return {route: operation for operation in operations for route in operation.routes}

"""Binance's orders: place, cancel, replace, ask (rest-api "Trading")."""

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_api import Call, Operation, Venue, names
from trading_platform.simulation.binance_filters import amount, check
from trading_platform.simulation.binance_orders import OrderRows, ResponseType, read_order
from trading_platform.simulation.binance_params import Params
from trading_platform.simulation.binance_security import Security
from trading_platform.simulation.model import (
    ZERO,
    NewOrder,
    SimOrder,
    SimRefusal,
    SimStatus,
)

_DAY_MS = 86_400_000
_ORDER_NAMES = names(
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId "
    "strategyType stopPrice trailingDelta icebergQty newOrderRespType selfTradePreventionMode"
)
_CANCEL_NAMES = names("symbol orderId origClientOrderId newClientOrderId cancelRestrictions")
_REPLACE_NAMES = names(
    "cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId "
    "cancelRestrictions orderRateLimitExceededMode"
)


class Restriction(StrEnum):
    """Cancel only in this state."""

    ONLY_NEW = "ONLY_NEW"
    ONLY_PARTIALLY_FILLED = "ONLY_PARTIALLY_FILLED"


class ReplaceMode(StrEnum):
    """Whether a failed cancel stops the new order."""

    STOP_ON_FAILURE = "STOP_ON_FAILURE"
    ALLOW_FAILURE = "ALLOW_FAILURE"


class Orders:
    """Answers order requests."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._exchange = venue.exchange
        self.rows = OrderRows(lambda symbol: venue.exchange.instruments[symbol].exchange_symbol)
        self._generated = 0

    def operations(self) -> list[Operation]:
        """The table of this file."""

        def signed(
            name: str,
            routes: tuple[tuple[str, str], ...],
            handler: Any,
            read: frozenset[str],
            weight: Any = 1,
            *,
            security: Security = Security.READ,
        ) -> Operation:
            weigh = weight if callable(weight) else lambda _: weight
            trading = security is Security.TRADE and name != "order.test"
            return Operation(name, routes, handler, read, weigh, security, trading)

        def by_symbol(with_symbol: int, without: int) -> Any:
            return lambda params: with_symbol if params.has("symbol") else without

        order, trade = "/api/v3/order", Security.TRADE
        return [
            signed("order.place", (("POST", order),), self.place, _ORDER_NAMES, security=trade),
            signed(
                "order.test",
                (("POST", f"{order}/test"),),
                self.test,
                _ORDER_NAMES | {"computeCommissionRates"},
                lambda params: 20 if params.has("computeCommissionRates") else 1,
                security=trade,
            ),
            signed(
                "order.cancel", (("DELETE", order),), self.cancel, _CANCEL_NAMES, security=trade
            ),
            signed(
                "order.cancelReplace",
                (("POST", f"{order}/cancelReplace"),),
                self.replace,
                _ORDER_NAMES | _REPLACE_NAMES,
                security=trade,
            ),
            signed(
                "openOrders.cancelAll",
                (("DELETE", "/api/v3/openOrders"),),
                self.cancel_all,
                names("symbol"),
                security=trade,
            ),
            signed(
                "order.status",
                (("GET", order),),
                self.status,
                names("symbol orderId origClientOrderId"),
                4,
            ),
            signed(
                "openOrders.status",
                (("GET", "/api/v3/openOrders"),),
                self.open_orders,
                names("symbol"),
                by_symbol(6, 80),
            ),
            signed(
                "allOrders",
                (("GET", "/api/v3/allOrders"),),
                self.all_orders,
                names("symbol orderId startTime endTime limit"),
                20,
            ),
            signed(
                "myTrades",
                (("GET", "/api/v3/myTrades"),),
                self.my_trades,
                names("symbol orderId fromId startTime endTime limit"),
                lambda params: 5 if params.has("orderId") else 20,
            ),
        ]

    def place(self, call: Call) -> Any:
        """Check, count, match."""
        request, kind = self._read(call)
        account_id, now_s = call.account_id, self._venue.now_s
        self._venue.budgets.admit_order(account_id, now_s)
        self._venue.budgets.count_order(account_id, 1, now_s)
        try:
            order = self._exchange.submit(account_id, request)
        except SimRefusal:
            self._venue.budgets.count_order(account_id, -1, now_s)
            raise
        trades = self._exchange.order_trades(order.order_id)
        return self.rows.placed(order, trades, kind, call.params)

    def test(self, call: Call) -> Any:
        """The same checks of shape and filters; nothing is placed."""
        self._read(call)
        if not call.params.flag("computeCommissionRates"):
            return {}
        rates = {
            "maker": amount(self._exchange.fee_maker),
            "taker": amount(self._exchange.fee_taker),
        }
        none = {"maker": amount(ZERO), "taker": amount(ZERO)}
        return {
            "standardCommissionForOrder": rates,
            "specialCommissionForOrder": none,
            "taxCommissionForOrder": none,
            "discount": {
                "enabledForAccount": False,
                "enabledForSymbol": False,
                "discountAsset": "BNB",
                "discount": amount(ZERO),
            },
        }

    def cancel(self, call: Call) -> Any:
        """End one open order."""
        order = self._named(call, errors.unknown_order(), "orderId", "origClientOrderId")
        return self._cancel(call, order, "newClientOrderId")

    def cancel_all(self, call: Call) -> Any:
        """End all open orders of a symbol."""
        symbol = self._venue.instrument(call.params.symbol()).symbol
        orders = self._exchange.open_orders(call.account_id, symbol)
        if not orders:
            raise errors.unknown_order()
        return [self._cancel(call, order, None) for order in orders]

    def replace(self, call: Call) -> Any:
        """Cancel, then place; half a success is a 409."""
        params = call.params
        mode = params.one_of("cancelReplaceMode", ReplaceMode, errors.missing("cancelReplaceMode"))
        canceled, cancel_error = self._attempt(lambda: self._cancel_replaced(call))
        placed: Any = None
        place_error: errors.BinanceError | None = None
        attempted = cancel_error is None or mode is ReplaceMode.ALLOW_FAILURE
        if attempted:
            placed, place_error = self._attempt(lambda: self.place(call))
        if cancel_error is None and place_error is None:
            return {
                "cancelResult": "SUCCESS",
                "newOrderResult": "SUCCESS",
                "cancelResponse": canceled,
                "newOrderResponse": placed,
            }
        data = {
            "cancelResult": "FAILURE" if cancel_error else "SUCCESS",
            "newOrderResult": "NOT_ATTEMPTED"
            if not attempted
            else ("FAILURE" if place_error else "SUCCESS"),
            "cancelResponse": cancel_error.body() if cancel_error else canceled,
            "newOrderResponse": place_error.body() if place_error else placed,
        }
        if cancel_error is not None and placed is None:
            raise errors.BinanceError(-2022, "Order cancel-replace failed.", 400, data=data)
        raise errors.BinanceError(-2021, "Order cancel-replace partially failed.", 409, data=data)

    def status(self, call: Call) -> Any:
        """One order in any state."""
        unknown = errors.BinanceError(-2013, "Order does not exist.")
        order = self._named(call, unknown, "orderId", "origClientOrderId")
        return self.rows.queried(order, call.params)

    def open_orders(self, call: Call) -> Any:
        """Open orders of one symbol or all."""
        symbol = None
        if call.params.has("symbol"):
            symbol = self._venue.instrument(call.params.symbol()).symbol
        orders = self._exchange.open_orders(call.account_id, symbol)
        return [self.rows.queried(order, call.params) for order in orders]

    def all_orders(self, call: Call) -> Any:
        """Orders of a symbol in any state, oldest first."""
        params = call.params
        symbol = self._venue.instrument(params.symbol()).symbol
        start, end = _interval(params)
        first, limit = params.integer("orderId"), params.limit(500, 1000)
        orders = [
            order
            for order in self._exchange.orders(call.account_id, symbol)
            if start <= order.created_ns // 1_000_000 <= end and order.order_id >= (first or 0)
        ]
        forward = first is not None or params.has("startTime")
        chosen = orders[:limit] if forward else orders[-limit:]
        return [self.rows.queried(order, params) for order in chosen]

    def my_trades(self, call: Call) -> Any:
        """Executions of a symbol, oldest first."""
        params = call.params
        symbol = self._venue.instrument(params.symbol()).symbol
        start, end = _interval(params)
        order_id, first = params.integer("orderId"), params.integer("fromId")
        if params.has("startTime") and (order_id is not None or first is not None):
            raise errors.BinanceError(-1128, "Combination of optional parameters invalid.")
        trades = [
            trade
            for trade in self._exchange.trades(call.account_id, symbol)
            if start <= trade.at_ns // 1_000_000 <= end
            and order_id in (None, trade.order_id)
            and trade.trade_id >= (first or 0)
        ]
        limit = params.limit(500, 1000)
        forward = first is not None or params.has("startTime")
        chosen = trades[:limit] if forward else trades[-limit:]
        return [self.rows.trade(trade, params) for trade in chosen]

    def _read(self, call: Call) -> tuple[NewOrder, ResponseType]:
        instrument = self._venue.instrument(call.params.symbol())
        request = read_order(call.params, instrument, self._generate_id())
        default = ResponseType.ACK if request.post_only else ResponseType.FULL
        kind = default
        if call.params.has("newOrderRespType"):
            refused = errors.BinanceError(-1116, "Invalid newOrderRespType.")
            kind = call.params.one_of("newOrderRespType", ResponseType, refused)
        open_count = len(self._exchange.open_orders(call.account_id, instrument.symbol))
        reference = self._exchange.reference_price(instrument.symbol)
        check(instrument, request, reference, open_count)
        return request, kind

    def _named(
        self, call: Call, unknown: errors.BinanceError, id_name: str, client_id_name: str
    ) -> SimOrder:
        """The order that the request names: by id first, then the client id must agree."""
        symbol = self._venue.instrument(call.params.symbol()).symbol
        order_id = call.params.integer(id_name)
        client_id = call.params.text_or(client_id_name, "")
        if order_id is None and not client_id:
            raise errors.BinanceError(
                -1102,
                f"Param '{client_id_name}' or '{id_name}' must be sent, but both were empty/null!",
            )
        if order_id is not None:
            order = self._exchange.order(call.account_id, order_id)
        else:
            order = self._exchange.order_by_client_id(call.account_id, client_id)
        if order is None or order.symbol != symbol:
            raise unknown
        if client_id and order.client_order_id != client_id:
            raise errors.BinanceError(-2039, "Client order ID is not correct for this order ID.")
        return order

    def _cancel(self, call: Call, order: SimOrder, cancel_id_name: str | None) -> dict[str, Any]:
        cancel_id = call.params.client_id(cancel_id_name) if cancel_id_name else None
        if call.params.has("cancelRestrictions"):
            _restrict(call.params, order)
        named = cancel_id or self._generate_id()
        ended = self._exchange.cancel(call.account_id, order.order_id, cancel_client_order_id=named)
        return self.rows.canceled(ended, named, call.params)

    def _cancel_replaced(self, call: Call) -> dict[str, Any]:
        order = self._named(
            call, errors.unknown_order(), "cancelOrderId", "cancelOrigClientOrderId"
        )
        return self._cancel(call, order, "cancelNewClientOrderId")

    def _attempt(
        self, act: Callable[[], dict[str, Any]]
    ) -> tuple[dict[str, Any] | None, errors.BinanceError | None]:
        try:
            return act(), None
        except errors.BinanceError as error:
            return None, error
        except SimRefusal as refusal:
            return None, errors.of_refusal(refusal)

    def _generate_id(self) -> str:
        """22 characters, as Binance generates them."""
        self._generated += 1
        seed = f"{self._venue.now_ns}:{self._generated}".encode()
        return hashlib.sha256(seed).hexdigest()[:22]


def _restrict(params: Params, order: SimOrder) -> None:
    refused = errors.BinanceError(-1145, "Invalid cancelRestrictions.")
    wanted = params.one_of("cancelRestrictions", Restriction, refused)
    allowed = {
        Restriction.ONLY_NEW: SimStatus.NEW,
        Restriction.ONLY_PARTIALLY_FILLED: SimStatus.PARTIALLY_FILLED,
    }[wanted]
    if order.open and order.status is not allowed:
        raise errors.BinanceError(-2011, "Order was not canceled due to cancel restrictions.")


def _interval(params: Params) -> tuple[int, int]:
    """(startTime, endTime) in milliseconds; at most 24 hours apart."""
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is not None and end is not None and end - start > _DAY_MS:
        raise errors.BinanceError(-1127, "More than 24 hours between startTime and endTime.")
    return start or 0, 2**62 if end is None else end

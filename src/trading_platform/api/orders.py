"""/v1/orders: submit, look, cancel."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from trading_platform.api.fields import (
    CursorText,
    DecimalText,
    SymbolText,
    check_symbol,
    given,
    positive,
)
from trading_platform.api.order_views import FillList, OrderList, OrderView, fill_view, order_view
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Nothing, Route
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import (
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading_platform.tenants.model import Permission


class SubmitOrder(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What to trade. Leave `price` out for a MARKET order."""

    exchange_id: ExchangeId
    symbol: SymbolText
    side: Side
    order_type: OrderType
    quantity: DecimalText
    price: DecimalText | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False


class ListOrders(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Which orders; `open` means: not in a final state."""

    status: OrderStatus | UnsetType = UNSET
    open_only: bool = msgspec.field(default=False, name="open")
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000, description="1 to 1000")] = 50
    after: CursorText | UnsetType = UNSET


def request_of(body: SubmitOrder) -> OrderRequest:
    """The request in our own words; INVALID_REQUEST when its parts contradict each other."""
    check_symbol(body.symbol)
    market = body.order_type is OrderType.MARKET
    if market and body.price is not None:
        raise ServiceError("`price`: a MARKET order has none.", "INVALID_REQUEST")
    if not market and body.price is None:
        raise ServiceError("`price`: a LIMIT order needs one.", "INVALID_REQUEST")
    if body.post_only and (market or body.time_in_force is not TimeInForce.GTC):
        raise ServiceError("`postOnly` needs a LIMIT order with GTC.", "INVALID_REQUEST")
    return OrderRequest(
        exchange_id=body.exchange_id,
        symbol=body.symbol,
        side=body.side,
        order_type=body.order_type,
        quantity=positive(body.quantity, "quantity"),
        price=None if body.price is None else positive(body.price, "price"),
        time_in_force=body.time_in_force,
        post_only=body.post_only,
    )


_UNANSWERED = (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN)
_REFUSED = {OrderStatus.REJECTED: "ORDER_REJECTED", OrderStatus.DENIED: "ORDER_DENIED"}


def submitted(order: Order) -> Answer:
    """201 when the exchange's answer is known, 202 when nobody knows; a refusal is a problem."""
    if order.status in _REFUSED:
        raise ServiceError(
            order.reason or "The order was refused without a reason.",
            _REFUSED[order.status],
            metadata={"orderId": order.order_id, "status": order.status.value},
        )
    status = 202 if order.status in _UNANSWERED else 201
    return Answer(order_view(order), status, headers={"Location": f"/v1/orders/{order.order_id}"})


async def submit_order(services: Services, call: Call[Nothing, SubmitOrder]) -> Answer:
    """Submit once per Idempotency-Key."""
    request = request_of(call.body)
    started = services.clock.monotonic()
    order = await services.orders.submit(call.caller.tenant_id, request, call.idempotency_key)
    _measure(services, order, services.clock.monotonic() - started)
    return submitted(order)


async def repeats_order(services: Services, call: Call[Nothing, SubmitOrder]) -> bool:
    """Whether the Idempotency-Key names an order already: submitting again only reads it."""
    request = request_of(call.body)
    known = await services.orders.promised(call.caller.tenant_id, request, call.idempotency_key)
    return known is not None


def _measure(services: Services, order: Order, took_s: float) -> None:
    account = {"tenant_id": order.tenant_id, "exchange_id": order.exchange_id.value}
    accepted = order.status not in (*_UNANSWERED, *_REFUSED, OrderStatus.NOT_PLACED)
    services.metrics.record("OrderSubmissionLatency", took_s, **account)
    services.metrics.record("OrderSuccessRate", float(accepted), **account)


async def list_orders(services: Services, call: Call[ListOrders, Nothing]) -> Answer:
    """The caller's orders."""
    query = call.query
    orders, after = await services.orders.list_orders(
        call.caller.tenant_id,
        status=given(query.status),
        open_only=query.open_only,
        limit=query.limit,
        after=given(query.after),
    )
    return Answer(OrderList(orders=tuple(order_view(order) for order in orders), after=after))


async def get_order(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """One order."""
    return Answer(order_view(await _order(services, call)))


async def get_fills(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Its fills."""
    order = await _order(services, call)
    fills = tuple(fill_view(fill) for fill in order.fills)
    return Answer(FillList(order_id=order.order_id, fills=fills))


async def cancel_order(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Ask for its end; asking again is fine."""
    order = await services.orders.cancel(call.caller.tenant_id, call.path["orderId"])
    waiting = order.status in (OrderStatus.CANCEL_PENDING, *_UNANSWERED)
    return Answer(order_view(order), 202 if waiting else 200)


async def _order(services: Services, call: Call[Nothing, Nothing]) -> Order:
    return await services.orders.get(call.caller.tenant_id, call.path["orderId"])


ROUTES = (
    Route(
        method="POST",
        path="/v1/orders",
        operation="submitOrder",
        handler=submit_order,
        summary="Submit an order once; 202 means that the exchange has not answered yet",
        tag="orders",
        permission=Permission.TRADE,
        limit=Limit.ORDER,
        body=SubmitOrder,
        idempotent=True,
        repeats=repeats_order,
        answers={201: OrderView, 202: OrderView},
        errors=(
            "NOT_FOUND",
            "IDEMPOTENCY_CONFLICT",
            "ORDER_DENIED",
            "ORDER_REJECTED",
            "TRADING_HALTED",
            "EXCHANGE_UNAVAILABLE",
        ),
        example={
            "exchangeId": "BINANCE",
            "symbol": "BTC-USDT",
            "side": "BUY",
            "orderType": "LIMIT",
            "quantity": "0.001",
            "price": "60000",
            "timeInForce": "GTC",
        },
    ),
    Route(
        method="GET",
        path="/v1/orders",
        operation="listOrders",
        handler=list_orders,
        summary="List orders, newest first",
        tag="orders",
        permission=Permission.READ,
        query=ListOrders,
        answers={200: OrderList},
    ),
    Route(
        method="GET",
        path="/v1/orders/{orderId}",
        operation="getOrder",
        handler=get_order,
        summary="One order as it stands by the evidence",
        tag="orders",
        permission=Permission.READ,
        answers={200: OrderView},
        errors=("NOT_FOUND",),
    ),
    Route(
        method="DELETE",
        path="/v1/orders/{orderId}",
        operation="cancelOrder",
        handler=cancel_order,
        summary="Cancel an order; 202 means that the exchange has not confirmed its end yet",
        tag="orders",
        permission=Permission.TRADE,
        limit=Limit.STOPPING,
        answers={200: OrderView, 202: OrderView},
        errors=("NOT_FOUND", "CONFLICT", "EXCHANGE_UNAVAILABLE"),
    ),
    Route(
        method="GET",
        path="/v1/orders/{orderId}/fills",
        operation="listFills",
        handler=get_fills,
        summary="The fills of an order",
        tag="orders",
        permission=Permission.READ,
        answers={200: FillList},
        errors=("NOT_FOUND",),
    ),
)

"""Orders and fills as the API shows them: decimals are plain strings, times RFC 3339."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from trading_platform.kit.decimals import plain
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import (
    Fill,
    Liquidity,
    Order,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)

_AVERAGE_STEP = Decimal("1e-12")


class FillView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One execution."""

    trade_id: str
    price: str
    quantity: str
    fee: str
    fee_currency: str
    liquidity: Liquidity
    event_at: datetime


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order as it stands by the evidence. `status` UNKNOWN: nobody knows yet, and it is being
    looked up.
    """

    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    exchange_id: ExchangeId
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: str
    price: str | None
    status: OrderStatus
    filled_quantity: str
    remaining_quantity: str
    average_price: str | None
    reason: str | None
    fills: tuple[FillView, ...]
    created_at: datetime
    updated_at: datetime


class OrderList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Orders, newest first; `after` leads to more."""

    orders: tuple[OrderView, ...]
    after: str | None


class FillList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fills of one order."""

    order_id: str
    fills: tuple[FillView, ...]


def fill_view(fill: Fill) -> FillView:
    """A fill as the API shows it."""
    return FillView(
        trade_id=fill.trade_id,
        price=plain(fill.price),
        quantity=plain(fill.quantity),
        fee=plain(fill.fee),
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        event_at=fill.event_at,
    )


def order_view(order: Order) -> OrderView:
    """An order as the API shows it; decimals are plain strings, the average has 12 places."""
    average = order.average_price
    return OrderView(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        exchange_order_id=order.exchange_order_id,
        exchange_id=order.exchange_id,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
        quantity=plain(order.quantity),
        price=None if order.price is None else plain(order.price),
        status=order.status,
        filled_quantity=plain(order.filled_quantity),
        remaining_quantity=plain(order.remaining_quantity),
        average_price=None
        if average is None
        else plain(average.quantize(_AVERAGE_STEP, ROUND_HALF_EVEN)),
        reason=order.reason,
        fills=tuple(fill_view(fill) for fill in order.fills),
        created_at=order.created_at,
        updated_at=order.updated_at,
    )

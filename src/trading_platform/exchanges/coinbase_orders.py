"""Coinbase Exchange orders and fills as evidence (rest-api "Orders", "Fills").

1. A status that we do not know closes nothing: it is read as open.
2. "done" with reason canceled may have filled in part: the filled quantity is always filled_size.
3. What the engine ended by itself (IOC, FOK, market remainders) is EXPIRED, as on Binance.
"""

from datetime import datetime
from decimal import Decimal

import msgspec

from trading_platform.exchanges.reading import finite
from trading_platform.market.orders import (
    Fill,
    Liquidity,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    TimeInForce,
)


class OrderRow(msgspec.Struct, frozen=True):
    """An order in any of the shapes of the REST API."""

    id: str
    product_id: str
    status: str
    type: str = ""
    time_in_force: str = ""
    client_oid: str | None = None
    filled_size: Decimal = Decimal(0)
    executed_value: Decimal | None = None
    done_at: datetime | None = None
    done_reason: str | None = None
    reject_reason: str | None = None
    created_at: datetime | None = None


class FillRow(msgspec.Struct, frozen=True):
    """One row of /fills; `fee` is in the quote currency."""

    trade_id: int
    product_id: str
    order_id: str
    price: Decimal
    size: Decimal
    fee: Decimal
    created_at: datetime
    liquidity: str = "T"


def report(row: OrderRow, order: Order | None = None) -> OrderReport | None:
    """What the row proves; `order` is ours where we asked for it by name."""
    filled = finite(row.filled_size)
    if filled is None:
        return None
    return OrderReport(
        exchange_order_id=row.id,
        client_order_id=row.client_oid or (order.client_order_id if order else None),
        exchange_symbol=row.product_id,
        status=_status(row, filled, _ends_by_itself(row, order)),
        filled_quantity=filled,
        filled_notional=finite(row.executed_value),
        reason=row.reject_reason or row.done_reason,
        event_at=row.done_at or row.created_at,
    )


def _status(row: OrderRow, filled: Decimal, ends_by_itself: bool) -> OrderStatus:
    if row.status == "rejected":
        return OrderStatus.REJECTED
    if row.status == "done" and row.done_reason == "filled":
        return OrderStatus.FILLED
    if row.status == "done":
        return OrderStatus.EXPIRED if ends_by_itself else OrderStatus.CANCELED
    return OrderStatus.PARTIALLY_FILLED if filled > 0 else OrderStatus.OPEN


def _ends_by_itself(row: OrderRow, order: Order | None) -> bool:
    if order is not None:
        return order.order_type is OrderType.MARKET or order.time_in_force is not TimeInForce.GTC
    return row.type == "market" or row.time_in_force in {"IOC", "FOK"}


def fill_of(row: FillRow) -> Fill:
    """One of our executions."""
    return Fill(
        trade_id=str(row.trade_id),
        price=row.price,
        quantity=row.size,
        fee=row.fee,
        fee_currency=row.product_id.rpartition("-")[2],
        liquidity=Liquidity.MAKER if row.liquidity == "M" else Liquidity.TAKER,
        event_at=row.created_at,
    )

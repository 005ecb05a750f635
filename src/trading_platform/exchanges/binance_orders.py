"""Binance orders and fills as evidence (rest-api "New order", "Query order", "Account trades").

1. A status that we do not know closes nothing: it is read as open.
2. EXPIRED does not mean that nothing traded; the filled quantity is always executedQty.
3. A negative cummulativeQuoteQty (very old orders) means unknown, never a number.
"""

from decimal import Decimal

import msgspec

from trading_platform.exchanges.reading import finite, time_of_ms
from trading_platform.market.orders import Fill, Liquidity, OrderReport, OrderStatus

_CLOSED = {
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}


class PlacedFill(msgspec.Struct, frozen=True, rename="camel"):
    """One of `fills` in the answer to a new order; always a taker's."""

    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    trade_id: int


class OrderRow(msgspec.Struct, frozen=True, rename="camel"):
    """An order in any of the shapes of the REST API: ACK, RESULT, FULL, cancel, query."""

    symbol: str
    order_id: int
    client_order_id: str
    orig_client_order_id: str = ""
    transact_time: int = 0
    update_time: int = 0
    executed_qty: Decimal = Decimal(0)
    cummulative_quote_qty: Decimal | None = None
    status: str = ""
    expiry_reason: str | None = None
    fills: tuple[PlacedFill, ...] = ()


class TradeRow(msgspec.Struct, frozen=True, rename="camel"):
    """One row of myTrades."""

    id: int
    order_id: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_maker: bool


def status_of(text: str, filled: Decimal) -> OrderStatus:
    """Our word for theirs."""
    closed = _CLOSED.get(text)
    if closed is not None:
        return closed
    return OrderStatus.PARTIALLY_FILLED if filled > 0 else OrderStatus.OPEN


def report(row: OrderRow) -> OrderReport | None:
    """What the row proves; None where its numbers are none."""
    filled = finite(row.executed_qty)
    if filled is None:
        return None
    event_at = time_of_ms(row.update_time or row.transact_time)
    return OrderReport(
        exchange_order_id=str(row.order_id),
        # In a cancel's answer clientOrderId names the cancel request, not the order.
        client_order_id=row.orig_client_order_id or row.client_order_id,
        exchange_symbol=row.symbol,
        status=status_of(row.status, filled),
        filled_quantity=filled,
        filled_notional=finite(row.cummulative_quote_qty),
        fills=_placed_fills(row),
        reason=row.expiry_reason,
        event_at=event_at,
    )


def _placed_fills(row: OrderRow) -> tuple[Fill, ...]:
    at = time_of_ms(row.transact_time)
    if at is None:  # no time, no fill: the ledger of fills is asked instead
        return ()
    return tuple(
        Fill(
            trade_id=str(fill.trade_id),
            price=fill.price,
            quantity=fill.qty,
            fee=fill.commission,
            fee_currency=fill.commission_asset,
            liquidity=Liquidity.TAKER,
            event_at=at,
        )
        for fill in row.fills
    )


def fill_of(row: TradeRow) -> Fill | None:
    """One of our executions; None where the row has no usable time."""
    at = time_of_ms(row.time)
    if at is None:
        return None
    return Fill(
        trade_id=str(row.id),
        price=row.price,
        quantity=row.qty,
        fee=row.commission,
        fee_currency=row.commission_asset,
        liquidity=Liquidity.MAKER if row.is_maker else Liquidity.TAKER,
        event_at=at,
    )

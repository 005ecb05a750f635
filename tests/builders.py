"""Valid things by default: a test says only what matters to it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import (
    Fill,
    Liquidity,
    Order,
    OrderReport,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)


def an_instrument(**changes: Any) -> Instrument:
    """BTC-USDT on Binance."""
    return msgspec.structs.replace(
        Instrument(
            exchange_id=ExchangeId.BINANCE,
            symbol="BTC-USDT",
            exchange_symbol="BTCUSDT",
            base="BTC",
            quote="USDT",
            price_increment=Decimal("0.01"),
            quantity_increment=Decimal("0.00001"),
            quantity_min=Decimal("0.00001"),
            quantity_max=Decimal(9000),
            notional_min=Decimal(5),
            notional_max=Decimal(9_000_000),
        ),
        **changes,
    )


def a_request(**changes: Any) -> OrderRequest:
    """Buy 0.01 BTC at 60,000 USDT."""
    return msgspec.structs.replace(
        OrderRequest(
            exchange_id=ExchangeId.BINANCE,
            symbol="BTC-USDT",
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            quantity=Decimal("0.01"),
            price=Decimal(60_000),
        ),
        **changes,
    )


def an_order(**changes: Any) -> Order:
    """The order of `a_request`, about to be sent."""
    return msgspec.structs.replace(
        Order(
            order_id="order-1",
            tenant_id="tenant-1",
            client_order_id="7ad1f0c2-0000-4000-8000-000000000001",
            exchange_id=ExchangeId.BINANCE,
            symbol="BTC-USDT",
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            quantity=Decimal("0.01"),
            price=Decimal(60_000),
            status=OrderStatus.SUBMITTING,
            created_at=NOW,
            updated_at=NOW,
        ),
        **changes,
    )


def a_fill(**changes: Any) -> Fill:
    """0.004 BTC at 60,000."""
    return msgspec.structs.replace(
        Fill(
            trade_id="1001",
            price=Decimal(60_000),
            quantity=Decimal("0.004"),
            fee=Decimal("0.000004"),
            fee_currency="BTC",
            liquidity=Liquidity.TAKER,
            event_at=NOW,
        ),
        **changes,
    )


def a_report(**changes: Any) -> OrderReport:
    """The exchange says: open, nothing filled."""
    return msgspec.structs.replace(
        OrderReport(
            exchange_order_id="31400271",
            client_order_id="7ad1f0c2-0000-4000-8000-000000000001",
            exchange_symbol="BTCUSDT",
            status=OrderStatus.OPEN,
            filled_quantity=Decimal(0),
            filled_notional=Decimal(0),
            event_at=NOW,
        ),
        **changes,
    )

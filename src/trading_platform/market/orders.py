"""Orders and fills: the words, not the rules (those stand in orders/machine.py)."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_platform.market.instruments import ExchangeId


class Side(StrEnum):
    """Which way we trade, in base."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """How the price is set."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"


class TimeInForce(StrEnum):
    """How long the order may rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """Where an order stands. Closed ones are in CLOSED."""

    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    CANCEL_PENDING = "CANCEL_PENDING"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    NOT_PLACED = "NOT_PLACED"
    DENIED = "DENIED"


CLOSED = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
        OrderStatus.NOT_PLACED,
        OrderStatus.DENIED,
    }
)


class Liquidity(StrEnum):
    """Whether our order was resting (MAKER) or arriving (TAKER)."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for. `price` is None for MARKET; quantity is in base."""

    exchange_id: ExchangeId
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of ours; (exchange_id, symbol, trade_id) names it for ever."""

    trade_id: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    event_at: datetime


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence: what an exchange said of one order at one moment.

    `status` is OPEN, PARTIALLY_FILLED, FILLED, CANCELED, REJECTED or EXPIRED. `filled_quantity` is
    cumulative,
    `filled_notional` too (quote; None where the exchange did not say). `fills` holds those the
    message carried,
    which may be fewer than all.
    """

    exchange_order_id: str
    client_order_id: str | None
    exchange_symbol: str
    status: OrderStatus
    filled_quantity: Decimal
    filled_notional: Decimal | None = None
    fills: tuple[Fill, ...] = ()
    reason: str | None = None
    event_at: datetime | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a tenant. A change is a new value made by orders/machine.py."""

    order_id: str
    tenant_id: str
    client_order_id: str
    exchange_id: ExchangeId
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal
    price: Decimal | None
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    exchange_order_id: str | None = None
    sent_at: datetime | None = None
    """When the request that may have created it was signed; bounds how long it can still be
    accepted.
    """
    filled_quantity: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    fills: tuple[Fill, ...] = ()
    reported_quantity: Decimal = Decimal(0)
    """The largest cumulative fill the exchange reported; the fills we hold may lag behind."""
    reported_notional: Decimal | None = None
    """Quote amount of `reported_quantity`; None while the exchange has not said."""
    cancel_requested: bool = False
    inferred: bool = False
    """Whether a closed status was concluded by us and may be taken back by late evidence."""
    reason: str | None = None

    @property
    def remaining_quantity(self) -> Decimal:
        """What has not been filled."""
        return self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Over the fills; None before the first."""
        return (
            self.filled_notional / self.filled_quantity
            if self.filled_quantity and self.filled_notional
            else None
        )

"""The words of the simulated exchange: instruments, orders, trades, and the events it tells."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_platform.market.orders import OrderType, Side, TimeInForce

ZERO = Decimal(0)
ALL_PERMISSIONS = frozenset({"READ", "TRADE"})


class SelfTradePrevention(StrEnum):
    """What happens when an account would trade with itself; the taker's mode decides.

    Binance names. Coinbase: dc = DECREMENT, co = EXPIRE_MAKER, cn = EXPIRE_TAKER, cb = EXPIRE_BOTH.
    """

    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"
    DECREMENT = "DECREMENT"


class FeeRule(StrEnum):
    """RECEIVED takes the fee from what is received (Binance); QUOTE adds it in quote (Coinbase)."""

    RECEIVED = "RECEIVED"
    QUOTE = "QUOTE"


class SimStatus(StrEnum):
    """Where an order of the simulated exchange stands."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"


OPEN_STATUSES = frozenset({SimStatus.NEW, SimStatus.PARTIALLY_FILLED})


class RefusalKind(StrEnum):
    """Why the exchange core refused; each server says it in its exchange's own words."""

    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    MARKET_CLOSED = "MARKET_CLOSED"
    DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    WOULD_TAKE = "WOULD_TAKE"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    INVALID = "INVALID"


class SimRefusal(Exception):
    """The order or cancel was refused and nothing changed."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class SimulatedInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable symbol with the rules its orders must keep. A bound of zero is switched off."""

    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    price_increment: Decimal
    quantity_increment: Decimal
    price_min: Decimal = ZERO
    price_max: Decimal = ZERO
    quantity_min: Decimal = ZERO
    quantity_max: Decimal = ZERO
    market_quantity_max: Decimal = ZERO
    notional_min: Decimal = ZERO
    notional_max: Decimal = ZERO
    percent_up: Decimal = Decimal(5)
    """A price may be at most this multiple of the reference price."""
    percent_down: Decimal = Decimal("0.2")
    orders_max: int = 200
    """Open orders of one account in this symbol."""
    trading: bool = True
    synthetic: bool = False
    """Whether its prices are invented (seeded path) rather than recorded."""


class SimKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key of a simulated account; `permissions` holds READ, TRADE,
    WITHDRAW (with which goes TRANSFER) and TRANSFER.
    """

    api_key: str
    account_id: str
    secret: str
    passphrase: str | None = None
    ed25519_public_pem: str | None = None
    permissions: frozenset[str] = ALL_PERMISSIONS
    ip_restricted: bool = True
    created_ms: int = 0


class SimBalance(msgspec.Struct, frozen=True, kw_only=True):
    """One currency of one account: `locked` is held by open orders."""

    currency: str
    free: Decimal
    locked: Decimal


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an account asks for. MARKET takes `quantity` or `quote_quantity`, LIMIT both price and
    quantity.
    """

    symbol: str
    side: Side
    order_type: OrderType
    client_order_id: str
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.EXPIRE_MAKER


class SimOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the exchange keeps it. Times are Unix nanoseconds.

    `quantity` of an order by quote quantity is what it has bought or sold. What rests is
    quantity - filled - prevented.
    """

    order_id: int
    account_id: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    quantity: Decimal
    quote_quantity: Decimal | None
    price: Decimal | None
    status: SimStatus
    created_ns: int
    updated_ns: int
    filled_quantity: Decimal = ZERO
    filled_notional: Decimal = ZERO
    prevented_quantity: Decimal = ZERO
    fees: Decimal = ZERO
    fee_currency: str | None = None
    locked: Decimal = ZERO
    """What of the account is still held for it: quote for BUY, base for SELL."""
    rested: bool = False
    """Whether it ever stood in the book."""
    reason: str | None = None
    """Why it expired, in Binance's `expiryReason` words."""

    @property
    def open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN_STATUSES

    @property
    def remaining_quantity(self) -> Decimal:
        """What can still trade."""
        return self.quantity - self.filled_quantity - self.prevented_quantity


class SimTrade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one account's order; an own taker and an own maker each get one."""

    trade_id: int
    symbol: str
    order_id: int
    account_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    at_ns: int


class OrderEventKind(StrEnum):
    """What happened to an order. RESTED: what is left of it now stands in the book."""

    NEW = "NEW"
    TRADE = "TRADE"
    RESTED = "RESTED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    PREVENTED = "PREVENTED"


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An order changed; `order` is its new value, `execution_id` grows by one with every event."""

    kind: OrderEventKind
    order: SimOrder
    execution_id: int
    at_ns: int
    trade: SimTrade | None = None
    cancel_client_order_id: str | None = None
    prevented_quantity: Decimal = ZERO


class BalanceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The balances that one operation changed; comes after its order events."""

    account_id: str
    balances: tuple[SimBalance, ...]
    at_ns: int
    deposit: SimBalance | None = None
    """Set when money came from outside: `free` is what was added."""


class PublicTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade everyone sees. Order ids are set for our own orders only."""

    trade_id: int
    symbol: str
    price: Decimal
    quantity: Decimal
    taker_side: Side
    at_ns: int
    maker_order_id: int | None = None
    taker_order_id: int | None = None


class BookChange(msgspec.Struct, frozen=True, kw_only=True):
    """Levels that changed, with their new total quantity (0: gone).

    Update ids first_id..last_id are consecutive with the previous change of the symbol.
    """

    symbol: str
    first_id: int
    last_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    at_ns: int
    replaced: bool = False
    """Whether a snapshot replaced the whole external book."""


SimEvent = OrderEvent | BalanceEvent | PublicTrade | BookChange

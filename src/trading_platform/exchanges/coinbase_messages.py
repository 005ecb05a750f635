"""Every message of Coinbase's feed, typed, for tools and checks (websocket-feed/channels).

The hot path does not come here: it reads only quotes and trades, in coinbase_market.py.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from trading_platform.exchanges.coinbase_user import UserMessage

Level = tuple[Decimal, Decimal]
"""Price and size; a size of zero removes the level."""
Change = tuple[Literal["buy", "sell"], Decimal, Decimal]


class Channel(msgspec.Struct, frozen=True):
    """One channel of an acknowledgement."""

    name: str
    product_ids: tuple[str, ...] = ()


class Subscriptions(msgspec.Struct, frozen=True):
    """All subscriptions of the connection."""

    channels: tuple[Channel, ...]


class Refusal(msgspec.Struct, frozen=True):
    """error"""

    message: str
    reason: str = ""


class Heartbeat(msgspec.Struct, frozen=True):
    """heartbeat"""

    product_id: str
    last_trade_id: int
    sequence: int
    time: datetime


class Match(msgspec.Struct, frozen=True):
    """match and last_match; `side` is the maker's."""

    product_id: str
    trade_id: int
    side: Literal["buy", "sell"]
    size: Decimal
    price: Decimal
    time: datetime


class Ticker(msgspec.Struct, frozen=True):
    """ticker; time and side are missing in the one sent on subscribing of old recordings."""

    product_id: str
    price: Decimal
    best_bid: Decimal
    best_ask: Decimal
    sequence: int
    time: datetime | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """snapshot of a level 2 channel."""

    product_id: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Update(msgspec.Struct, frozen=True):
    """l2update: sizes are absolute."""

    product_id: str
    changes: tuple[Change, ...]
    time: datetime | None = None


class Product(msgspec.Struct, frozen=True):
    """A product in a status message."""

    id: str
    base_currency: str
    quote_currency: str
    status: str


class Status(msgspec.Struct, frozen=True):
    """status"""

    products: tuple[Product, ...]


CandleRow = tuple[int, float, float, float, float, float]
"""GET candles: Unix seconds, low, high, open, close, volume; minutes without trades are missing."""


class Book(msgspec.Struct, frozen=True):
    """GET book: (price, size, order count) at levels 1 and 2, (price, size, order id) at 3."""

    bids: tuple[tuple[Decimal, Decimal, int | str], ...]
    asks: tuple[tuple[Decimal, Decimal, int | str], ...]
    sequence: int | float


class TickerRow(msgspec.Struct, frozen=True):
    """GET ticker"""

    price: Decimal
    bid: Decimal
    ask: Decimal
    trade_id: int


Message = (
    Subscriptions | Refusal | Heartbeat | Match | Ticker | Snapshot | Update | Status | UserMessage
)

KINDS: dict[str, type[Message]] = {
    "subscriptions": Subscriptions,
    "error": Refusal,
    "heartbeat": Heartbeat,
    "match": Match,
    "last_match": Match,
    "ticker": Ticker,
    "snapshot": Snapshot,
    "l2update": Update,
    "status": Status,
    "received": UserMessage,
    "open": UserMessage,
    "done": UserMessage,
    "change": UserMessage,
    "activate": UserMessage,
}


class _Shape(msgspec.Struct, frozen=True):
    type: str


def parse(frame: bytes) -> tuple[str, Message]:
    """(type, message). Raises msgspec.DecodeError for what is none of these."""
    kind = msgspec.json.decode(frame, type=_Shape).type
    wanted = KINDS.get(kind)
    if wanted is None:
        raise msgspec.ValidationError(f"no such type: {kind[:40]}")
    return kind, msgspec.json.decode(frame, type=wanted)

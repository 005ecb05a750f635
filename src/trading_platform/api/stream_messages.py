"""What is said on the stream: a client sends one JSON object a frame, we send arrays of them."""

from typing import Annotated, Literal

import msgspec

from trading_platform.api.fields import SymbolText
from trading_platform.api.order_views import OrderView
from trading_platform.api.problems import Problem
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal

SYMBOLS_MAX = 100

Symbols = Annotated[
    list[SymbolText],
    msgspec.Meta(max_length=SYMBOLS_MAX, description=f"up to {SYMBOLS_MAX} symbols"),
]


class _Ask(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    tag_field="type",
    forbid_unknown_fields=True,
):
    pass


class _Say(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    pass


class Auth(_Ask, frozen=True, tag="auth"):
    """The first message of a client that cannot set headers."""

    api_key: Annotated[str, msgspec.Meta(max_length=256)]


class Channel(_Ask, frozen=True):
    """`prices` of these symbols, or all `orders` of the tenant."""

    channel: Literal["prices", "orders"]
    symbols: Symbols = []


class Subscribe(Channel, frozen=True, tag="subscribe"):
    """Start to hear."""


class Unsubscribe(Channel, frozen=True, tag="unsubscribe"):
    """Hear no longer."""


Ask = Auth | Subscribe | Unsubscribe


class Welcome(_Say, frozen=True, tag="welcome"):
    """Signed in."""

    tenant_id: str


class Subscribed(_Say, frozen=True, tag="subscribed"):
    """What is heard now; the snapshot follows."""

    channel: str
    symbols: tuple[str, ...]


class Unsubscribed(_Say, frozen=True, tag="unsubscribed"):
    """What is no longer heard."""

    channel: str
    symbols: tuple[str, ...]


class PriceSaid(_Say, frozen=True, tag="price"):
    """A new price; the first after subscribing is the snapshot."""

    price: AggregatedPrice


class PriceRefused(_Say, frozen=True, tag="priceUnavailable"):
    """There is no price to trust any more, and why."""

    refusal: PriceRefusal


class OpenOrders(_Say, frozen=True, tag="openOrders"):
    """The snapshot of the tenant's open orders; `complete` false: there are more than these."""

    orders: tuple[OrderView, ...]
    complete: bool


class OrderSaid(_Say, frozen=True, tag="order"):
    """An order took a new state."""

    order: OrderView


class Refused(_Say, frozen=True, tag="error"):
    """What you sent was refused."""

    problem: Problem


def price_message(price: AggregatedPrice | PriceRefusal) -> bytes:
    """The price, or the refusal of one."""
    if isinstance(price, AggregatedPrice):
        return msgspec.json.encode(PriceSaid(price=price))
    return msgspec.json.encode(PriceRefused(refusal=price))

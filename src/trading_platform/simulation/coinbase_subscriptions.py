"""What one subscribe or unsubscribe frame asks of the simulated Coinbase feed. Pure."""

from collections.abc import Collection, Mapping

import msgspec

from trading_platform.simulation.coinbase_messages import NEEDS_LOGIN

WITHOUT_PRODUCTS = frozenset({"status"})
PUBLIC = frozenset({"heartbeat", "status", "ticker", "ticker_batch", "matches", "level2_batch"})
PRIVATE = frozenset({"level2", "full", "user"})
ALIASES = {"level2_50": "level2_batch", "ticker_1000": "ticker_batch"}
FAILED = {"subscribe": "Failed to subscribe", "unsubscribe": "Failed to unsubscribe"}

Wanted = dict[str, tuple[str, ...]]
"""Channel to product ids."""


class FeedError(Exception):
    """A frame that is refused: message and reason of the `error` answer."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class Request(msgspec.Struct):
    """A frame of a client. `timestamp` may be text or a number."""

    type: str
    product_ids: list[str] = []
    channels: list[str | _Channel] = []
    key: str | None = None
    signature: str | None = None
    passphrase: str | None = None
    timestamp: str | int | float | None = None

    @property
    def logs_in(self) -> bool:
        """Whether it carries a login."""
        return self.signature is not None


def read_request(text: bytes | str) -> Request:
    """The frame; FeedError when it is none."""
    try:
        request = msgspec.json.decode(text, type=Request)
    except msgspec.ValidationError as error:
        raise FeedError("Invalid request", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FeedError("Malformed JSON", "Malformed JSON") from None
    if request.type not in FAILED:
        raise FeedError("Invalid request", f"{request.type} is not a valid type")
    return request


def wanted(request: Request, products: Collection[str], *, logged_in: bool) -> Wanted:
    """The channels asked for, all of them valid; FeedError names the first that is not."""
    failed = FAILED[request.type]
    if not request.channels:
        raise FeedError(failed, "No channels provided")
    found: Wanted = {}
    for channel in request.channels:
        own = channel.product_ids if isinstance(channel, _Channel) else []
        asked = channel.name if isinstance(channel, _Channel) else channel
        name = ALIASES.get(asked, asked)
        if name not in PUBLIC | PRIVATE:
            raise FeedError(failed, f"{asked} is not a valid channel")
        if name in PRIVATE and not logged_in:
            raise FeedError(failed, NEEDS_LOGIN)
        ids = () if name in WITHOUT_PRODUCTS else tuple(dict.fromkeys([*own, *request.product_ids]))
        for product_id in ids:
            if product_id not in products:
                raise FeedError(failed, f"{product_id} is not a valid product")
        if not ids and request.type == "subscribe" and name not in WITHOUT_PRODUCTS:
            raise FeedError(failed, "No product_ids provided")
        found[name] = tuple(dict.fromkeys([*found.get(name, ()), *ids]))
    return found


def without(current: Mapping[str, Collection[str]], gone: Wanted) -> dict[str, tuple[str, ...]]:
    """What stays after an unsubscribe; a channel named without products goes entirely."""
    left = {}
    for name, products in current.items():
        if name not in gone:
            left[name] = tuple(products)
        elif gone[name]:
            kept = tuple(p for p in products if p not in gone[name])
            if kept:
                left[name] = kept
    return left

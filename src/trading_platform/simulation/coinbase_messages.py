"""Frames of the simulated Coinbase Exchange feed (websocket-feed/channels). Pure.

Key order as recorded. Messages for the owner of an order carry `user_id` and `profile_id`; the
public ones never do.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_platform.kit.decimals import plain
from trading_platform.market.orders import Side
from trading_platform.simulation.book import Book, BookSide
from trading_platform.simulation.coinbase_answers import (
    Json,
    done_reason,
    maker_side,
    profile_id,
    user_id,
)
from trading_platform.simulation.coinbase_orders import Received, public_ids
from trading_platform.simulation.coinbase_text import fixed, places_of, stable_id, time_text
from trading_platform.simulation.model import (
    ZERO,
    OrderEvent,
    PublicTrade,
    SimOrder,
    SimStatus,
    SimulatedInstrument,
)
from trading_platform.simulation.tape import TapeCandle

NEEDS_LOGIN = (
    "level2, level3, and full channels now require authentication. "
    "https://docs.cloud.coinbase.com/exchange/docs/websocket-auth"
)
ACKNOWLEDGED_AS = {"level2_batch": "level2_50"}
_CANCEL_REASONS = {
    SimStatus.EXPIRED_IN_MATCH: "102:Self Trade Prevention",
    SimStatus.EXPIRED: "101:Time In Force",
}


def frame(message: Json) -> str:
    """One text frame."""
    return msgspec.json.encode(message).decode()


def error(message: str, reason: str) -> Json:
    """`Failed to subscribe` and the like."""
    return {"type": "error", "message": message, "reason": reason}


def subscriptions(channels: Mapping[str, Iterable[str]]) -> Json:
    """The answer to every subscribe and unsubscribe: all that is subscribed now."""
    return {
        "type": "subscriptions",
        "channels": [
            {
                "name": ACKNOWLEDGED_AS.get(name, name),
                "product_ids": list(products),
                "account_ids": None,
            }
            for name, products in channels.items()
        ],
    }


def heartbeat(product_id: str, last_trade_id: int, sequence: int, second: int) -> Json:
    """Once a second, on the second."""
    return {
        "type": "heartbeat",
        "last_trade_id": last_trade_id,
        "product_id": product_id,
        "sequence": sequence,
        "time": time_text(second * 1_000_000_000),
    }


def match(trade: PublicTrade, parties: tuple[str, str], sequence: int, kind: str = "match") -> Json:
    """`match` or `last_match`; `parties` are maker and taker order id. Side is the maker's."""
    return {
        "type": kind,
        "trade_id": trade.trade_id,
        "maker_order_id": parties[0],
        "taker_order_id": parties[1],
        "side": maker_side(trade),
        "size": plain(trade.quantity),
        "price": plain(trade.price),
        "product_id": trade.symbol,
        "sequence": sequence,
        "time": time_text(trade.at_ns),
    }


def party(trade: PublicTrade, role: str, own_id: str | None) -> str:
    """Order id of one side of a trade; a made-up but stable one where it is not ours."""
    return own_id or stable_id("external", trade.symbol, str(trade.trade_id), role)


def own_match(public: Json, event: OrderEvent, fee_rate: Decimal) -> Json:
    """A match as its maker or taker sees it."""
    trade = event.trade
    role = "maker" if trade is not None and trade.maker else "taker"
    account_id = event.order.account_id
    return public | {
        "user_id": user_id(account_id),
        "profile_id": profile_id(account_id),
        f"{role}_user_id": user_id(account_id),
        f"{role}_profile_id": profile_id(account_id),
        f"{role}_fee_rate": plain(fee_rate),
    }


def own(public: Json, account_id: str, client_oid: str | None = None) -> Json:
    """A message about an order as its owner sees it."""
    return (
        public
        | {"user_id": user_id(account_id), "profile_id": profile_id(account_id)}
        | ({"client_oid": client_oid} if client_oid else {})
    )


def _about(kind: str, order: SimOrder, sequence: int, at_ns: int) -> Json:
    return {
        "type": kind,
        "time": time_text(at_ns),
        "product_id": order.symbol,
        "sequence": sequence,
        "order_id": public_ids(order)[0],
        "side": order.side.lower(),
    }


def received(order: SimOrder, sequence: int, at_ns: int) -> Json:
    """The engine took the order."""
    message = _about("received", order, sequence, at_ns)
    message["order_type"] = order.order_type.lower()
    if order.quote_quantity is not None:
        return message | {"funds": plain(order.quote_quantity)}
    message["size"] = plain(order.quantity)
    return message if order.price is None else message | {"price": plain(order.price)}


def opened(order: SimOrder, sequence: int, at_ns: int) -> Json:
    """What is left of the order now rests."""
    return _about("open", order, sequence, at_ns) | {
        "price": plain(order.price or ZERO),
        "remaining_size": plain(order.remaining_quantity),
    }


def done(order: SimOrder, sequence: int, at_ns: int) -> Json:
    """The order is closed."""
    message = _about("done", order, sequence, at_ns) | {"reason": done_reason(order)}
    if order.price is None:
        return message
    remaining = order.quantity - order.filled_quantity
    return message | {"price": plain(order.price), "remaining_size": plain(remaining)}


def cancel_reason(order: SimOrder) -> Json:
    """Why the engine ended it; only its owner is told."""
    if order.reason == "INSUFFICIENT_LIQUIDITY":
        return {"cancel_reason": "106:Insufficient Liquidity"}
    reason = _CANCEL_REASONS.get(order.status)
    return {"cancel_reason": reason} if reason else {}


def changed(order: SimOrder, prevented: Decimal, sequence: int, at_ns: int) -> Json:
    """Self-trade prevention made a resting order smaller."""
    left = order.remaining_quantity
    return _about("change", order, sequence, at_ns) | {
        "reason": "STP",
        "price": plain(order.price or ZERO),
        "old_size": plain(left + prevented),
        "new_size": plain(left),
    }


def refused(order: Received, sequence: int, at_ns: int) -> list[Json]:
    """received, then done: the engine did not want the order (post-only, funds)."""
    request = order.request
    about: Json = {
        "time": time_text(at_ns),
        "product_id": request.symbol,
        "sequence": sequence,
        "order_id": order.order_id,
        "side": request.side.lower(),
    }
    sizes: Json = {"size": plain(request.quantity)} if request.quantity is not None else {}
    if request.price is not None:
        sizes["price"] = plain(request.price)
    ending: Json = {"reason": "canceled"}
    if request.price is not None and request.quantity is not None:
        ending |= {"price": plain(request.price), "remaining_size": plain(request.quantity)}
    return [
        {"type": "received", "order_type": request.order_type.lower()} | about | sizes,
        {"type": "done"} | about | ending,
    ]


def ticker(trade: PublicTrade, found: Book, day: TapeCandle | None, sequence: int) -> Json:
    """The last trade with the best quotes after it and sums of the day. Side is the taker's."""
    bid, ask = found.bids.best, found.asks.best
    return {
        "type": "ticker",
        "sequence": sequence,
        "product_id": trade.symbol,
        "price": plain(trade.price),
        "open_24h": plain(day.open if day else trade.price),
        "volume_24h": plain(day.volume if day else trade.quantity),
        "low_24h": plain(day.low if day else trade.price),
        "high_24h": plain(day.high if day else trade.price),
        "volume_30d": plain(day.volume if day else trade.quantity),
        "best_bid": plain(bid or ZERO),
        "best_bid_size": fixed(found.bids.total(bid) if bid else ZERO, 8),
        "best_ask": plain(ask or ZERO),
        "best_ask_size": fixed(found.asks.total(ask) if ask else ZERO, 8),
        "side": "buy" if trade.taker_side is Side.BUY else "sell",
        "time": time_text(trade.at_ns),
        "trade_id": trade.trade_id,
        "last_size": plain(trade.quantity),
    }


def snapshot(instrument: SimulatedInstrument, found: Book, at_ns: int) -> Json:
    """The whole aggregated book: over a megabyte for BTC-USD, as in reality."""
    places = places_of(instrument.price_increment)
    return {
        "type": "snapshot",
        "product_id": instrument.exchange_symbol,
        "asks": _levels(found.asks, places),
        "bids": _levels(found.bids, places),
        "time": time_text(at_ns),
    }


def _levels(side: BookSide, places: int) -> list[tuple[str, str]]:
    return [(fixed(price, places), fixed(side.total(price), 8)) for price in side.prices()]


Change = tuple[str, Decimal, Decimal]
"""(buy or sell, price, quantity)"""


def l2update(instrument: SimulatedInstrument, changes: Iterable[Change], at_ns: int) -> Json:
    """Levels with their new quantity; zero removes."""
    places = places_of(instrument.price_increment)
    return {
        "type": "l2update",
        "product_id": instrument.exchange_symbol,
        "changes": [
            (side, fixed(price, places), fixed(quantity, 8)) for side, price, quantity in changes
        ],
        "time": time_text(at_ns),
    }


def status(products: Sequence[Json], currencies: Sequence[Json]) -> Json:
    """All products and currencies."""
    return {"type": "status", "products": products, "currencies": currencies}

"""What the simulated Coinbase Exchange answers by REST. Pure: values in, JSON-ready values out."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from trading_platform.kit.decimals import plain
from trading_platform.market.orders import OrderType, Side
from trading_platform.simulation.book import Book, BookSide
from trading_platform.simulation.coinbase_checks import PREVENTION
from trading_platform.simulation.coinbase_orders import AnyOrder, Known, Received, public_ids
from trading_platform.simulation.coinbase_text import fixed, stable_id, time_text
from trading_platform.simulation.model import (
    ZERO,
    NewOrder,
    PublicTrade,
    SimBalance,
    SimOrder,
    SimStatus,
    SimTrade,
    SimulatedInstrument,
)
from trading_platform.simulation.tape import Tape, TapeCandle

Json = dict[str, object]
DAY_MS = 86_400_000
CANDLES_MAX = 300
OTHER_CURRENCIES = ("ADA", "AVAX", "DAI", "DOGE", "DOT", "EUR", "GBP", "LINK", "LTC", "SOL", "USDC")
"""Listed with zeros: an account has one row for every currency, held or not."""
_NUMBER = re.compile("[0-9]{1,18}")
_STP = {mode: text for text, mode in PREVENTION.items()}
_T = TypeVar("_T")


def profile_id(account_id: str) -> str:
    """The profile that a key's account is."""
    return stable_id("profile", account_id)


def user_id(account_id: str) -> str:
    """24 hexadecimal digits, as user ids are."""
    return stable_id("user", account_id).replace("-", "")[:24]


def product(instrument: SimulatedInstrument, *, trading: bool) -> Json:
    """A row of /products. Invented prices say so in `status_message`."""
    return {
        "id": instrument.exchange_symbol,
        "base_currency": instrument.base,
        "quote_currency": instrument.quote,
        "quote_increment": plain(instrument.price_increment),
        "base_increment": plain(instrument.quantity_increment),
        "display_name": instrument.exchange_symbol,
        "min_market_funds": plain(instrument.notional_min),
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "synthetic" if instrument.synthetic else "",
        "trading_disabled": not trading,
        "fx_stablecoin": False,
        "max_slippage_percentage": "0.02000000",
        "auction_mode": False,
        "high_bid_limit_percentage": "",
    }


def currency(name: str) -> Json:
    """A row of /currencies."""
    fiat = name in ("EUR", "GBP", "USD")
    step = "0.01" if fiat else "0.00000001"
    return {
        "id": name,
        "name": name,
        "min_size": step,
        "status": "online",
        "message": "",
        "max_precision": step,
        "convertible_to": [],
        "details": {"type": "fiat" if fiat else "crypto"},
        "default_network": "",
        "supported_networks": [],
        "display_name": name,
    }


def currencies(instruments: Iterable[SimulatedInstrument]) -> list[str]:
    """Every currency that the exchange knows."""
    traded = {name for i in instruments for name in (i.base, i.quote)}
    return sorted(traded | set(OTHER_CURRENCIES))


def book(found: Book, level: int, sequence: int, now_ns: int) -> Json:
    """/products/{id}/book. External liquidity is one order a price in level 3."""
    side = {1: _best_level, 2: _aggregated, 3: _by_order}[level]
    return {
        "bids": side(found.bids),
        "asks": side(found.asks),
        "sequence": sequence,
        "auction_mode": False,
        "auction": None,
        "time": time_text(now_ns)[:-1] + "000Z",  # the book alone has nanoseconds
    }


def _best_level(side: BookSide) -> list[list[object]]:
    return _rows(side, 1)


def _aggregated(side: BookSide) -> list[list[object]]:
    return _rows(side, None)


def _rows(side: BookSide, most: int | None) -> list[list[object]]:
    return [
        [plain(price), plain(side.total(price)), max(1, len(side.own_at(price)))]
        for price in islice(side.prices(), most)
    ]


def _by_order(side: BookSide) -> list[list[object]]:
    return [
        [
            plain(part.price),
            plain(part.quantity),
            stable_id("resting", str(part.order.order_id if part.order else part.price)),
        ]
        for part in side.slices()
    ]


def trade(found: PublicTrade) -> Json:
    """A row of /products/{id}/trades; side is the maker's."""
    return {
        "trade_id": found.trade_id,
        "side": maker_side(found),
        "size": fixed(found.quantity, 8),
        "price": fixed(found.price, 8),
        "time": time_text(found.at_ns),
    }


def maker_side(found: PublicTrade) -> str:
    """`buy` when a seller hit a bid."""
    return "sell" if found.taker_side is Side.BUY else "buy"


def candle(found: TapeCandle) -> list[float]:
    """[time in s, low, high, open, close, volume], as numbers."""
    numbers = (found.low, found.high, found.open, found.close, found.volume)
    return [found.open_ms // 1000, *map(float, numbers)]


def ticker(found: Book, tape: Tape, now_ms: int) -> Json:
    """/products/{id}/ticker."""
    last, day = tape.last, tape.window(now_ms - DAY_MS)
    answer: Json = {
        "ask": plain(found.asks.best or ZERO),
        "bid": plain(found.bids.best or ZERO),
        "volume": plain(day.volume if day else ZERO),
    }
    if last is not None:
        answer |= {
            "trade_id": last.trade_id,
            "price": plain(last.price),
            "size": plain(last.quantity),
            "time": time_text(last.at_ns),
        }
    return answer | {"rfq_volume": "0"}


def stats(tape: Tape, now_ms: int) -> Json:
    """/products/{id}/stats, over the last day (all that was replayed, when that is less)."""
    day = tape.window(now_ms - DAY_MS)
    if day is None:
        return dict.fromkeys(("open", "high", "low", "last", "volume", "volume_30day"), "0")
    return {
        "open": plain(day.open),
        "high": plain(day.high),
        "low": plain(day.low),
        "last": plain(day.close),
        "volume": plain(day.volume),
        "volume_30day": plain(day.volume),
    }


def account(account_id: str, balance: SimBalance) -> Json:
    """A row of /accounts."""
    return {
        "id": stable_id("account", account_id, balance.currency),
        "currency": balance.currency,
        "balance": fixed(balance.free + balance.locked, 16),
        "hold": fixed(balance.locked, 16),
        "available": plain(balance.free),
        "profile_id": profile_id(account_id),
        "trading_enabled": True,
        "pending_deposit": "0.0000000000000000",
        "display_name": balance.currency,
    }


def order(found: AnyOrder, instrument: SimulatedInstrument, fee_taker: Decimal) -> Json:
    """An order as GET answers it."""
    if isinstance(found, Received):
        return _rejected(found) if found.reject_reason else pending(found, first=False)
    return _known(found, instrument, fee_taker)


def pending(found: Received, *, first: bool) -> Json:
    """An order not yet open. Only the first answer, to POST, repeats stp, TIF and post_only."""
    request = found.request
    answer: Json = {"id": found.order_id}
    answer |= _wanted(request, found.specified_funds)
    answer |= {"product_id": request.symbol, "side": request.side.lower()}
    if first:
        answer["stp"] = _STP[request.self_trade_prevention]
    answer["type"] = request.order_type.lower()
    if first and request.order_type is OrderType.LIMIT:
        answer["time_in_force"] = request.time_in_force.value
    if first:
        answer["post_only"] = request.post_only
    return answer | {
        "created_at": time_text(found.created_ns),
        "fill_fees": "0",
        "filled_size": "0",
        "executed_value": "0",
        "status": "pending",
        "settled": False,
    }


def _rejected(found: Received) -> Json:
    return pending(found, first=False) | {
        "profile_id": profile_id(found.account_id),
        "status": "rejected",
        "reject_reason": found.reject_reason,
        **({"client_oid": found.client_oid} if found.client_oid else {}),
    }


def _known(known: Known, instrument: SimulatedInstrument, fee_taker: Decimal) -> Json:
    found = known.order
    limit = found.order_type is OrderType.LIMIT
    answer: Json = {"id": known.order_id}
    answer |= _sizes(found, fee_taker)
    answer |= {
        "product_id": found.symbol,
        "profile_id": profile_id(found.account_id),
        "side": found.side.lower(),
        "type": found.order_type.lower(),
    }
    if limit:
        answer["time_in_force"] = found.time_in_force.value
    answer |= {
        "post_only": found.post_only,
        "created_at": time_text(found.created_ns),
        "fill_fees": fixed(found.fees, 16),
        "filled_size": fixed(found.filled_quantity, 8),
        "executed_value": fixed(found.filled_notional, 16),
        "market_type": "spot",
        "status": "open" if found.open else "done",
        "settled": not found.open,
        "funding_currency": instrument.quote,
    }
    if not found.open:
        answer |= {"done_at": time_text(found.updated_ns), "done_reason": done_reason(found)}
    return answer | ({"client_oid": known.client_oid} if known.client_oid else {})


def done_reason(found: SimOrder) -> str:
    """filled or canceled; a canceled order may have fills."""
    return "filled" if found.status is SimStatus.FILLED else "canceled"


def _wanted(request: NewOrder, specified_funds: Decimal | None) -> Json:
    answer: Json = {}
    if request.price is not None:
        answer["price"] = fixed(request.price, 8)
    if request.quantity is not None:
        answer["size"] = fixed(request.quantity, 8)
    if request.quote_quantity is not None:
        answer["funds"] = fixed(request.quote_quantity, 16)
        answer["specified_funds"] = fixed(specified_funds or request.quote_quantity, 16)
    return answer


def _sizes(found: SimOrder, fee_taker: Decimal) -> Json:
    by_funds = found.quote_quantity is not None
    specified = None
    if found.quote_quantity is not None:  # the fee was set aside first: put it back, to the cent
        specified = (found.quote_quantity * (1 + fee_taker)).quantize(Decimal("0.000001"))
    request = NewOrder(
        symbol=found.symbol,
        side=found.side,
        order_type=found.order_type,
        client_order_id="",
        quantity=None if by_funds else found.quantity,
        quote_quantity=found.quote_quantity,
        price=found.price,
    )
    return _wanted(request, specified)


def created_at(found: AnyOrder) -> str:
    """The cursor of order lists."""
    ns = found.created_ns if isinstance(found, Received) else found.order.created_ns
    return time_text(ns)


def status(found: AnyOrder) -> str:
    """The word that `?status=` filters by."""
    if isinstance(found, Received):
        return "rejected" if found.reject_reason else "pending"
    return "open" if found.order.open else "done"


def fill(found: SimTrade, owner: SimOrder, instrument: SimulatedInstrument) -> Json:
    """A row of /fills."""
    return {
        "trade_id": found.trade_id,
        "product_id": found.symbol,
        "order_id": public_ids(owner)[0],
        "user_id": user_id(found.account_id),
        "profile_id": profile_id(found.account_id),
        "liquidity": "M" if found.maker else "T",
        "price": fixed(found.price, 8),
        "size": fixed(found.quantity, 8),
        "fee": fixed(found.fee, 16),
        "created_at": time_text(found.at_ns),
        "side": found.side.lower(),
        "settled": True,
        "usd_volume": fixed(found.price * found.quantity, 16),
        "market_type": "spot",
        "funding_currency": instrument.quote,
    }


def page(
    rows: list[tuple[str, _T]], query: Mapping[str, str], limit_max: int = 1000
) -> tuple[list[_T], dict[str, str]]:
    """One page of rows that stand newest first under their cursors, and its CB headers.

    `after` asks for older rows than the cursor, `before` for newer ones (rest-api/pagination).
    No CB-AFTER: this was the last page.
    """
    after, before = query.get("after"), query.get("before")
    if after:
        rows = [row for row in rows if _cursor(row[0]) < _cursor(after)]
    if before:
        rows = [row for row in rows if _cursor(row[0]) > _cursor(before)]
    text = query.get("limit", "")
    limit = min(limit_max, int(text)) if _NUMBER.fullmatch(text) and int(text) else limit_max
    shown = rows[:limit]
    headers = {"CB-BEFORE": shown[0][0]} if shown else {}
    if len(rows) > limit:
        headers["CB-AFTER"] = shown[-1][0]
    return [row for _, row in shown], headers


def _cursor(text: str) -> tuple[int, str]:
    """Trade ids compare as numbers, times as text of one width."""
    return (int(text), "") if _NUMBER.fullmatch(text) else (0, text)

"""What we refuse before sending, each with one sentence that holds the numbers. Pure.

Balance, caps and price collars are not judged here.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext

import msgspec

from trading_platform.kit.decimals import is_multiple, plain
from trading_platform.market.instruments import Instrument
from trading_platform.market.orders import OrderRequest, OrderType, TimeInForce

_DIGITS = 80
"""Twice 18 digits before and after the point: products and remainders stay exact."""


class Denial(msgspec.Struct, frozen=True):
    """Why we refuse an order: a word for programs and a sentence for people."""

    code: str
    message: str


def check(
    request: OrderRequest, instrument: Instrument, *, reference_price: Decimal | None = None
) -> Denial | None:
    """The first reason to refuse, or None. `reference_price` values a MARKET order, if known."""
    with localcontext() as context:
        context.prec = _DIGITS
        for rule in _RULES:
            denial = rule(request, instrument)
            if denial is not None:
                return denial
        return _notional(request, instrument, reference_price)


def _trading(request: OrderRequest, instrument: Instrument) -> Denial | None:
    if instrument.trading:
        return None
    return Denial(
        "NOT_TRADING",
        f"{instrument.exchange_id} takes no new orders for {request.symbol} now",
    )


def _shape(request: OrderRequest, _instrument: Instrument) -> Denial | None:
    market = request.order_type == OrderType.MARKET
    resting = request.order_type == OrderType.LIMIT and request.time_in_force == TimeInForce.GTC
    if market and request.price is not None:
        return Denial("PRICE_NOT_ALLOWED", "a MARKET order takes no price; leave it out")
    if market and request.time_in_force != TimeInForce.GTC:
        return Denial(
            "TIME_IN_FORCE_NOT_ALLOWED",
            f"a MARKET order takes no timeInForce; leave out {request.time_in_force}",
        )
    if not market and request.price is None:
        return Denial("PRICE_MISSING", "a LIMIT order needs a price")
    if request.post_only and not resting:
        return Denial(
            "POST_ONLY_NOT_ALLOWED",
            "postOnly needs orderType LIMIT and timeInForce GTC, not "
            f"{request.order_type} and {request.time_in_force}",
        )
    return None


def _quantity(request: OrderRequest, instrument: Instrument) -> Denial | None:
    most = instrument.quantity_max
    if request.order_type == OrderType.MARKET and instrument.market_quantity_max:
        most = min(most or instrument.market_quantity_max, instrument.market_quantity_max)
    return _steps(
        "quantity",
        request.quantity,
        instrument.quantity_increment,
        instrument.quantity_min,
        most,
    )


def _price(request: OrderRequest, instrument: Instrument) -> Denial | None:
    if request.price is None:
        return None
    return _steps(
        "price",
        request.price,
        instrument.price_increment,
        instrument.price_min,
        instrument.price_max,
    )


def _steps(
    what: str, value: Decimal, step: Decimal, least: Decimal, most: Decimal
) -> Denial | None:
    word = what.upper()
    if not value.is_finite() or value <= 0:
        return Denial(f"{word}_NOT_POSITIVE", f"{what} {value} is not above zero")
    if least and value < least:
        return Denial(
            f"{word}_TOO_SMALL", f"{what} {plain(value)} is below the least of {plain(least)}"
        )
    if most and value > most:
        return Denial(
            f"{word}_TOO_LARGE", f"{what} {plain(value)} is above the most of {plain(most)}"
        )
    if not is_multiple(value, step):
        return Denial(f"{word}_STEP", f"{what} {plain(value)} is not a multiple of {plain(step)}")
    return None


def _notional(
    request: OrderRequest, instrument: Instrument, reference_price: Decimal | None
) -> Denial | None:
    price = request.price if request.price is not None else reference_price
    if price is None:
        return None
    notional = price * request.quantity
    said = f"{plain(notional)} {instrument.quote} ({plain(request.quantity)} x {plain(price)})"
    if instrument.notional_min and notional < instrument.notional_min:
        least = plain(instrument.notional_min)
        return Denial("NOTIONAL_TOO_SMALL", f"notional {said} is below the least of {least}")
    if instrument.notional_max and notional > instrument.notional_max:
        most = plain(instrument.notional_max)
        return Denial("NOTIONAL_TOO_LARGE", f"notional {said} is above the most of {most}")
    return None


_RULES: tuple[Callable[[OrderRequest, Instrument], Denial | None], ...] = (
    _trading,
    _shape,
    _quantity,
    _price,
)

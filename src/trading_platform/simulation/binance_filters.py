"""Symbol rules as Binance publishes and enforces them (filters.md; pure)."""

from decimal import Decimal
from typing import Any

from trading_platform.kit.decimals import is_multiple
from trading_platform.market.orders import OrderType, Side
from trading_platform.simulation.binance_errors import filter_failure
from trading_platform.simulation.model import (
    ZERO,
    NewOrder,
    SelfTradePrevention,
    SimulatedInstrument,
)

ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")


def amount(value: Decimal) -> str:
    """Eight decimals, as every Binance amount."""
    return f"{value:.8f}"


def symbol_row(instrument: SimulatedInstrument, trading: bool) -> dict[str, Any]:
    """One row of exchangeInfo."""
    return {
        "symbol": instrument.exchange_symbol,
        "status": "TRADING" if trading else "HALT",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": SelfTradePrevention.EXPIRE_MAKER.value,
        "allowedSelfTradePreventionModes": [mode.value for mode in SelfTradePrevention],
    }


def _filters(instrument: SimulatedInstrument) -> list[dict[str, Any]]:
    up, down = str(instrument.percent_up), str(instrument.percent_down)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": amount(instrument.price_min),
            "maxPrice": amount(instrument.price_max),
            "tickSize": amount(instrument.price_increment),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": amount(instrument.quantity_min),
            "maxQty": amount(instrument.quantity_max),
            "stepSize": amount(instrument.quantity_increment),
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": amount(ZERO),
            "maxQty": amount(instrument.market_quantity_max),
            "stepSize": amount(ZERO),
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": up,
            "bidMultiplierDown": down,
            "askMultiplierUp": up,
            "askMultiplierDown": down,
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": amount(instrument.notional_min),
            "applyMinToMarket": True,
            "maxNotional": amount(instrument.notional_max),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": instrument.orders_max},
    ]


def check(
    instrument: SimulatedInstrument,
    order: NewOrder,
    reference: Decimal | None,
    open_count: int,
) -> None:
    """-1013 for the first filter that the order fails; `reference` is the five-minute average."""
    if order.price is not None:
        _check_price(instrument, order.side, order.price, reference)
    if order.quantity is not None:
        _check_quantity(instrument, order)
    _check_notional(instrument, order, reference)
    if order.order_type is OrderType.LIMIT and open_count >= instrument.orders_max:
        raise filter_failure("MAX_NUM_ORDERS")


def _outside(value: Decimal, least: Decimal, most: Decimal) -> bool:
    return bool((least and value < least) or (most and value > most))


def _check_price(
    instrument: SimulatedInstrument, side: Side, price: Decimal, reference: Decimal | None
) -> None:
    if price <= 0 or _outside(price, instrument.price_min, instrument.price_max):
        raise filter_failure("PRICE_FILTER")
    if not is_multiple(price, instrument.price_increment):
        raise filter_failure("PRICE_FILTER")
    if reference is not None and _outside(
        price, reference * instrument.percent_down, reference * instrument.percent_up
    ):
        raise filter_failure("PERCENT_PRICE_BY_SIDE")


def _check_quantity(instrument: SimulatedInstrument, order: NewOrder) -> None:
    quantity = order.quantity or ZERO
    if quantity <= 0 or _outside(quantity, instrument.quantity_min, instrument.quantity_max):
        raise filter_failure("LOT_SIZE")
    if not is_multiple(quantity, instrument.quantity_increment):
        raise filter_failure("LOT_SIZE")
    if order.order_type is OrderType.MARKET and _outside(
        quantity, ZERO, instrument.market_quantity_max
    ):
        raise filter_failure("MARKET_LOT_SIZE")


def _check_notional(
    instrument: SimulatedInstrument, order: NewOrder, reference: Decimal | None
) -> None:
    market = order.order_type is OrderType.MARKET
    if order.quote_quantity is not None:
        notional: Decimal | None = order.quote_quantity
    else:
        price = reference if market else order.price
        notional = None if price is None else price * (order.quantity or ZERO)
    if notional is None:
        return
    most = ZERO if market else instrument.notional_max
    if _outside(notional, instrument.notional_min, most):
        raise filter_failure("NOTIONAL")

"""Binance exchangeInfo as instruments (rest-api "Exchange information", filters.md). Pure.

Filters that we do not model (position, percent price, order counts) stay the exchange's to enforce:
its refusal is definite.
"""

from decimal import Decimal

import msgspec

from trading_platform.market.instruments import ExchangeId, Instrument, split_symbol


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    """One filter of any type; only the fields that we use."""

    filter_type: str
    min_price: Decimal = Decimal(0)
    max_price: Decimal = Decimal(0)
    tick_size: Decimal = Decimal(0)
    min_qty: Decimal = Decimal(0)
    max_qty: Decimal = Decimal(0)
    step_size: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    max_notional: Decimal = Decimal(0)


class SymbolRow(msgspec.Struct, frozen=True, rename="camel"):
    """One symbol of exchangeInfo."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int = 8
    quote_asset_precision: int = 8
    is_spot_trading_allowed: bool = True
    filters: tuple[Filter, ...] = ()


class ExchangeInfo(msgspec.Struct, frozen=True, rename="camel"):
    """The whole answer."""

    symbols: tuple[SymbolRow, ...]


_NONE = Filter("")


def instrument(row: SymbolRow) -> Instrument | None:
    """One symbol; None where its names do not make a canonical symbol (such as Unicode assets)."""
    symbol = f"{row.base_asset}-{row.quote_asset}"
    try:
        split_symbol(symbol)
    except ValueError:
        return None
    by_type = {filter.filter_type: filter for filter in row.filters}
    price = by_type.get("PRICE_FILTER", _NONE)
    lot = by_type.get("LOT_SIZE", _NONE)
    notional = by_type.get("NOTIONAL") or by_type.get("MIN_NOTIONAL", _NONE)
    return Instrument(
        exchange_id=ExchangeId.BINANCE,
        symbol=symbol,
        exchange_symbol=row.symbol,
        base=row.base_asset,
        quote=row.quote_asset,
        price_increment=price.tick_size or _precision_step(row.quote_asset_precision),
        quantity_increment=lot.step_size or _precision_step(row.base_asset_precision),
        quantity_min=lot.min_qty,
        quantity_max=lot.max_qty,
        market_quantity_max=by_type.get("MARKET_LOT_SIZE", _NONE).max_qty,
        price_min=price.min_price,
        price_max=price.max_price,
        notional_min=notional.min_notional,
        notional_max=notional.max_notional,
        trading=row.status == "TRADING" and row.is_spot_trading_allowed,
    )


def _precision_step(decimals: int) -> Decimal:
    # A filter that is switched off still leaves the asset's own precision (error -1111).
    return Decimal(1).scaleb(-decimals)

"""Coinbase products as instruments (rest-api "Get all known trading pairs"). Pure."""

from decimal import Decimal

import msgspec

from trading_platform.market.instruments import ExchangeId, Instrument, split_symbol


class ProductRow(msgspec.Struct, frozen=True):
    """One product. The size bounds of old answers were removed in 2022 and are not read."""

    id: str
    base_currency: str
    quote_currency: str
    base_increment: Decimal
    quote_increment: Decimal
    min_market_funds: Decimal = Decimal(0)
    status: str = ""
    status_message: str = ""
    trading_disabled: bool = False
    cancel_only: bool = False
    auction_mode: bool = False


def instrument(row: ProductRow) -> Instrument | None:
    """One product; None where its names do not make a canonical symbol."""
    symbol = f"{row.base_currency}-{row.quote_currency}"
    try:
        split_symbol(symbol)
    except ValueError:
        return None
    blocked = row.trading_disabled or row.cancel_only or row.auction_mode
    return Instrument(
        exchange_id=ExchangeId.COINBASE,
        symbol=symbol,
        exchange_symbol=row.id,
        base=row.base_currency,
        quote=row.quote_currency,
        price_increment=row.quote_increment,
        quantity_increment=row.base_increment,
        quantity_min=row.base_increment,
        price_min=row.quote_increment,
        # Since 2022 this is the least notional of limit orders too.
        notional_min=row.min_market_funds,
        trading=row.status == "online" and not blocked,
        # How the simulated exchange marks what it makes up; the real one never says so.
        synthetic=row.status_message == "synthetic",
    )

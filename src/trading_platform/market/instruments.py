"""What can be traded where, and in which steps."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_platform.kit import decimals


class ExchangeId(StrEnum):
    """The exchanges that we speak."""

    BINANCE = "BINANCE"
    COINBASE = "COINBASE"


class ExchangeMode(StrEnum):
    """Which of an exchange's environments an account lives in."""

    PRODUCTION = "PRODUCTION"
    SANDBOX = "SANDBOX"
    SIMULATED = "SIMULATED"


def split_symbol(symbol: str) -> tuple[str, str]:
    """(base, quote) of a canonical `BASE-QUOTE` symbol; ValueError when it is not one."""
    base, dash, quote = symbol.partition("-")
    if not (
        dash
        and base.isalnum()
        and quote.isalnum()
        and symbol == symbol.upper()
        and symbol.isascii()
    ):
        raise ValueError(f"{symbol[:40]!r} is not a symbol such as BTC-USDT")
    return base, quote


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol on one exchange with the rules its orders must keep. A bound of zero is switched
    off.
    """

    exchange_id: ExchangeId
    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    price_increment: Decimal
    quantity_increment: Decimal
    quantity_min: Decimal = Decimal(0)
    quantity_max: Decimal = Decimal(0)
    market_quantity_max: Decimal = Decimal(0)
    price_min: Decimal = Decimal(0)
    price_max: Decimal = Decimal(0)
    notional_min: Decimal = Decimal(0)
    notional_max: Decimal = Decimal(0)
    trading: bool = True
    """Whether new orders are taken now."""
    synthetic: bool = False
    """Whether a simulated exchange invents its prices instead of replaying real ones."""

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Down to a whole step: never more than asked."""
        return decimals.round_down(quantity, self.quantity_increment)

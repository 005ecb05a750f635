"""Prices: what one source says, and what we make of several. The price feed works in floats."""

from datetime import datetime
from enum import StrEnum

import msgspec

from trading_platform.market.instruments import ExchangeId


class AggregationMethod(StrEnum):
    """How one price is made of several."""

    VWAP = "VWAP"
    MEDIAN = "MEDIAN"
    BEST_BID_ASK = "BEST_BID_ASK"


class PriceSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One exchange's contribution to a price, in the aggregate's quote currency.

    `excluded` says why it was left out ("STALE", "OUTLIER", "NO_CONVERSION" ...), None when it was
    used.
    """

    exchange_id: ExchangeId
    symbol: str
    price: float
    bid: float | None
    ask: float | None
    volume: float
    """Base quantity traded in the rolling window."""
    age_ms: int
    synthetic: bool = False
    excluded: str | None = None


class AggregatedPrice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A trusted price of one symbol with its provenance; `confidence` is in [0, 1]."""

    symbol: str
    price: float
    bid: float | None
    ask: float | None
    sources: tuple[PriceSource, ...]
    aggregation_method: AggregationMethod
    confidence: float
    timestamp: datetime
    synthetic: bool = False
    """Whether a used source, or the rate that converted it, is made up for the demo."""
    notes: tuple[str, ...] = ()
    """What to know besides the confidence ("SINGLE_SOURCE", "SYNTHETIC")."""


class PriceRefusal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why there is no price now."""

    symbol: str
    reason: str
    sources: tuple[PriceSource, ...]
    timestamp: datetime

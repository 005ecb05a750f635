"""What a source says at one moment, and by which rules several make one price (docs/prices.md)."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from trading_platform.market.instruments import ExchangeId
from trading_platform.market.quotes import AggregationMethod


class Exclusion(StrEnum):
    """Why a source was left out of a price."""

    NO_DATA = "NO_DATA"
    STALE = "STALE"
    CLOCK = "CLOCK"
    NO_CONVERSION = "NO_CONVERSION"
    NO_QUOTE = "NO_QUOTE"
    OUTLIER = "OUTLIER"
    DISAGREES = "DISAGREES"


class Refused(StrEnum):
    """Why there is no price."""

    NO_SOURCES = "NO_SOURCES"
    TOO_FEW_SOURCES = "TOO_FEW_SOURCES"
    DISAGREEMENT = "DISAGREEMENT"
    UNWITNESSED_MOVE = "UNWITNESSED_MOVE"


class Note(StrEnum):
    """What a user of a price should know besides its confidence."""

    SINGLE_SOURCE = "SINGLE_SOURCE"
    SYNTHETIC = "SYNTHETIC"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit of a source's quote currency is worth in the aggregate's."""

    value: float
    confidence: float = 1.0
    synthetic: bool = False


SAME_CURRENCY = Rate(value=1.0)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One source at one moment, in its own currency. Times are arrivals in ns, 0 for never.

    A delay is how much older than its arrival the data is by the exchange's own time, the
    exchange's clock offset taken out; negative when the exchange's clock runs ahead of ours.
    """

    exchange_id: ExchangeId
    symbol: str
    bid: float = 0.0
    ask: float = 0.0
    quoted_ns: int = 0
    quote_delay_ns: int = 0
    last: float = 0.0
    traded_ns: int = 0
    trade_delay_ns: int = 0
    vwap: float | None = None
    volume: float = 0.0
    alive_ns: int = 0
    """When the exchange last sent anything at all on this connection."""
    rate: Rate | None = SAME_CURRENCY
    synthetic: bool = False


class PricePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How the price of one symbol is made and when it is refused; bps are of the price."""

    symbol: str
    method: AggregationMethod = AggregationMethod.VWAP
    sources_min: int = 2
    """Exchanges that must agree."""
    age_max_s: float = 5.0
    quiet_age_max_s: float = 15.0
    """How old a quiet symbol may be while its exchange is otherwise heard."""
    clock_ahead_max_s: float = 1.0
    outlier_bps: float = 50.0
    vwap_lag_bps: float = 25.0
    """How far a source's VWAP may trail its own book before the book's bound is taken."""
    spread_bps: float = 50.0
    """The spread that halves confidence."""
    reference_hold_s: float = 10.0
    """How long the last good price vetoes a jump that only one exchange shows."""


_DEFAULTS: Mapping[str, PricePolicy] = {
    # Few exchanges list the dollar legs of stablecoins: one source is allowed, at half confidence.
    symbol: PricePolicy(symbol=symbol, sources_min=1, method=AggregationMethod.MEDIAN)
    for symbol in ("USDT-USD", "USDC-USD")
}


def policy_for(symbol: str, policies: Mapping[str, PricePolicy]) -> PricePolicy:
    """The policy given for this symbol, else the default one."""
    return policies.get(symbol) or _DEFAULTS.get(symbol) or PricePolicy(symbol=symbol)


class FeedStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How one exchange's feed is doing; `age_ms` is None before the first message."""

    exchange_id: ExchangeId
    connected: bool
    symbols: int
    messages: int
    gaps: int
    gap_reason: str | None
    missed_trades: int
    refused: int
    """Quotes and trades left out: unreadable, crossed, doubled, late or far off."""
    age_ms: int | None
    clock_offset_ms: float

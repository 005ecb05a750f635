"""One price out of several sources, or a reason why there is none. Rules: docs/prices.md.

1. A price lies within the prices of the sources it used, each converted to its quote currency.
2. What is stale, unconverted or far off has no influence, and is listed with the reason.
3. Fewer agreeing exchanges than the policy asks for: no price.
4. The order of the sources makes no difference.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import fsum
from statistics import median
from typing import NamedTuple

from trading_platform.market.quotes import (
    AggregatedPrice,
    AggregationMethod,
    PriceRefusal,
    PriceSource,
)
from trading_platform.prices.candidates import Candidate, weigh
from trading_platform.prices.confidence import confidence
from trading_platform.prices.model import Exclusion, Note, PricePolicy, Reading, Refused
from trading_platform.prices.outliers import agreeing

_BPS = 1e-4
_NS = 1_000_000_000


class LastGood(NamedTuple):
    """The last price of a symbol that was not refused."""

    price: float
    time_ns: int


def aggregate(
    readings: Sequence[Reading],
    policy: PricePolicy,
    now_ns: int,
    last_good: LastGood | None = None,
) -> AggregatedPrice | PriceRefusal:
    """The price of `policy.symbol` at `now_ns`, with its provenance."""
    ordered = readings
    if len(readings) > 1:
        ordered = sorted(readings, key=lambda reading: (reading.exchange_id, reading.symbol))
    candidates = [weigh(reading, policy, now_ns) for reading in ordered]
    _judge(candidates, policy)
    used = [candidate for candidate in candidates if candidate.excluded is None]
    exchanges = len({candidate.reading.exchange_id for candidate in used})
    refused = _refused(candidates, used, exchanges, policy, now_ns, last_good)
    if refused is None:
        return _priced(candidates, used, exchanges, policy, now_ns)
    return PriceRefusal(
        symbol=policy.symbol,
        reason=refused,
        sources=_sources(candidates),
        timestamp=_utc(now_ns),
    )


def _judge(candidates: Sequence[Candidate], policy: PricePolicy) -> None:
    """Exclude those that do not stand with the others."""
    fresh = [candidate for candidate in candidates if candidate.excluded is None]
    if len(fresh) < 2:
        return
    stands = agreeing([candidate.level for candidate in fresh], policy.outlier_bps * _BPS)
    reason = Exclusion.OUTLIER if any(stands) else Exclusion.DISAGREES
    for candidate, stood in zip(fresh, stands, strict=True):
        if not stood:
            candidate.excluded = reason


def _refused(
    candidates: Sequence[Candidate],
    used: Sequence[Candidate],
    exchanges: int,
    policy: PricePolicy,
    now_ns: int,
    last_good: LastGood | None,
) -> Refused | None:
    if not candidates:
        return Refused.NO_SOURCES
    if not used and any(each.excluded is Exclusion.DISAGREES for each in candidates):
        return Refused.DISAGREEMENT
    if exchanges < max(1, policy.sources_min):
        return Refused.TOO_FEW_SOURCES
    if exchanges == 1 and last_good is not None:
        held = now_ns - last_good.time_ns <= policy.reference_hold_s * _NS
        moved = max(abs(candidate.level - last_good.price) for candidate in used)
        if held and moved > 2 * policy.outlier_bps * _BPS * last_good.price:
            return Refused.UNWITNESSED_MOVE
    return None


def _priced(
    candidates: Sequence[Candidate],
    used: Sequence[Candidate],
    exchanges: int,
    policy: PricePolicy,
    now_ns: int,
) -> AggregatedPrice:
    bids = [candidate.bid for candidate in used if candidate.bid is not None]
    asks = [candidate.ask for candidate in used if candidate.ask is not None]
    bid, ask = max(bids, default=None), min(asks, default=None)
    price = _combined(used, policy.method, bid, ask)
    synthetic = any([candidate.synthetic for candidate in used])
    notes = [Note.SINGLE_SOURCE] if exchanges == 1 else []
    return AggregatedPrice(
        symbol=policy.symbol,
        price=price,
        bid=bid,
        ask=ask,
        sources=_sources(candidates),
        aggregation_method=policy.method,
        confidence=_confidence(candidates, used, exchanges, policy, price),
        timestamp=_utc(now_ns),
        synthetic=synthetic,
        notes=tuple([*notes, Note.SYNTHETIC] if synthetic else notes),
    )


def _combined(
    used: Sequence[Candidate], method: AggregationMethod, bid: float | None, ask: float | None
) -> float:
    prices = [candidate.price for candidate in used]
    if len(prices) == 1:
        return prices[0]
    if method is AggregationMethod.BEST_BID_ASK and bid is not None and ask is not None:
        combined = (bid + ask) / 2
    elif method is AggregationMethod.MEDIAN:
        combined = median(prices)
    else:
        weights = [candidate.reading.volume for candidate in used]
        total = fsum(weights)
        if total > 0:
            combined = fsum(p * (w / total) for p, w in zip(prices, weights, strict=True))
        else:
            combined = fsum(prices) / len(prices)
    return min(max(combined, min(prices)), max(prices))  # rounding must not leave the sources


def _confidence(
    candidates: Sequence[Candidate],
    used: Sequence[Candidate],
    exchanges: int,
    policy: PricePolicy,
    price: float,
) -> float:
    """The parts of confidence.py, measured on the sources used."""
    levels = [candidate.level for candidate in used]
    spreads = [
        candidate.ask - candidate.bid if candidate.bid and candidate.ask else price
        for candidate in used
    ]
    outliers = sum([candidate.excluded is Exclusion.OUTLIER for candidate in candidates])
    rates = [c.reading.rate.confidence for c in used if c.reading.rate is not None]
    return confidence(
        exchanges=exchanges,
        agreeing_share=len(used) / (len(used) + outliers),
        dispersion=(max(levels) - min(levels)) / (price * policy.outlier_bps * _BPS),
        spread=fsum(spreads) / len(used) / (price * policy.spread_bps * _BPS),
        age=max(candidate.age_ns for candidate in used) / (policy.age_max_s * _NS),
        rate_confidence=fsum(rates) / len(rates),
    )


def _sources(candidates: Sequence[Candidate]) -> tuple[PriceSource, ...]:
    return tuple([_source(candidate) for candidate in candidates])


def _source(candidate: Candidate) -> PriceSource:
    return PriceSource(
        exchange_id=candidate.reading.exchange_id,
        symbol=candidate.reading.symbol,
        price=candidate.price,
        bid=candidate.bid,
        ask=candidate.ask,
        volume=candidate.reading.volume,
        age_ms=candidate.age_ns // 1_000_000,
        synthetic=candidate.synthetic,
        excluded=candidate.excluded,
    )


def _utc(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / _NS, UTC)

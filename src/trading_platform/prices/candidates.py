"""What one reading has to offer a price: whether it can be used, where it stands, what it says."""

import msgspec

from trading_platform.market.quotes import AggregationMethod
from trading_platform.prices.model import Exclusion, PricePolicy, Reading

_BPS = 1e-4
_NS = 1_000_000_000


class Candidate(msgspec.Struct, gc=False):
    """A reading in the aggregate's currency. `level` is where it stands now, which decides who
    agrees; `price` is what it contributes.
    """

    reading: Reading
    level: float
    price: float
    bid: float | None
    ask: float | None
    age_ns: int
    excluded: Exclusion | None = None

    @property
    def synthetic(self) -> bool:
        """Whether the source or its rate is made up."""
        rate = self.reading.rate
        return self.reading.synthetic or (rate is not None and rate.synthetic)


def weigh(reading: Reading, policy: PricePolicy, now_ns: int) -> Candidate:
    """Judge a reading by itself: fresh, converted, on a clock to be trusted."""
    rate = reading.rate.value if reading.rate is not None else 1.0
    quote_age_ns = _age_ns(reading.quoted_ns, reading.quote_delay_ns, now_ns)
    trade_age_ns = _age_ns(reading.traded_ns, reading.trade_delay_ns, now_ns)
    limit_ns = _age_limit_ns(reading, policy, now_ns)
    quoted = quote_age_ns is not None and quote_age_ns <= limit_ns
    ages = [age for age in (quote_age_ns, trade_age_ns) if age is not None]
    bid, ask = (reading.bid * rate, reading.ask * rate) if quoted else (None, None)
    level = (bid + ask) / 2 if bid is not None and ask is not None else reading.last * rate
    candidate = Candidate(reading, level, level, bid, ask, min(ages, default=0))
    candidate.excluded = _unusable(candidate, policy, limit_ns, known=bool(ages))
    if candidate.excluded is None and policy.method is AggregationMethod.VWAP:
        candidate.price = _near_vwap(reading, level, rate, policy)
    return candidate


def _age_ns(arrived_ns: int, delay_ns: int, now_ns: int) -> int | None:
    return max(0, now_ns - arrived_ns) + max(0, delay_ns) if arrived_ns else None


def _age_limit_ns(reading: Reading, policy: PricePolicy, now_ns: int) -> float:
    """A quiet symbol may be older while its exchange is heard."""
    if reading.alive_ns and now_ns - reading.alive_ns <= policy.age_max_s * _NS:
        return max(policy.age_max_s, policy.quiet_age_max_s) * _NS
    return policy.age_max_s * _NS


def _unusable(
    candidate: Candidate, policy: PricePolicy, limit_ns: float, *, known: bool
) -> Exclusion | None:
    reading = candidate.reading
    if not known:
        return Exclusion.NO_DATA
    if candidate.age_ns > limit_ns:
        return Exclusion.STALE
    ahead_ns = -min(reading.quote_delay_ns, reading.trade_delay_ns)
    if ahead_ns > policy.clock_ahead_max_s * _NS:
        return Exclusion.CLOCK
    if reading.rate is None:
        return Exclusion.NO_CONVERSION
    if policy.method is AggregationMethod.BEST_BID_ASK and candidate.bid is None:
        return Exclusion.NO_QUOTE
    return None


def _near_vwap(reading: Reading, level: float, rate: float, policy: PricePolicy) -> float:
    """The VWAP, held near the source's own level so that a fast market does not leave it behind."""
    if reading.vwap is None:
        return level
    lag = policy.vwap_lag_bps * _BPS
    return min(max(reading.vwap * rate, level * (1 - lag)), level * (1 + lag))

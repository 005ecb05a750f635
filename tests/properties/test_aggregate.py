"""What holds of a price whatever the sources say."""

from math import isfinite
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trading_platform.market.instruments import ExchangeId
from trading_platform.market.quotes import AggregatedPrice, AggregationMethod, PriceRefusal
from trading_platform.prices.aggregate import LastGood, aggregate
from trading_platform.prices.confidence import confidence
from trading_platform.prices.model import PricePolicy, Rate, Reading

S = 1_000_000_000
NOW_NS = 1_790_000_000 * S

levels = st.one_of(
    st.floats(99.0, 101.0),  # mostly near each other, so that prices come about
    st.floats(1e-9, 1e9, allow_nan=False),
)
ages_ns = st.one_of(st.just(0), st.integers(0, 4 * S), st.integers(0, 60 * S))
rates = st.one_of(
    st.just(Rate(value=1.0)),
    st.none(),
    st.builds(Rate, value=st.floats(0.9, 1.1), confidence=st.floats(0, 1), synthetic=st.booleans()),
)


@st.composite
def readings(draw: st.DrawFn, exchange_id: ExchangeId, symbol: str) -> Reading:
    level = draw(levels)
    half = level * draw(st.floats(0, 0.01))
    arrived = draw(st.one_of(st.just(0), st.builds(lambda age: NOW_NS - age, ages_ns)))
    traded = draw(st.one_of(st.just(0), st.builds(lambda age: NOW_NS - age, ages_ns)))
    return Reading(
        exchange_id=exchange_id,
        symbol=symbol,
        bid=level - half,
        ask=level + half,
        quoted_ns=arrived,
        quote_delay_ns=draw(st.sampled_from([0, 0, S, 20 * S, -3 * S])),
        last=level * draw(st.floats(0.99, 1.01)),
        traded_ns=traded,
        trade_delay_ns=draw(st.sampled_from([0, 0, S])),
        vwap=draw(st.one_of(st.none(), st.floats(0.9, 1.1).map(lambda share: level * share))),
        volume=draw(st.one_of(st.just(0.0), st.floats(0, 1e12, allow_subnormal=True))),
        alive_ns=draw(st.sampled_from([0, NOW_NS, NOW_NS - 30 * S])),
        rate=draw(rates),
        synthetic=draw(st.booleans()),
    )


@st.composite
def several(draw: st.DrawFn) -> list[Reading]:
    places = [(e, s) for e in ExchangeId for s in ("BTC-USD", "BTC-USDT", "BTC-USDC")]
    chosen = draw(st.lists(st.sampled_from(places), unique=True, max_size=6))
    return [draw(readings(exchange_id, symbol)) for exchange_id, symbol in chosen]


policies = st.builds(
    PricePolicy,
    symbol=st.just("BTC-USD"),
    method=st.sampled_from(AggregationMethod),
    sources_min=st.integers(1, 3),
    outlier_bps=st.floats(1, 1000),
)


@given(several(), policies)
def test_price_lies_within_the_sources_it_used(sources: list[Reading], policy: PricePolicy) -> None:
    result = aggregate(sources, policy, NOW_NS)
    if isinstance(result, AggregatedPrice):
        used = [source.price for source in result.sources if source.excluded is None]
        assert min(used) <= result.price <= max(used)
        assert len({s.exchange_id for s in result.sources if s.excluded is None}) >= (
            policy.sources_min
        )


@given(several(), policies)
def test_nothing_is_ever_not_a_number(sources: list[Reading], policy: PricePolicy) -> None:
    result = aggregate(sources, policy, NOW_NS)
    if isinstance(result, AggregatedPrice):
        assert isfinite(result.price)
        assert result.price > 0
        assert 0 <= result.confidence <= 1
    assert all(isfinite(source.price) and source.age_ms >= 0 for source in result.sources)
    assert len(result.sources) == len(sources)


@given(several(), policies)
def test_used_source_is_fresh_and_a_left_out_one_has_no_influence(
    sources: list[Reading], policy: PricePolicy
) -> None:
    """Without the stale, unconverted and unheard ones the same price comes out."""
    result = aggregate(sources, policy, NOW_NS)
    for source in result.sources:
        if source.excluded is None:
            assert source.age_ms <= policy.quiet_age_max_s * 1000
    gone = {
        (s.exchange_id, s.symbol)
        for s in result.sources
        if s.excluded not in (None, "OUTLIER", "DISAGREES")
    }
    rest = [s for s in sources if (s.exchange_id, s.symbol) not in gone]
    again = aggregate(rest, policy, NOW_NS)
    if isinstance(result, AggregatedPrice):
        assert isinstance(again, AggregatedPrice)
        assert (again.price, again.bid, again.ask, again.confidence) == (
            result.price,
            result.bid,
            result.ask,
            result.confidence,
        )
    else:
        assert isinstance(again, PriceRefusal)


@given(several(), policies, st.randoms(use_true_random=False))
def test_order_of_the_sources_makes_no_difference(
    sources: list[Reading], policy: PricePolicy, random: Random
) -> None:
    shuffled = list(sources)
    random.shuffle(shuffled)
    assert aggregate(shuffled, policy, NOW_NS) == aggregate(sources, policy, NOW_NS)


@given(several(), policies, st.floats(1e-9, 1e9), st.integers(0, 60 * S))
def test_memory_never_changes_a_price_only_refuses_it(
    sources: list[Reading], policy: PricePolicy, price: float, age_ns: int
) -> None:
    plain = aggregate(sources, policy, NOW_NS)
    held = aggregate(sources, policy, NOW_NS, LastGood(price, NOW_NS - age_ns))
    assert held == plain or (
        isinstance(held, PriceRefusal)
        and held.reason == "UNWITNESSED_MOVE"
        and age_ns <= policy.reference_hold_s * S
    )


@given(several(), policies, st.integers(1, 5 * S))
def test_older_data_never_raises_confidence(
    sources: list[Reading], policy: PricePolicy, later_ns: int
) -> None:
    """Everything else equal: the same sources, still all used, some time later."""
    now = aggregate(sources, policy, NOW_NS)
    later = aggregate(sources, policy, NOW_NS + later_ns)
    if isinstance(now, AggregatedPrice) and isinstance(later, AggregatedPrice):
        reasons_now = [s.excluded for s in now.sources]
        quotes_now = [s.bid is None for s in now.sources]
        if reasons_now == [s.excluded for s in later.sources] and quotes_now == [
            s.bid is None for s in later.sources
        ]:
            assert later.confidence <= now.confidence


@given(
    st.integers(1, 8),
    *[st.floats(0, 1) for _ in range(5)],
    st.sampled_from(["dispersion", "spread", "age"]),
    st.floats(0, 1),
)
def test_confidence_falls_with_dispersion_spread_and_age_and_rises_with_exchanges_and_rates(
    exchanges: int,
    share: float,
    dispersion: float,
    spread: float,
    age: float,
    rate: float,
    what: str,
    more: float,
) -> None:
    parts = {"dispersion": dispersion, "spread": spread, "age": age}

    def of(count: int, rate_confidence: float, **worse: float) -> float:
        return confidence(
            exchanges=count,
            agreeing_share=share,
            rate_confidence=rate_confidence,
            **{**parts, **worse},
        )

    base = of(exchanges, rate)
    assert 0 <= base <= 1
    assert of(exchanges, rate, **{what: parts[what] + more}) <= base
    assert of(exchanges + 1, rate) >= base
    assert of(exchanges, min(1.0, rate + more)) >= base


@given(st.floats(1, 1e6), st.floats(-0.2, 0.2), policies)
def test_two_that_disagree_are_never_a_price(
    price: float, apart: float, policy: PricePolicy
) -> None:
    first = Reading(
        exchange_id=ExchangeId.BINANCE,
        symbol="BTC-USD",
        bid=price,
        ask=price,
        quoted_ns=NOW_NS,
    )
    other = price * (1 + apart)
    second = msgspec.structs.replace(first, exchange_id=ExchangeId.COINBASE, bid=other, ask=other)
    result = aggregate([first, second], policy, NOW_NS)
    distance = abs(other - price) / ((other + price) / 2) * 1e4
    if distance > policy.outlier_bps * 1.000001:
        assert isinstance(result, PriceRefusal)
        assert result.reason == "DISAGREEMENT"

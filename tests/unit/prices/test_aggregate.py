from typing import Any

import msgspec
import pytest

from tests.unit.prices.builders import NOW_NS, S, a_policy, a_reading, on_binance
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.quotes import AggregatedPrice, AggregationMethod, PriceRefusal
from trading_platform.prices.aggregate import LastGood, aggregate
from trading_platform.prices.model import PricePolicy, Rate, Reading


def price_of(readings: list[Reading], policy: PricePolicy | None = None) -> AggregatedPrice:
    result = aggregate(readings, policy or a_policy(), NOW_NS)
    assert isinstance(result, AggregatedPrice), result
    return result


def refusal_of(readings: list[Reading], policy: PricePolicy | None = None) -> PriceRefusal:
    result = aggregate(readings, policy or a_policy(), NOW_NS)
    assert isinstance(result, PriceRefusal), result
    return result


def excluded(result: AggregatedPrice | PriceRefusal) -> dict[str, str | None]:
    return {f"{s.exchange_id}:{s.symbol}": s.excluded for s in result.sources}


def test_vwap_weighs_exchanges_by_their_volume() -> None:
    result = price_of([a_reading(100.0, volume=3.0), on_binance(100.2, volume=1.0)])
    assert result.price == pytest.approx(100.05)
    assert result.aggregation_method is AggregationMethod.VWAP
    assert (result.bid, result.ask) == (100.15, 100.05)
    assert [s.excluded for s in result.sources] == [None, None]


def test_vwap_without_any_trades_is_the_mean_of_the_mids() -> None:
    quiet = {"vwap": None, "volume": 0.0}
    assert price_of([a_reading(100.0, **quiet), on_binance(100.2, **quiet)]).price == pytest.approx(
        100.1
    )


def test_vwap_left_behind_by_a_fast_market_is_held_near_the_book() -> None:
    result = price_of([a_reading(110.0, vwap=100.0), on_binance(110.0, vwap=100.0)])
    assert result.price == pytest.approx(110.0 * (1 - 25e-4))


def test_median_takes_the_mids() -> None:
    policy = a_policy(method=AggregationMethod.MEDIAN)
    assert price_of([a_reading(100.0, vwap=99.9), on_binance(100.2)], policy).price == (
        pytest.approx(100.1)
    )


def test_best_bid_ask_is_the_middle_of_the_best_of_all_and_needs_quotes() -> None:
    policy = a_policy(method=AggregationMethod.BEST_BID_ASK, sources_min=1)
    readings = [
        a_reading(bid=99.9, ask=100.3),
        on_binance(bid=99.8, ask=100.1),
        a_reading(symbol="BTC-USDC", quoted_ns=0),
    ]
    result = price_of(readings, policy)
    assert (result.bid, result.ask) == (99.9, 100.1)
    assert result.price == pytest.approx(100.0)
    assert excluded(result)["COINBASE:BTC-USDC"] == "NO_QUOTE"


def test_two_sources_apart_and_no_third_witness_is_refused() -> None:
    result = refusal_of([a_reading(100.0), on_binance(101.0)])
    assert result.reason == "DISAGREEMENT"
    assert set(excluded(result).values()) == {"DISAGREES"}


def three(*prices: float) -> list[Reading]:
    symbols = ["BTC-USD", "BTC-USDC"]
    readings = [a_reading(p, symbol=s) for p, s in zip(prices[:2], symbols, strict=True)]
    return [*readings, on_binance(prices[2])]


def test_third_witness_settles_who_is_off() -> None:
    result = price_of(three(100.0, 101.0, 100.01))
    assert result.price < 100.1
    assert excluded(result)["COINBASE:BTC-USDC"] == "OUTLIER"


def test_majority_at_a_new_level_wins_at_once() -> None:
    """A true fast move is followed as soon as most sources show it, whatever was before."""
    before = LastGood(100.0, NOW_NS)
    result = aggregate(three(100.0, 120.0, 120.1), a_policy(), NOW_NS, before)
    assert isinstance(result, AggregatedPrice)
    assert result.price > 119
    assert excluded(result)["COINBASE:BTC-USD"] == "OUTLIER"


def test_three_that_all_differ_are_refused() -> None:
    assert refusal_of(three(100.0, 120.0, 140.0)).reason == "DISAGREEMENT"


def test_two_symbols_of_one_exchange_are_one_witness() -> None:
    result = refusal_of([a_reading(), a_reading(symbol="BTC-USDC")])
    assert result.reason == "TOO_FEW_SOURCES"


def test_outlier_lowers_confidence_beyond_its_absence() -> None:
    alone = price_of(three(100.0, 100.0, 100.0)[1:])
    beside = price_of(three(150.0, 100.0, 100.0))
    assert beside.price == alone.price
    assert beside.confidence < alone.confidence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quoted_ns": 0, "traded_ns": 0}, "NO_DATA"),
        ({"quoted_ns": NOW_NS - 6 * S, "traded_ns": NOW_NS - 6 * S, "alive_ns": 0}, "STALE"),
        ({"quote_delay_ns": 16 * S, "trade_delay_ns": 16 * S}, "STALE"),
        ({"quote_delay_ns": -2 * S}, "CLOCK"),
        ({"rate": None}, "NO_CONVERSION"),
    ],
)
def test_unusable_source_is_left_out_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    result = refusal_of([a_reading(), on_binance(500.0, **changes)])
    assert result.reason == "TOO_FEW_SOURCES"
    assert excluded(result) == {"BINANCE:BTC-USD": reason, "COINBASE:BTC-USD": None}


def test_quiet_symbol_of_an_exchange_that_is_heard_may_be_older() -> None:
    old = NOW_NS - 10 * S
    quiet = on_binance(quoted_ns=old, traded_ns=old, alive_ns=NOW_NS)
    result = price_of([a_reading(), quiet])
    assert [s.age_ms for s in result.sources] == [10_000, 0]
    assert result.confidence < price_of([a_reading(), on_binance()]).confidence
    silent = on_binance(quoted_ns=old, traded_ns=old, alive_ns=old)
    assert refusal_of([a_reading(), silent]).reason == "TOO_FEW_SOURCES"


def test_stale_quote_is_not_shown_beside_a_fresh_trade() -> None:
    result = price_of([a_reading(), on_binance(100.1, quoted_ns=NOW_NS - 60 * S)])
    binance = result.sources[0]
    assert (binance.bid, binance.ask, binance.price) == (None, None, 100.1)


def test_other_currency_is_converted_by_its_rate() -> None:
    usdt = on_binance(100.0, symbol="BTC-USDT", rate=Rate(value=0.95))
    assert refusal_of([a_reading(100.0), usdt]).reason == "DISAGREEMENT"
    result = price_of([a_reading(95.0), usdt])
    assert result.price == pytest.approx(95.0)
    assert result.sources[0].bid == pytest.approx(99.95 * 0.95)


def test_doubtful_rate_lowers_confidence() -> None:
    sure = price_of([a_reading(), on_binance(rate=Rate(value=1.0))])
    doubtful = price_of([a_reading(), on_binance(rate=Rate(value=1.0, confidence=0.5))])
    assert doubtful.confidence == pytest.approx(sure.confidence * 0.875)


@pytest.mark.parametrize("changes", [{"synthetic": True}, {"rate": Rate(value=1, synthetic=True)}])
def test_synthetic_data_marks_source_and_price(changes: dict[str, Any]) -> None:
    result = price_of([a_reading(), on_binance(**changes)])
    assert result.synthetic
    assert "SYNTHETIC" in result.notes
    assert [s.synthetic for s in result.sources] == [True, False]


def test_synthetic_source_that_is_left_out_does_not_mark_the_price() -> None:
    readings = three(150.0, 100.0, 100.0)
    result = price_of([a_reading(150.0, synthetic=True), *readings[1:]])
    assert not result.synthetic


def test_single_source_where_allowed_is_labelled_and_at_most_half_trusted() -> None:
    result = price_of([a_reading()], a_policy(sources_min=1))
    assert result.notes == ("SINGLE_SOURCE",)
    assert 0 < result.confidence <= 0.5


def test_lonely_jump_is_refused_for_as_long_as_the_last_good_price_holds() -> None:
    policy = a_policy(sources_min=1)
    jumped = [a_reading(103.0)]
    held = aggregate(jumped, policy, NOW_NS, LastGood(100.0, NOW_NS - 9 * S))
    assert isinstance(held, PriceRefusal)
    assert held.reason == "UNWITNESSED_MOVE"
    later = aggregate(jumped, policy, NOW_NS, LastGood(100.0, NOW_NS - 11 * S))
    assert isinstance(later, AggregatedPrice)
    small = aggregate([a_reading(100.5)], policy, NOW_NS, LastGood(100.0, NOW_NS))
    assert isinstance(small, AggregatedPrice)


def test_no_sources_is_a_refusal() -> None:
    assert refusal_of([]).reason == "NO_SOURCES"


def test_provenance_names_exchanges() -> None:
    result = price_of([on_binance(), a_reading()])
    assert [s.exchange_id for s in result.sources] == [ExchangeId.BINANCE, ExchangeId.COINBASE]


def test_rounding_does_not_leave_the_sources() -> None:
    """These weights sum to 50.04999999999999."""
    volumes = [4.1, 5.9, 7.1]
    readings = [
        msgspec.structs.replace(reading, volume=volume, vwap=50.05)
        for reading, volume in zip(three(50.05, 50.05, 50.05), volumes, strict=True)
    ]
    result = price_of([msgspec.structs.replace(r, bid=50.05, ask=50.05) for r in readings])
    assert result.price == 50.05

from collections.abc import Callable
from math import fsum, inf, nan
from random import Random

import pytest

from tests.unit.prices.builders import NOW_NS, Feed, S
from trading_platform.market.instruments import ExchangeId
from trading_platform.prices.sink import ExchangeSink
from trading_platform.prices.source import WINDOW_S, Source


def test_vwap_weighs_trades_by_quantity() -> None:
    feed = Feed()
    feed.trade(100.0, 1.0)
    feed.trade(101.0, 3.0)
    reading = feed.reading()
    assert reading.vwap == pytest.approx(100.75)
    assert reading.volume == 4.0
    assert reading.last == 101.0


def test_every_trade_of_a_flood_counts_and_the_newest_quote_stands() -> None:
    feed = Feed()
    random = Random(7)
    trades = [(100 + random.random(), random.random()) for _ in range(20_000)]
    for index, (price, quantity) in enumerate(trades):
        feed.trade(price, quantity)
        feed.quote(price - 0.01, price + 0.01)
        if index % 1000 == 999:
            feed.advance(1)
    reading = feed.reading()
    quantity = fsum(q for _, q in trades)
    assert reading.volume == pytest.approx(quantity, rel=1e-12)
    assert reading.vwap == pytest.approx(fsum(p * q for p, q in trades) / quantity, rel=1e-12)
    assert reading.bid == trades[-1][0] - 0.01
    assert feed.sink.messages == 40_000
    assert feed.source.refused == 0


def test_trades_leave_the_window_and_a_long_run_leaves_no_drift() -> None:
    feed = Feed()
    feed.trade(1e-7, 1e9)
    for _ in range(WINDOW_S * 20):
        feed.advance(1)
        feed.trade(100.0, 0.1)
    reading = feed.reading()
    assert reading.vwap == pytest.approx(100.0, rel=1e-14)
    assert reading.volume == pytest.approx(0.1 * WINDOW_S, rel=1e-12)


def test_without_trades_in_the_window_there_is_no_vwap() -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.advance(WINDOW_S + 1)
    feed.quote(99.0, 101.0)
    assert (feed.reading().vwap, feed.reading().volume) == (None, 0.0)


@pytest.mark.parametrize(
    ("bid", "ask"), [(nan, 101.0), (100.0, nan), (100.0, inf), (0.0, 1.0), (-1.0, 1.0), (102, 101)]
)
def test_impossible_quote_is_refused_and_the_last_good_one_stands(bid: float, ask: float) -> None:
    feed = Feed()
    feed.quote(99.0, 101.0)
    feed.quote(bid, ask)
    assert (feed.reading().bid, feed.reading().ask) == (99.0, 101.0)
    assert feed.source.refused == 1


@pytest.mark.parametrize(
    ("price", "quantity"), [(nan, 1.0), (inf, 1.0), (0.0, 1.0), (100.0, nan), (100.0, -1.0)]
)
def test_impossible_trade_is_refused(price: float, quantity: float) -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.trade(price, quantity)
    assert feed.reading().volume == 1.0
    assert feed.source.refused == 1


def test_doubled_trade_counts_once() -> None:
    feed = Feed()
    feed.trade(100.0, number=5)
    feed.trade(100.0, number=6)
    feed.trade(100.0, number=5, event_ns=NOW_NS - 1)
    feed.trade(100.0, number=6)
    assert feed.reading().volume == 2.0


def test_trade_ids_that_begin_anew_are_followed() -> None:
    feed = Feed()
    feed.trade(100.0, number=5_000_000)
    feed.advance(1)
    feed.trade(100.0, number=1)
    feed.trade(100.0, number=2)
    assert feed.reading().volume == 3.0


def test_skipped_trade_ids_are_counted_as_missed() -> None:
    feed = Feed()
    feed.trade(100.0, number=5)
    feed.trade(100.0, number=9)
    assert feed.source.missed_trades == 3


def test_trade_of_long_ago_after_subscribing_does_not_count() -> None:
    feed = Feed()
    feed.trade(100.0, number=5, event_ns=NOW_NS - 60 * S)
    feed.trade(101.0, number=6)
    assert feed.reading().vwap == 101.0
    assert feed.source.missed_trades == 0


def test_trade_far_off_is_refused_until_three_in_a_row_agree() -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.trade(150.0)
    feed.trade(151.0)
    assert feed.reading().last == 100.0
    feed.trade(150.5)
    assert feed.reading().last == 150.5
    feed.trade(150.6)
    assert feed.reading().volume == 3.0


def test_trade_far_off_is_taken_at_once_when_the_book_is_there() -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.quote(149.0, 151.0)
    feed.trade(150.0)
    assert feed.reading().last == 150.0


def test_quote_older_than_the_last_is_refused_but_one_wrong_time_cannot_silence_the_source() -> (
    None
):
    feed = Feed()
    feed.quote(99.0, 101.0, event_ns=NOW_NS + 3600 * S)
    feed.quote(98.0, 100.0, event_ns=NOW_NS)
    assert feed.reading().bid == 99.0
    feed.advance(1.1)
    feed.quote(97.0, 99.0, event_ns=NOW_NS + S)
    assert feed.reading().bid == 97.0


def test_gap_makes_the_source_unknown_until_it_is_heard() -> None:
    feed = Feed()
    feed.quote(99.0, 101.0)
    feed.trade(100.0)
    feed.sink.on_heartbeat("BTCUSDT", NOW_NS)
    feed.sink.on_gap("reconnect")
    reading = feed.reading()
    assert (reading.quoted_ns, reading.traded_ns, reading.alive_ns) == (0, 0, 0)
    feed.quote(98.0, 99.0)
    assert feed.reading().quoted_ns == NOW_NS
    assert (feed.sink.gaps, feed.sink.gap_reason) == (1, "reconnect")


def test_stranger_is_counted_and_changes_nothing() -> None:
    feed = Feed()
    feed.sink.on_quote("XYZ", 1.0, 1.0, 2.0, 1.0, 0)
    feed.sink.on_trade("XYZ", 1.0, 1.0, True, 1, 0)
    assert (feed.sink.strangers, feed.sink.messages, feed.source.changed) == (2, 0, False)


def test_clock_offset_of_the_exchange_is_taken_out_of_its_delay() -> None:
    feed = Feed()
    ahead = int(0.3 * S)  # their clock runs 0.3 s ahead
    feed.trade(100.0, event_ns=feed.now_ns + ahead)
    assert feed.reading().trade_delay_ns == 0
    feed.advance(1)
    feed.trade(100.0, event_ns=feed.now_ns + ahead - 2 * S)
    assert feed.reading().trade_delay_ns == 2 * S


def test_feed_late_from_its_first_message_is_late_not_a_clock_that_is_off() -> None:
    feed = Feed()
    feed.trade(100.0, event_ns=feed.now_ns - 10 * S)
    assert feed.reading().trade_delay_ns == 9 * S


def test_quote_without_a_time_is_as_late_as_the_trades_beside_it() -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.quote(99.0, 101.0)
    assert feed.reading().quote_delay_ns == 0
    feed.advance(1)
    feed.trade(100.0, event_ns=feed.now_ns - 4 * S)
    feed.quote(99.0, 101.0)
    assert feed.reading().quote_delay_ns == 4 * S


def test_messages_of_one_batch_share_one_reading_of_the_time() -> None:
    """The next batch has its own."""
    after: list[Callable[[], None]] = []
    times = iter([NOW_NS, NOW_NS + S])
    source = Source(ExchangeId.BINANCE, "BTC-USDT")
    sink = ExchangeSink({"BTCUSDT": source}, lambda: next(times), after.append)
    sink.on_quote("BTCUSDT", 1.0, 1.0, 2.0, 1.0, 0)
    sink.on_trade("BTCUSDT", 1.0, 1.0, True, 1, 0)
    assert (source.quoted_ns, source.traded_ns, len(after)) == (NOW_NS, NOW_NS, 1)
    after.pop()()
    sink.on_trade("BTCUSDT", 1.0, 1.0, True, 2, 0)
    assert source.traded_ns == NOW_NS + S


def test_first_trade_after_a_gap_sets_what_is_near() -> None:
    feed = Feed()
    feed.trade(100.0)
    feed.sink.on_gap("reconnect")
    feed.trade(200.0)
    feed.trade(100.0)
    assert feed.reading().last == 200.0

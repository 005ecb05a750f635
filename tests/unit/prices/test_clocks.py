from tests.unit.prices.builders import NOW_NS, S
from trading_platform.prices.clocks import OFFSET_MAX_NS, OffsetEstimate


def test_offset_is_the_least_lag_heard() -> None:
    offset = OffsetEstimate()
    assert offset.value_ns() == 0
    for lag in (40, -3, 25):
        offset.learn(lag, NOW_NS)
    assert offset.value_ns() == -3


def test_old_least_is_forgotten_after_ten_minutes_so_that_a_drifting_clock_is_followed() -> None:
    offset = OffsetEstimate()
    offset.learn(10, NOW_NS)
    offset.learn(50, NOW_NS + 301 * S)
    assert offset.value_ns() == 10
    offset.learn(60, NOW_NS + 602 * S)
    assert offset.value_ns() == 50


def test_offset_stays_within_a_second() -> None:
    offset = OffsetEstimate()
    offset.learn(-5 * OFFSET_MAX_NS, NOW_NS)
    assert offset.value_ns() == -OFFSET_MAX_NS

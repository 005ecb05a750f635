"""Invented paths stay near their anchor, quote in whole increments, and never cross."""

from decimal import Decimal
from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from trading_platform.kit.decimals import is_multiple
from trading_platform.simulation.replay import Book, Levels, Timed, Trade
from trading_platform.simulation.synthetic import Shape, SyntheticPath

TICK, STEP = Decimal("0.01"), Decimal("0.001")
SHAPE = Shape(
    price_increment=TICK,
    quantity_increment=STEP,
    quantity_typical=Decimal(2),
    wander_bp=2.0,
)
EVENTS = 300


def played(anchor: Decimal, seed: int) -> list[Timed]:
    return list(islice(SyntheticPath(SHAPE, lambda: anchor, seed).round(), EVENTS))


@given(
    seed=st.integers(0, 2**32),
    anchor=st.decimals(Decimal(100), Decimal(100_000), places=5),
)
@settings(max_examples=15, deadline=None)
def test_a_path_is_uncrossed_stays_near_and_trades_at_its_best(seed: int, anchor: Decimal) -> None:
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    trades = 0
    for timed in played(anchor, seed):
        event = timed.event
        if isinstance(event, Book):
            bids, asks = dict(event.bids), dict(event.asks)
        elif isinstance(event, Levels):
            for changes, side in ((event.bids, bids), (event.asks, asks)):
                for price, quantity in changes:
                    assert is_multiple(price, TICK)
                    assert is_multiple(quantity, STEP)
                    side[price] = quantity
                    if not quantity:
                        del side[price]
        elif isinstance(event, Trade):
            trades += 1
            assert event.price in (max(bids), min(asks))
            assert event.quantity > 0
        assert max(bids) < min(asks)
        assert (len(bids), len(asks)) == (10, 10)
        far = 3 * Decimal("0.0002") * anchor + 3 * TICK
        assert abs((max(bids) + min(asks)) / 2 - anchor) <= far
    assert trades > 20


def test_time_only_grows() -> None:
    offsets = [timed.offset_ns for timed in played(Decimal(1000), 1)]
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    steps = [after - before for before, after in pairwise(offsets) if after > before]
    assert min(steps) >= 0.75 * 250e6
    assert max(steps) <= 1.25 * 250e6


def test_a_path_waits_for_its_anchor_and_then_follows_it() -> None:
    now: list[Decimal | None] = [None]
    events = SyntheticPath(SHAPE, lambda: now[0], 1).round()
    assert all(timed.event == Levels((), ()) for timed in islice(events, 3))
    now[0] = Decimal(500)
    first = next(events).event
    assert isinstance(first, Book)
    assert abs(first.bids[0][0] - 500) < 1

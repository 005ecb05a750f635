"""Seeded price paths for symbols that no recording covers. Pure: a seed and an anchor in, market
events out. Whatever trades on one is marked synthetic on its instrument.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from trading_platform.kit.decimals import round_down
from trading_platform.market.orders import Side
from trading_platform.simulation.replay import Book, Level, Levels, MarketEvent, Timed, Trade

Anchor = Callable[[], Decimal | None]
"""The level the path keeps returning to; None while it is not known yet."""


KEPT_SHARE = 0.7
"""How many of the levels that stay in the book keep their quantity in a step."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a path moves and how deep its book is."""

    price_increment: Decimal
    quantity_increment: Decimal
    quantity_typical: Decimal
    """Base quantity of an average level; trades are about a tenth of it."""
    wander_bp: float
    """How far from its anchor the path typically strays, in basis points (1/10,000)."""
    step_ms: int = 250
    """Time between moves, before jitter of a quarter."""
    return_s: float = 30.0
    """Time in which a deviation from the anchor shrinks to about a third."""
    half_spread_increments: int = 1
    level_gap_increments: int = 2
    levels: int = 10
    trades_per_step: float = 0.4


class SyntheticPath:
    """A mean-reverting walk around an anchor, quoted as a small book, with trades at its best."""

    def __init__(self, shape: Shape, anchor: Anchor, seed: int) -> None:
        self._shape = shape
        self._anchor = anchor
        self._seed = seed

    def round(self) -> Iterator[Timed]:
        """An endless run of events; the same seed and anchor give the same ones."""
        draw = random.Random(self._seed)  # noqa: S311 - prices, not secrets
        deviation, offset_ns, book = 0.0, 0, Book((), ())
        while True:
            mid = self._anchor()
            if mid is not None:
                deviation = self._moved(deviation, draw)
                after = self._book(mid * Decimal(repr(1 + deviation)), book, draw)
                for event in self._events(book, after, draw):
                    yield Timed(offset_ns, event)
                book = after
            jitter = draw.uniform(0.75, 1.25)
            offset_ns += round(self._shape.step_ms * jitter * 1_000_000)
            yield Timed(offset_ns, Levels((), ()))  # keeps the anchor fresh: read when due

    def _moved(self, deviation: float, draw: random.Random) -> float:
        """One step of an Ornstein-Uhlenbeck process, kept within three typical deviations."""
        shape = self._shape
        pull = min(1.0, shape.step_ms / 1000 / shape.return_s)
        typical = shape.wander_bp / 10_000
        noise = typical * math.sqrt(2 * pull) * draw.gauss(0, 1)
        return max(-3 * typical, min(3 * typical, deviation * (1 - pull) + noise))

    def _book(self, mid: Decimal, before: Book, draw: random.Random) -> Book:
        shape = self._shape
        tick = shape.price_increment
        center = (mid / tick).to_integral_value(ROUND_HALF_EVEN) * tick
        near, gap = shape.half_spread_increments * tick, shape.level_gap_increments * tick
        return Book(
            self._levels(center - near, -gap, dict(before.bids), draw),
            self._levels(center + near, gap, dict(before.asks), draw),
        )

    def _levels(
        self, best: Decimal, gap: Decimal, before: dict[Decimal, Decimal], draw: random.Random
    ) -> list[Level]:
        """One side, best first; most levels that stay keep their quantity."""
        levels = []
        for n in range(self._shape.levels):
            price, fresh = best + gap * n, self._quantity(draw, 1.0 + n / 4)
            keeps = draw.random() < KEPT_SHARE
            levels.append((price, before.get(price, fresh) if keeps else fresh))
        return levels

    def _quantity(self, draw: random.Random, scale: float) -> Decimal:
        raw = self._shape.quantity_typical * Decimal(repr(scale * draw.uniform(0.4, 1.6)))
        return max(round_down(raw, self._shape.quantity_increment), self._shape.quantity_increment)

    def _events(self, before: Book, after: Book, draw: random.Random) -> Iterator[MarketEvent]:
        if not before.bids:
            yield after
        else:
            yield Levels(_changed(before.bids, after.bids), _changed(before.asks, after.asks))
        # The first step trades always, so that there is a last price from the start.
        if draw.random() < self._shape.trades_per_step or not before.bids:
            side = draw.choice((Side.BUY, Side.SELL))
            price = (after.asks if side is Side.BUY else after.bids)[0][0]
            yield Trade(price, self._quantity(draw, 0.1), side)


def _changed(before: Sequence[Level], after: Sequence[Level]) -> list[Level]:
    """What to set so that one side becomes the other; removals first."""
    was, kept = dict(before), dict(after)
    gone = [(price, Decimal(0)) for price in was if price not in kept]
    return gone + [level for level in after if was.get(level[0]) != level[1]]

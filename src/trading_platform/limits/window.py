"""An exact sliding window: never more than `limit` in any period, wherever one starts to count.

This is the model of the Lua script in limiter.py (they are tested against each other) and what
counts while the cache is away. Times are integer microseconds.
"""

from bisect import bisect_right

import msgspec


class Window(msgspec.Struct, frozen=True):
    """When each unit was spent, oldest first; never more than the limit of them."""

    stamps: tuple[int, ...] = ()


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `retry_after_us` is 0 when the units were spent."""

    retry_after_us: int
    remaining: int
    reset_us: int
    """Until the oldest unit returns; 0 when none is out."""


def spend(
    window: Window, cost: int, now_us: int, *, limit: int, period_us: int
) -> tuple[Window, Spent]:
    """Take `cost` units if all of them fit, else none; a cost of 0 only looks. `cost` <= `limit`.

    A clock that stepped back less than a period stands still until it has caught up; one that
    stepped back further starts a new window. A unit is free again exactly one period after it was
    spent.
    """
    stamps = window.stamps
    if stamps and stamps[-1] - now_us > period_us:
        stamps = ()
    now_us = max(now_us, stamps[-1]) if stamps else now_us
    stamps = stamps[bisect_right(stamps, now_us - period_us) :][-limit:]
    excess = len(stamps) + cost - limit
    if excess > 0:
        retry_after_us = stamps[excess - 1] + period_us - now_us
        return Window(stamps), _spent(stamps, now_us, limit, period_us, retry_after_us)
    stamps += (now_us,) * cost
    return Window(stamps), _spent(stamps, now_us, limit, period_us, 0)


def _spent(
    stamps: tuple[int, ...], now_us: int, limit: int, period_us: int, retry_after_us: int
) -> Spent:
    return Spent(
        retry_after_us=retry_after_us,
        remaining=limit - len(stamps),
        reset_us=stamps[0] + period_us - now_us if stamps else 0,
    )

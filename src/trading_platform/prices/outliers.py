"""Which of several prices agree. No memory: whoever agrees now wins now, so a true move of the
market is followed as soon as most sources show it.
"""

from collections.abc import Sequence
from statistics import median

_MAD_TO_SIGMA = 1.4826
_SIGMAS = 3.0


def agreeing(prices: Sequence[float], bound: float) -> list[bool]:
    """For each price whether it stands with the majority; `bound` is a share of the price.

    Two that lie further apart than `bound` have no third witness: neither stands. Of three or more,
    those near the median stand: within `bound`, or three robust deviations where all are spread,
    but never beyond twice `bound`. Without more than half of all near it, nobody stands.
    """
    if len(prices) < 2:
        return [True] * len(prices)
    middle = median(prices)
    if len(prices) == 2:
        return [abs(prices[0] - prices[1]) <= bound * middle] * 2
    distances = [abs(price - middle) for price in prices]
    spread = _SIGMAS * _MAD_TO_SIGMA * median(distances)
    limit = min(max(bound * middle, spread), 2 * bound * middle)
    near = [distance <= limit for distance in distances]
    return near if 2 * sum(near) > len(near) else [False] * len(near)

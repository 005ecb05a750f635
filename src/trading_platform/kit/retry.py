"""How long to wait before trying again."""

import random


def backoff_s(
    attempt: int, *, first_s: float = 0.25, most_s: float = 30.0, jitter: float | None = None
) -> float:
    """Seconds before attempt `attempt` (1 is the first retry): exponential, capped, with full
    jitter.

    `jitter` in [0, 1] replaces the random draw in tests. Full jitter spreads a crowd best
    (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    ceiling = min(most_s, first_s * 2.0 ** min(attempt - 1, 30))
    draw = random.random() if jitter is None else jitter  # noqa: S311 - not a secret
    return float(ceiling * draw)

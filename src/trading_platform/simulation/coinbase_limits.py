"""Coinbase Exchange's lazy-fill token buckets (rest-api/rate-limits). Pure: times come in."""

import msgspec

BUCKETS_MAX = 10_000


class Rate(msgspec.Struct, frozen=True):
    """Tokens a second, and how many can be saved up."""

    per_s: float
    burst: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The published limits of 2025-2026."""

    public: Rate = Rate(10, 15)
    private: Rate = Rate(15, 30)
    fills: Rate = Rate(10, 20)
    connections: Rate = Rate(8, 20)
    feed_messages: Rate = Rate(100, 100)


UNLIMITED = Limits(
    public=Rate(1e9, 1e9),
    private=Rate(1e9, 1e9),
    fills=Rate(1e9, 1e9),
    connections=Rate(1e9, 1e9),
    feed_messages=Rate(1e9, 1e9),
)


class Buckets:
    """One bucket a key (address or profile); each fills lazily when it is asked."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now_s: float) -> bool:
        """Take one token if there is one. A refused request takes none."""
        tokens, at_s = self._levels.pop(key, (self._rate.burst, now_s))
        tokens = min(self._rate.burst, tokens + (now_s - at_s) * self._rate.per_s)
        allowed = tokens >= 1
        self._levels[key] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._levels) > BUCKETS_MAX:  # the one not used for the longest has long refilled
            del self._levels[next(iter(self._levels))]
        return allowed

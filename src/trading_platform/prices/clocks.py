"""How far an exchange's clock is from ours, as far as its messages tell."""

_PERIOD_NS = 300_000_000_000
OFFSET_MAX_NS = 1_000_000_000


class OffsetEstimate:
    """The least (arrival - event) of the last five to ten minutes: clock offset plus best latency.

    Held within `OFFSET_MAX_NS`: a feed that is ten seconds late from its first message on is late,
    not a clock that is off.
    """

    def __init__(self) -> None:
        self._since_ns = 0
        self._least: int | None = None
        self._least_before: int | None = None

    def learn(self, lag_ns: int, now_ns: int) -> None:
        """Take one lag (arrival minus event time)."""
        if now_ns - self._since_ns > _PERIOD_NS:
            self._since_ns, self._least_before, self._least = now_ns, self._least, None
        if self._least is None or lag_ns < self._least:
            self._least = lag_ns

    def value_ns(self) -> int:
        """The offset to take out of a lag; 0 while nothing is known."""
        known = [least for least in (self._least, self._least_before) if least is not None]
        return max(-OFFSET_MAX_NS, min(OFFSET_MAX_NS, min(known))) if known else 0

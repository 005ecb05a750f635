"""Binance's budgets: fixed, clock-aligned windows; 429, then 418 for those who go on (pure).

rest-api "LIMITS" as of 2026-04: request weight by address, orders by account.
"""

from typing import Any, NamedTuple

from trading_platform.simulation.binance_errors import BinanceError


class Limits(NamedTuple):
    """The published limits, and how patient the address ban is."""

    weight_per_minute: int = 6000
    raw_per_5_minutes: int = 300_000
    orders_per_10_s: int = 100
    orders_per_day: int = 200_000
    refusals_before_ban: int = 20
    ban_s: int = 120


class _Window:
    """Counts by key in the window that `now_s` lies in; only the current window is kept."""

    def __init__(self, interval_s: int, limit: int) -> None:
        self.interval_s, self.limit = interval_s, limit
        self._window, self._used = -1, dict[str, int]()

    def used(self, key: str, now_s: int) -> int:
        return self._current(now_s).get(key, 0)

    def add(self, key: str, count: int, now_s: int) -> None:
        current = self._current(now_s)
        current[key] = max(0, current.get(key, 0) + count)

    def left_s(self, now_s: int) -> int:
        return self.interval_s - now_s % self.interval_s

    def _current(self, now_s: int) -> dict[str, int]:
        if now_s // self.interval_s != self._window:
            self._window, self._used = now_s // self.interval_s, {}
        return self._used


class Budgets:
    """What every address and account has used. Times are whole Unix seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._weight = _Window(60, limits.weight_per_minute)
        self._raw = _Window(300, limits.raw_per_5_minutes)
        self._orders_10_s = _Window(10, limits.orders_per_10_s)
        self._orders_day = _Window(86_400, limits.orders_per_day)
        self._refused = _Window(60, limits.refusals_before_ban)
        self._banned_until: dict[str, int] = {}

    def admit(self, address: str, weight: int, now_s: int) -> None:
        """Refuse a banned address with 418 and an exhausted one with 429; else count the weight."""
        self._refuse_banned(address, now_s)
        self._raw.add(address, 1, now_s)
        self._weight.add(address, weight, now_s)
        over_weight = self._weight.used(address, now_s) > self._weight.limit
        if over_weight or self._raw.used(address, now_s) > self._raw.limit:
            self._refuse(address, self._weight if over_weight else self._raw, now_s)

    def charge(self, address: str, weight: int, now_s: int) -> None:
        """Count the weight of a call that failed after being admitted for nothing."""
        self._weight.add(address, weight, now_s)

    def admit_order(self, account_id: str, now_s: int) -> None:
        """-1015 when the account may place no more orders in this window."""
        for window, text in ((self._orders_10_s, "10 SECOND"), (self._orders_day, "1 DAY")):
            if window.used(account_id, now_s) >= window.limit:
                raise BinanceError(
                    -1015,
                    f"Too many new orders; current limit is {window.limit} orders per {text}.",
                    429,
                    retry_after_s=window.left_s(now_s),
                )

    def count_order(self, account_id: str, count: int, now_s: int) -> None:
        """An order was accepted (+1), or filled for the first time (-1)."""
        self._orders_10_s.add(account_id, count, now_s)
        self._orders_day.add(account_id, count, now_s)

    def weight_headers(self, address: str, now_s: int) -> dict[str, str]:
        """What every REST answer carries."""
        used = str(self._weight.used(address, now_s))
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def order_headers(self, account_id: str, now_s: int) -> dict[str, str]:
        """What a successful order carries."""
        return {
            "X-MBX-ORDER-COUNT-10S": str(self._orders_10_s.used(account_id, now_s)),
            "X-MBX-ORDER-COUNT-1D": str(self._orders_day.used(account_id, now_s)),
        }

    def weight_rows(self, address: str, now_s: int) -> list[dict[str, Any]]:
        """`rateLimits` of a WebSocket API answer."""
        return [
            _row("REQUEST_WEIGHT", "MINUTE", 1, self._weight, self._weight.used(address, now_s))
        ]

    def order_rows(self, account_id: str, now_s: int) -> list[dict[str, Any]]:
        """`rateLimits` of an order's answer, and GET rateLimit/order."""
        ten, day = self._orders_10_s, self._orders_day
        return [
            _row("ORDERS", "SECOND", 10, ten, ten.used(account_id, now_s)),
            _row("ORDERS", "DAY", 1, day, day.used(account_id, now_s)),
        ]

    def published(self) -> list[dict[str, Any]]:
        """`exchangeInfo.rateLimits`."""
        return [
            _row("REQUEST_WEIGHT", "MINUTE", 1, self._weight),
            _row("ORDERS", "SECOND", 10, self._orders_10_s),
            _row("ORDERS", "DAY", 1, self._orders_day),
            _row("RAW_REQUESTS", "MINUTE", 5, self._raw),
        ]

    def _refuse_banned(self, address: str, now_s: int) -> None:
        until = self._banned_until.get(address, 0)
        if now_s < until:
            raise _ban_error(until, now_s)
        self._banned_until.pop(address, None)

    def _refuse(self, address: str, window: _Window, now_s: int) -> None:
        self._refused.add(address, 1, now_s)
        if self._refused.used(address, now_s) > self._refused.limit:
            until = now_s + self._limits.ban_s
            self._banned_until[address] = until
            raise _ban_error(until, now_s)
        what = "request weight" if window is self._weight else "raw requests"
        minutes = window.interval_s // 60
        raise BinanceError(
            -1003,
            f"Too much {what} used; current limit is {window.limit} {what} per {minutes} MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
            429,
            retry_after_s=window.left_s(now_s),
        )


def _ban_error(until_s: int, now_s: int) -> BinanceError:
    return BinanceError(
        -1003,
        f"Way too much request weight used; IP banned until {until_s * 1000}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
        418,
        retry_after_s=until_s - now_s,
    )


def _row(
    kind: str, interval: str, number: int, window: _Window, count: int | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "rateLimitType": kind,
        "interval": interval,
        "intervalNum": number,
        "limit": window.limit,
    }
    return row if count is None else {**row, "count": count}

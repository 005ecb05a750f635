"""Typed values with a life span, shared by all processes of a deployment. Never the only home of
anything that must survive.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import TypeVar

import msgspec

from trading_platform.cache.address import parse_address
from trading_platform.cache.link import Link, Reply, unavailable
from trading_platform.cache.subscription import follow
from trading_platform.kit.errors import ServiceError

T = TypeVar("T")

_KEY_BYTES_MAX = 512
_VALUE_BYTES_MAX = 1 << 20
_SCAN_PAGES_MAX = 2000
_SCAN_COUNT = 500


class Namespace(StrEnum):
    """What is cached; a key is `<namespace>:<key>`."""

    KILL_SWITCH = "kill-switch"
    RATE_LIMIT = "rate-limit"
    PRICE = "price"
    SESSION = "session"
    EXCHANGE_HEALTH = "exchange-health"


LIFE_S = {
    Namespace.KILL_SWITCH: 0,
    Namespace.RATE_LIMIT: 60,
    Namespace.PRICE: 5,
    Namespace.SESSION: 3600,
    Namespace.EXCHANGE_HEALTH: 30,
}
"""Namespace -> seconds that a value lives when not said otherwise; 0 is until deleted."""


class CacheService:
    """Get, set, delete and announce; raises PROVIDER_UNAVAILABLE when the server is away."""

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._link = Link(url)

    async def initialize(self) -> None:
        """Check that the server answers."""
        await self._link.call("PING")

    async def close(self) -> None:
        """Let go of the connection."""
        await self._link.close()

    async def get(self, namespace: Namespace, key: str, type_: type[T]) -> T | None:
        """The value, or None when absent, expired, or not a `type_` (an older version wrote it)."""
        raw = await self._link.call("GET", _full(namespace, key))
        if not isinstance(raw, bytes):
            return None
        try:
            return msgspec.json.decode(raw, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    async def set(
        self, namespace: Namespace, key: str, value: object, ttl_s: float | None = None
    ) -> None:
        """Keep `value` for `ttl_s` seconds; None is the namespace's own, 0 is for ever."""
        raw = msgspec.json.encode(value)
        if len(raw) > _VALUE_BYTES_MAX:
            raise ServiceError("A cached value is larger than 1 MiB.", "INVALID_REQUEST")
        life_s = LIFE_S[namespace] if ttl_s is None else ttl_s
        if life_s < 0:
            raise ServiceError("A life span cannot be negative.", "INVALID_REQUEST")
        life = ("PX", max(1, round(life_s * 1000))) if life_s else ()
        await self._link.call("SET", _full(namespace, key), raw, *life)

    async def delete(self, namespace: Namespace, key: str) -> None:
        """Forget one value; one that is not there is fine."""
        await self._link.call("UNLINK", _full(namespace, key))

    async def invalidate_pattern(self, namespace: Namespace, pattern: str) -> int:
        """Forget every value of the namespace whose key matches `pattern` (`*`, `?`, `[a-z]`);
        gives how many.

        Looks at most at about a million keys; raises PROVIDER_UNAVAILABLE beyond.
        """
        match = _full(namespace, pattern)
        cursor: Reply = b"0"
        forgotten = 0
        for _ in range(_SCAN_PAGES_MAX):
            cursor, keys = _page(
                await self._link.call("SCAN", _word(cursor), "MATCH", match, "COUNT", _SCAN_COUNT)
            )
            if keys:
                count = await self._link.call("UNLINK", *keys)
                forgotten += count if isinstance(count, int) else 0
            if cursor == b"0":
                return forgotten
        raise unavailable("holds too many keys to look through")

    async def publish(self, channel: str, payload: bytes) -> None:
        """Hand a message to whoever listens now; nobody else ever gets it."""
        await self._link.call("PUBLISH", channel, payload)

    def subscribe(self, channel: str) -> AsyncIterator[bytes | None]:
        """None when listening has begun (messages before it may be missed), then the messages;
        raises PROVIDER_UNAVAILABLE when the connection breaks.
        """
        return follow(self._address, channel)


def _full(namespace: Namespace, key: str) -> str:
    full = f"{Namespace(namespace)}:{key}"
    if not key or len(full.encode()) > _KEY_BYTES_MAX:
        raise ServiceError("A cache key must have 1 to 500 characters.", "INVALID_REQUEST")
    return full


def _word(cursor: Reply) -> bytes:
    return cursor if isinstance(cursor, bytes) else b"0"


def _page(reply: Reply) -> tuple[bytes, list[bytes]]:
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
        raise unavailable("answered SCAN with something else")
    return _word(reply[0]), [key for key in reply[1] if isinstance(key, bytes)]

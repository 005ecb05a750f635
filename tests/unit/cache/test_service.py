import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.service import LIFE_S, CacheService, Namespace
from trading_platform.cache.valkey import EmbeddedValkey
from trading_platform.kit.errors import ServiceError


class Spot(msgspec.Struct, frozen=True):
    symbol: str
    price: Decimal


SPOT = Spot("BTC-USDT", Decimal("60000.10"))


@pytest.fixture
async def cache(server: EmbeddedValkey, link: Link) -> AsyncIterator[CacheService]:
    service = CacheService(server.url)
    await service.initialize()
    yield service
    await service.close()


async def test_value_comes_back_as_its_type(cache: CacheService) -> None:
    await cache.set(Namespace.PRICE, "BTC-USDT", SPOT)
    assert await cache.get(Namespace.PRICE, "BTC-USDT", Spot) == SPOT
    assert await cache.get(Namespace.PRICE, "ETH-USDT", Spot) is None


@pytest.mark.parametrize("namespace", list(Namespace))
async def test_namespace_decides_the_life_span(
    cache: CacheService, link: Link, namespace: Namespace
) -> None:
    await cache.set(namespace, "x", 1)
    left_ms = await link.call("PTTL", f"{namespace}:x")
    expected_ms = LIFE_S[namespace] * 1000
    assert (
        left_ms == -1 if expected_ms == 0 else expected_ms - 500 < int(str(left_ms)) <= expected_ms
    )


def test_life_spans_are_those_of_the_requirements() -> None:
    assert {str(name): life for name, life in LIFE_S.items()} == {
        "kill-switch": 0,
        "rate-limit": 60,
        "price": 5,
        "session": 3600,
        "exchange-health": 30,
    }


async def test_own_life_span_is_kept(cache: CacheService) -> None:
    await cache.set(Namespace.SESSION, "brief", "x", ttl_s=0.02)
    assert await cache.get(Namespace.SESSION, "brief", str) == "x"
    await asyncio.sleep(0.05)
    assert await cache.get(Namespace.SESSION, "brief", str) is None


async def test_value_of_another_shape_counts_as_absent(cache: CacheService, link: Link) -> None:
    await cache.set(Namespace.PRICE, "a", {"old": True})
    assert await cache.get(Namespace.PRICE, "a", Spot) is None
    await link.call("SET", "price:a", b"\xff{")
    assert await cache.get(Namespace.PRICE, "a", Spot) is None


async def test_deleted_value_is_gone_and_deleting_again_is_fine(cache: CacheService) -> None:
    await cache.set(Namespace.PRICE, "a", 1)
    await cache.delete(Namespace.PRICE, "a")
    await cache.delete(Namespace.PRICE, "a")
    assert await cache.get(Namespace.PRICE, "a", int) is None


async def test_pattern_forgets_matching_keys_of_its_namespace_only(cache: CacheService) -> None:
    for n in range(1200):
        await cache.set(Namespace.PRICE, f"BTC-{n}", n)
    await cache.set(Namespace.PRICE, "ETH-1", 1)
    await cache.set(Namespace.SESSION, "BTC-1", 1)
    assert await cache.invalidate_pattern(Namespace.PRICE, "BTC-*") == 1200
    assert await cache.get(Namespace.PRICE, "BTC-7", int) is None
    assert await cache.get(Namespace.PRICE, "ETH-1", int) == 1
    assert await cache.get(Namespace.SESSION, "BTC-1", int) == 1


@pytest.mark.parametrize("key", ["", "x" * 600])
async def test_unusable_key_is_refused(cache: CacheService, key: str) -> None:
    with pytest.raises(ServiceError) as refused:
        await cache.set(Namespace.PRICE, key, 1)
    assert refused.value.code == "INVALID_REQUEST"


async def test_value_over_a_mebibyte_is_refused(cache: CacheService) -> None:
    with pytest.raises(ServiceError, match="1 MiB"):
        await cache.set(Namespace.PRICE, "big", "x" * (1 << 20))


async def test_message_reaches_a_listener_after_it_began(cache: CacheService) -> None:
    heard = cache.subscribe("news")
    assert await anext(heard) is None
    await cache.publish("other", b"not this")
    await cache.publish("news", b"this")
    assert await anext(heard) == b"this"
    await heard.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_broken_subscription_says_so(cache: CacheService, link: Link) -> None:
    heard = cache.subscribe("news")
    assert await anext(heard) is None
    await link.call("CLIENT", "KILL", "TYPE", "pubsub")
    with pytest.raises(ServiceError, match="ended the subscription"):
        await anext(heard)


async def test_absent_server_is_reported_at_the_start() -> None:
    service = CacheService("unix:///nowhere/valkey.sock")
    with pytest.raises(ServiceError) as failed:
        await service.initialize()
    assert failed.value.code == "PROVIDER_UNAVAILABLE"
    await service.close()

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.prices.builders import NOW_NS, a_policy, a_reading, on_binance
from trading_platform.cache.link import Link
from trading_platform.cache.service import CacheService
from trading_platform.cache.valkey import start_embedded
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.prices.aggregate import aggregate
from trading_platform.prices.store import PriceStore

REFUSAL = PriceRefusal(
    symbol="BTC-USD", reason="STALE", sources=(), timestamp=datetime(2026, 11, 2, tzinfo=UTC)
)


class Log:
    def __init__(self) -> None:
        self.warnings: list[dict[str, Any]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.warnings.append({"event": event, **fields})


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    server = await start_embedded(tmp_path)
    yield server.url
    await server.close()


def a_price(price: float = 100.0, symbol: str = "BTC-USD") -> AggregatedPrice:
    readings = [a_reading(price), on_binance(price)]
    result = aggregate(readings, a_policy(symbol=symbol), NOW_NS)
    assert isinstance(result, AggregatedPrice)
    return result


async def test_newest_price_is_readable_lapses_and_is_announced(url: str) -> None:
    link, cache, log = Link(url), CacheService(url), Log()
    store = PriceStore(link, log)
    listener = cache.subscribe("prices")
    assert await anext(listener) is None
    store.offer([a_price(99.0), a_price(2.0, "ETH-USD")])
    store.offer([a_price(100.0)])
    await store.flush()
    stored = await link.call("GET", "price:BTC-USD")
    assert isinstance(stored, bytes)
    assert msgspec.json.decode(stored, type=AggregatedPrice).price == 100.0
    assert b'"aggregationMethod":"VWAP"' in stored
    assert await link.call("TTL", "price:ETH-USD") == 5
    announced = await anext(listener)
    assert announced is not None
    heard = msgspec.json.decode(announced, type=list[AggregatedPrice])
    assert {price.symbol: price.price for price in heard} == {"BTC-USD": 100.0, "ETH-USD": 2.0}
    assert (store.written, store.replaced, log.warnings) == (2, 1, [])
    await link.close()
    await cache.close()


async def test_refusal_takes_the_price_away_at_once(url: str) -> None:
    link = Link(url)
    store = PriceStore(link, Log())
    store.offer([a_price()])
    await store.flush()
    store.offer([REFUSAL])
    await store.flush()
    assert await link.call("GET", "price:BTC-USD") is None
    await link.close()


async def test_server_away_loses_only_what_would_be_stale_and_says_so_once(tmp_path: Path) -> None:
    link, log = Link(f"unix://{tmp_path}/nobody.sock"), Log()
    store = PriceStore(link, log)
    for _ in range(3):
        store.offer([a_price()])
        await store.flush()
    assert (store.failed, store.written, len(log.warnings)) == (3, 0, 1)
    await link.close()


async def test_slow_server_gets_the_latest_not_a_backlog() -> None:
    calls: list[tuple[str | bytes | int, ...]] = []
    gate = asyncio.Event()

    class SlowLink:
        async def call(self, *args: str | bytes | int) -> object:
            calls.append(args)
            await gate.wait()
            return b"OK"

    store = PriceStore(SlowLink(), Log())
    loop = asyncio.create_task(store.run())
    store.offer([a_price(1.0)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for price in range(2, 100):
        store.offer([a_price(float(price))])
    gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
    texts = [call[2] for call in calls if call[0] == "SET"]
    prices = [
        msgspec.json.decode(text, type=AggregatedPrice).price
        for text in texts
        if isinstance(text, bytes)
    ]
    assert prices == [1.0, 99.0]
    assert store.replaced == 97
    loop.cancel()

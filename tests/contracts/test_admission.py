"""What admission of requests promises, with the cache and without it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.valkey import EmbeddedValkey, start_embedded
from trading_platform.kit.clock import ManualClock
from trading_platform.limits.limiter import Limited, Limiter
from trading_platform.limits.tiers import TIERS
from trading_platform.tenants.model import Tier


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="tp-test-") as folder:
        running = asyncio.run(start_embedded(Path(folder)))
        yield running
        asyncio.run(running.close())


@pytest.fixture(params=["cache", "no cache"])
async def limiter(request: pytest.FixtureRequest, server: EmbeddedValkey) -> AsyncIterator[Limiter]:
    there = request.param == "cache"
    link = Link(server.url if there else "unix:///nowhere/valkey.sock")
    if there:
        await link.call("FLUSHALL")
    yield Limiter(link, ManualClock())
    await link.close()


@pytest.mark.parametrize("tier", list(Tier))
async def test_tier_s_requests_are_admitted_and_no_more(limiter: Limiter, tier: Tier) -> None:
    limit = TIERS[tier].requests_per_minute
    answers = await asyncio.gather(
        *(limiter.admit_request("tenant-1", tier) for _ in range(limit + 50))
    )
    assert sum(answer.allowed for answer in answers) == limit
    assert {answer.limit for answer in answers} == {limit}
    assert sorted(answer.remaining for answer in answers) == [0] * 50 + list(range(limit))


async def test_refusal_names_its_limit_and_when_to_come_back(limiter: Limiter) -> None:
    for _ in range(60):
        admitted = await limiter.admit_request("tenant-1", Tier.FREE)
        assert (admitted.limited_by, admitted.retry_after_s) == (None, 0)
    refused = await limiter.admit_request("tenant-1", Tier.FREE)
    assert refused.limited_by is Limited.REQUESTS
    assert 0 < refused.retry_after_s <= 60
    assert refused.retry_after_s == refused.reset_s


async def test_looking_says_what_would_be_and_spends_nothing(limiter: Limiter) -> None:
    for left in range(60, 0, -1):
        looked = await limiter.check_limit("tenant-1", Tier.FREE)
        assert (looked.allowed, looked.remaining) == (True, left)
        await limiter.record_request("tenant-1", Tier.FREE)
    looked = await limiter.check_limit("tenant-1", Tier.FREE)
    assert (looked.allowed, looked.limited_by) == (False, Limited.REQUESTS)
    assert looked.retry_after_s > 0


async def test_one_tenant_never_spends_another_s(limiter: Limiter) -> None:
    for _ in range(61):
        await limiter.admit_request("tenant-1", Tier.FREE)
    assert (await limiter.admit_request("tenant-2", Tier.FREE)).allowed


async def test_lower_tier_counts_what_was_spent_in_the_higher(limiter: Limiter) -> None:
    for _ in range(100):
        await limiter.admit_request("tenant-1", Tier.PRO)
    assert not (await limiter.admit_request("tenant-1", Tier.FREE)).allowed

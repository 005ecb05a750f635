import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.valkey import EmbeddedValkey, start_embedded
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.limits import keys
from trading_platform.limits.limiter import Limited, Limiter
from trading_platform.limits.scripts import PERMIT_US
from trading_platform.tenants.model import Tier


@pytest.fixture
def limiter(link: Link) -> Limiter:
    return Limiter(link, ManualClock())


@pytest.fixture
async def away() -> AsyncIterator[Limiter]:
    link = Link("unix:///nowhere/valkey.sock")
    yield Limiter(link, ManualClock(), processes=2)
    await link.close()


async def _permit(link: Link, tenant_id: str, said: str = "|G|", age_us: int = 0) -> None:
    seconds, micros = (int(x) for x in await link.call("TIME"))  # type: ignore[union-attr, arg-type]  # TIME is a list of bytes
    read_at = seconds * 1_000_000 + micros - age_us
    await link.call("SET", keys.permit_key(tenant_id), f"{read_at}{said}")


async def _orders(link: Link, tenant_id: str) -> tuple[object, object]:
    return (
        await link.call("LLEN", keys.requests_key(tenant_id)),
        await link.call("LLEN", keys.orders_key(tenant_id)),
    )


async def test_requests_up_to_the_limit_are_admitted_and_the_next_told_when(
    limiter: Limiter,
) -> None:
    answers = [await limiter.admit_request("t", Tier.FREE) for _ in range(60)]
    assert all(answer.allowed for answer in answers)
    assert [answer.remaining for answer in answers] == list(range(59, -1, -1))
    refused = await limiter.admit_request("t", Tier.FREE)
    assert not refused.allowed
    assert refused.limited_by is Limited.REQUESTS
    assert (refused.limit, refused.remaining) == (60, 0)
    assert 55 < refused.retry_after_s <= 60
    assert refused.reset_s == refused.retry_after_s


async def test_refused_request_spends_nothing(limiter: Limiter, link: Link) -> None:
    for _ in range(70):
        await limiter.admit_request("t", Tier.FREE)
    assert await link.call("LLEN", keys.requests_key("t")) == 60


async def test_crowd_of_callers_gets_exactly_the_limit(server: EmbeddedValkey, link: Link) -> None:
    links = [Link(server.url) for _ in range(4)]
    limiters = [Limiter(each, ManualClock()) for each in links]
    answers = await asyncio.gather(
        *(limiters[n % 4].admit_request("t", Tier.PRO) for n in range(1000))
    )
    assert sum(answer.allowed for answer in answers) == 300
    for each in links:
        await each.close()


async def test_tenants_do_not_share_their_limits(limiter: Limiter) -> None:
    for _ in range(60):
        await limiter.admit_request("a", Tier.FREE)
    assert (await limiter.admit_request("b", Tier.FREE)).remaining == 59


async def test_looking_spends_nothing(limiter: Limiter) -> None:
    for _ in range(3):
        assert (await limiter.check_limit("t", Tier.FREE)).remaining == 60
    await limiter.record_request("t", Tier.FREE)
    assert (await limiter.check_limit("t", Tier.FREE)).remaining == 59


async def test_what_was_spent_is_forgotten_by_the_cache_after_a_minute(
    limiter: Limiter, link: Link
) -> None:
    await limiter.admit_request("t", Tier.FREE)
    left_ms = await link.call("PTTL", keys.requests_key("t"))
    assert isinstance(left_ms, int)
    assert 59_000 < left_ms <= 60_001


async def test_order_spends_a_request_and_an_order(limiter: Limiter, link: Link) -> None:
    await _permit(link, "t")
    answer = await limiter.admit_order("t", Tier.FREE, "BINANCE")
    assert answer.admission is not None
    assert answer.admission.allowed
    assert (answer.admission.limit, answer.admission.remaining) == (10, 9)
    assert await _orders(link, "t") == (1, 1)


async def test_order_over_its_limit_spends_neither(limiter: Limiter, link: Link) -> None:
    await _permit(link, "t")
    for _ in range(10):
        await limiter.admit_order("t", Tier.FREE, "BINANCE")
    refused = (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission
    assert refused is not None
    assert (refused.allowed, refused.limited_by, refused.limit) == (False, Limited.ORDERS, 10)
    assert refused.retry_after_s > 55
    assert await _orders(link, "t") == (10, 10)


async def test_order_without_a_request_left_spends_neither(limiter: Limiter, link: Link) -> None:
    await _permit(link, "t")
    for _ in range(60):
        await limiter.admit_request("t", Tier.FREE)
    refused = (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission
    assert refused is not None
    assert (refused.allowed, refused.limited_by, refused.limit) == (False, Limited.REQUESTS, 60)
    assert await _orders(link, "t") == (60, 0)


@pytest.mark.parametrize(
    ("said", "age_us"),
    [
        ("|R|", 0),
        ("|G|BINANCE|", 0),
        ("|G|COINBASE|BINANCE|", 0),
        ("|G|", PERMIT_US),
        ("|G|", -60_000_000),
        ("", 0),
        ("rubbish", 0),
    ],
)
async def test_order_that_no_live_permit_covers_is_not_admitted(
    limiter: Limiter, link: Link, said: str, age_us: int
) -> None:
    await _permit(link, "t", said, age_us)
    assert (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission is None
    assert await _orders(link, "t") == (0, 0)


async def test_permit_that_excepts_another_exchange_covers_this_one(
    limiter: Limiter, link: Link
) -> None:
    await _permit(link, "t", "|G|COINBASE|")
    assert (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission is not None


@pytest.mark.parametrize("mirror", ['{"active":true,"epoch":3}', "rubbish", ""])
async def test_mirror_that_does_not_say_released_stops_orders(
    limiter: Limiter, link: Link, mirror: str
) -> None:
    await _permit(link, "t")
    await link.call("SET", keys.mirror_key("t"), mirror)
    assert (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission is None
    await link.call("SET", keys.mirror_key("t"), '{"active":false,"epoch":4}')
    assert (await limiter.admit_order("t", Tier.FREE, "BINANCE")).admission is not None


async def test_quota_tells_all_limits_and_spends_nothing(limiter: Limiter, link: Link) -> None:
    await _permit(link, "t")
    await limiter.admit_order("t", Tier.PRO, "BINANCE")
    await limiter.lease_connection("t", Tier.PRO)
    for _ in range(2):
        quota = await limiter.get_remaining_quota("t", Tier.PRO)
        assert (quota.requests.limit, quota.requests.remaining) == (300, 299)
        assert (quota.orders.limit, quota.orders.remaining) == (100, 99)
        assert (quota.connections.limit, quota.connections.remaining) == (5, 4)
        assert 59 < quota.orders.reset_s <= 60


async def test_connections_are_leased_up_to_the_limit_and_freed(limiter: Limiter) -> None:
    leases = [await limiter.lease_connection("t", Tier.PRO) for _ in range(5)]
    assert None not in leases
    assert await limiter.lease_connection("t", Tier.PRO) is None
    assert leases[0] is not None
    await limiter.release_connection("t", leases[0])
    await limiter.release_connection("t", leases[0])
    assert await limiter.lease_connection("t", Tier.PRO) is not None


async def test_lease_of_a_crashed_holder_runs_out(limiter: Limiter, link: Link) -> None:
    lease = await limiter.lease_connection("t", Tier.FREE)
    assert lease is not None
    assert await limiter.lease_connection("t", Tier.FREE) is None
    await link.call("ZADD", keys.connections_key("t"), int(time.time() * 1e6) - 1, lease)
    assert await limiter.lease_connection("t", Tier.FREE) is not None


async def test_renewed_connection_is_counted_again_after_the_cache_lost_it(
    limiter: Limiter, link: Link
) -> None:
    lease = await limiter.lease_connection("t", Tier.FREE)
    assert lease is not None
    await link.call("FLUSHALL")
    await limiter.renew_connection("t", Tier.FREE, lease)
    assert await limiter.lease_connection("t", Tier.FREE) is None


async def test_away_cache_leaves_requests_bounded_by_this_process_s_share(away: Limiter) -> None:
    answers = [await away.admit_request("t", Tier.FREE) for _ in range(100)]
    assert sum(answer.allowed for answer in answers) == 30
    assert all(answer.degraded for answer in answers)
    assert answers[-1].retry_after_s == 60
    assert not (await away.check_limit("t", Tier.FREE)).allowed


async def test_away_cache_admits_no_order_and_no_connection(away: Limiter) -> None:
    for asked in (
        away.admit_order("t", Tier.FREE, "BINANCE"),
        away.lease_connection("t", Tier.FREE),
        away.get_remaining_quota("t", Tier.FREE),
    ):
        with pytest.raises(ServiceError) as refused:
            await asked
        assert refused.value.code == "PROVIDER_UNAVAILABLE"


async def test_full_cache_admits_no_order_and_counts_requests_here(
    limiter: Limiter, link: Link
) -> None:
    await _permit(link, "t")
    await link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(ServiceError, match="OOM"):
            await limiter.admit_order("t", Tier.FREE, "BINANCE")
        assert (await limiter.admit_request("t", Tier.FREE)).degraded
    finally:
        await link.call("CONFIG", "SET", "maxmemory", "512mb")
    assert await _orders(link, "t") == (0, 0)


async def test_killed_cache_and_back_again_admits_at_most_twice_the_limit(folder: Path) -> None:
    first = await start_embedded(folder / "killed")
    link = Link(first.url, pause_first_s=0.001, pause_max_s=0.001)
    limiter = Limiter(link, ManualClock())
    admitted = 0
    for n in range(300):
        if n == 100:
            os.kill(first.process_id, signal.SIGKILL)
        if n == 200:
            await first.close()
            first = await start_embedded(folder / "killed")
            await asyncio.sleep(0.01)
        admitted += (await limiter.admit_request("t", Tier.FREE)).allowed
    assert 60 <= admitted <= 120
    assert not (await limiter.admit_request("t", Tier.FREE)).degraded
    await link.close()
    await first.close()


@pytest.mark.parametrize("tenant_id", ["", "a}b", "{a", "a b", "x" * 129])
async def test_tenant_id_that_could_leave_its_place_is_refused(
    limiter: Limiter, tenant_id: str
) -> None:
    with pytest.raises(ServiceError) as refused:
        await limiter.admit_request(tenant_id, Tier.FREE)
    assert refused.value.code == "INVALID_REQUEST"

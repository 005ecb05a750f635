import asyncio

import pytest

from tests.api.platform import Api
from trading_platform.api.http import STOPPING_AT_ONCE_MAX
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.tenants.model import Permission, Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_answers_say_what_is_left(api: Api) -> None:
    free = await api.member(Tier.FREE)
    first = (await api.call("GET", "/v1/orders", free)).headers
    second = (await api.call("GET", "/v1/orders", free)).headers
    assert (first["RateLimit-Limit"], first["RateLimit-Remaining"]) == ("60", "59")
    assert second["RateLimit-Remaining"] == "58"
    assert 0 < int(second["RateLimit-Reset"]) <= 61


async def test_above_the_tier_is_429_with_when_to_come_again(api: Api) -> None:
    free = await api.member(Tier.FREE)
    for _ in range(60):
        assert (await api.call("GET", "/v1/account", free)).status == 200
    reply = await api.call("GET", "/v1/account", free)
    assert (reply.status, reply.body["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert reply.body["retryable"] is True
    assert 1 <= reply.body["retryAfter"] <= 61
    assert int(reply.headers["Retry-After"]) == reply.body["retryAfter"]
    assert reply.headers["RateLimit-Remaining"] == "0"


async def test_orders_have_a_budget_of_their_own(api: Api) -> None:
    free = await api.member(Tier.FREE)
    statuses = [(await api.submit(free)).status for _ in range(12)]
    assert statuses == [201] * 10 + [429] * 2
    assert len(api.exchanges.account(free.tenant_id, ExchangeId.BINANCE).placed) == 10
    assert (await api.call("GET", "/v1/orders", free)).status == 200


async def test_bad_orders_are_not_free(api: Api) -> None:
    free = await api.member(Tier.FREE)
    statuses = [(await api.submit(free, quantity="-1")).status for _ in range(62)]
    assert statuses == [400] * 60 + [429] * 2


async def test_who_spent_its_budget_can_still_cancel_and_stop(api: Api) -> None:
    free = await api.member(Tier.FREE, permissions=(Permission.TRADE, Permission.HALT))
    order_id = (await api.submit(free)).body["orderId"]
    while (await api.call("GET", "/v1/orders", free)).status != 429:
        pass
    assert (await api.call("DELETE", f"/v1/orders/{order_id}", free)).status == 200
    stopped = await api.call("POST", "/v1/kill-switch/activate", free, {"reason": "enough"})
    assert (stopped.status, stopped.body["active"]) == (200, True)


async def test_stopping_beyond_the_budget_is_bounded_in_number_at_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = await api.member(Tier.FREE)
    while (await api.call("GET", "/v1/orders", free)).status != 429:
        pass
    held, running = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(tenant_id: str, order_id: str) -> None:
        running.release()
        await held.wait()
        raise ServiceError("There is no such order.", "NOT_FOUND")

    monkeypatch.setattr(api.services.orders, "cancel", slow)
    calls = [
        asyncio.create_task(api.call("DELETE", "/v1/orders/order-1", free))
        for _ in range(STOPPING_AT_ONCE_MAX)
    ]
    for _ in calls:
        await running.acquire()
    assert (await api.call("DELETE", "/v1/orders/order-1", free)).status == 429
    held.set()
    assert [reply.status for reply in await asyncio.gather(*calls)] == [404] * len(calls)


async def test_the_account_shows_tier_permissions_and_budgets(api: Api) -> None:
    pro = await api.member(Tier.PRO, permissions=(Permission.TRADE,))
    await api.submit(pro)
    account = (await api.call("GET", "/v1/account", pro)).body
    assert (account["tenantId"], account["tier"]) == (pro.tenant_id, "PRO")
    assert account["permissions"] == ["READ", "TRADE"]
    assert account["orders"] == {"limit": 100, "remaining": 99}
    assert account["requests"] == {"limit": 300, "remaining": 298}
    assert account["connections"] == {"limit": 5, "remaining": 5}


async def test_without_the_cache_no_order_passes_but_cancels_and_stops_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await api.member()
    order_id = (await api.submit(member)).body["orderId"]

    async def away(*_: object, **__: object) -> None:
        raise ServiceError("The cache does not answer.", "PROVIDER_UNAVAILABLE")

    monkeypatch.setattr(api.link, "script", away)
    reply = await api.submit(member)
    assert (reply.status, reply.body["retryable"]) == (503, True)
    assert (await api.call("DELETE", f"/v1/orders/{order_id}", member)).status == 200
    stop = await api.call("POST", "/v1/kill-switch/activate", member, {"reason": "cache away"})
    assert stop.status == 200

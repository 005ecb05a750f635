"""No route of the table shows or changes what belongs to another tenant."""

import re
from typing import Any

import pytest

from tests.api.platform import ORDER, Api, Member
from trading_platform.api.app import TABLE
from trading_platform.api.routes import Route
from trading_platform.tenants.model import Permission, Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSED = [route for route in TABLE if route.permission is not None]
STRONG = [route for route in CLOSED if route.permission is not Permission.READ]
BY_ID = [route for route in CLOSED if "{orderId}" in route.path]
QUERY = {"listInstruments": "?exchangeId=BINANCE", "listBalances": "?exchangeId=BINANCE"}


def ids(route: Route) -> str:
    return route.operation


def neutral(body: Any) -> str:
    """The answer without what differs from one request to the next."""
    return re.sub(r"order-[0-9a-z]+|[0-9a-f-]{36}", "_", repr(body))


@pytest.mark.parametrize("route", BY_ID, ids=ids)
async def test_anothers_order_looks_like_one_that_never_was(
    api: Api, member: Member, route: Route
) -> None:
    owner = await api.member()
    order_id = (await api.submit(owner)).body["orderId"]
    before = (await api.call("GET", f"/v1/orders/{order_id}", owner)).body
    never = order_id[:-4] + "zzzz"

    theirs = await api.call(route.method, route.path.format(orderId=order_id), member)
    none = await api.call(route.method, route.path.format(orderId=never), member)

    assert theirs.status == none.status == 404
    assert neutral(theirs.body) == neutral(none.body)
    assert (await api.call("GET", f"/v1/orders/{order_id}", owner)).body == before


@pytest.mark.parametrize("route", CLOSED, ids=ids)
async def test_no_answer_names_another_tenant_or_its_orders(
    api: Api, member: Member, route: Route
) -> None:
    owner = await api.member()
    order = (await api.submit(owner)).body
    halted = await api.call("POST", "/v1/kill-switch/activate", owner, {"reason": "my own"})
    path = route.path.format(orderId=order["orderId"], symbol="BTC-USDT", exchangeId="BINANCE")
    reply = await api.call(
        route.method,
        path + QUERY.get(route.operation, ""),
        member,
        dict(route.example) if route.example else None,
        Idempotency_Key="a-key",
    )
    for secret in (owner.tenant_id, order["clientOrderId"], order["exchangeOrderId"], "my own"):
        assert secret not in repr(reply.body)
    state = (await api.call("GET", "/v1/kill-switch", owner)).body
    assert halted.body in state["switches"]


@pytest.mark.parametrize("route", STRONG, ids=ids)
async def test_a_key_without_the_permission_is_403_before_anything_happens(
    api: Api, route: Route
) -> None:
    other = Permission.HALT if route.permission is not Permission.HALT else Permission.TRADE
    weak = await api.member(permissions=(other,))
    path = route.path.format(orderId="order-1", symbol="BTC-USDT", exchangeId="BINANCE")
    reply = await api.call(route.method, path, weak, {}, Idempotency_Key="k")
    assert (reply.status, reply.body["code"]) == (403, "NOT_PERMITTED")
    assert str(route.permission) in reply.body["message"]


async def test_the_same_idempotency_key_of_two_tenants_is_two_orders(api: Api) -> None:
    one, two = await api.member(), await api.member()
    first, second = await api.submit(one, "shared"), await api.submit(two, "shared")
    assert (first.status, second.status) == (201, 201)
    assert first.body["orderId"] != second.body["orderId"]
    assert first.body["clientOrderId"] != second.body["clientOrderId"]


async def test_a_page_cursor_of_another_tenant_opens_nothing(api: Api, member: Member) -> None:
    owner = await api.member()
    for _ in range(3):
        await api.submit(owner)
    cursor = (await api.call("GET", "/v1/orders?limit=1", owner)).body["after"]
    reply = await api.call("GET", f"/v1/orders?after={cursor}", member)
    assert reply.body["orders"] == []


async def test_one_tenant_that_spends_its_budget_does_not_slow_another(api: Api) -> None:
    greedy, other = await api.member(Tier.FREE), await api.member(Tier.FREE)
    for _ in range(61):
        last = await api.call("GET", "/v1/orders", greedy)
    assert last.status == 429
    assert (await api.call("GET", "/v1/orders", other)).status == 200


async def test_a_suspended_tenant_is_shut_out_within_its_cache(api: Api, member: Member) -> None:
    await api.tenants.suspend_tenant(member.tenant_id)
    reply = await api.call("POST", "/v1/orders", member, ORDER, Idempotency_Key="k")
    assert (reply.status, reply.body["code"]) == (403, "NOT_PERMITTED")

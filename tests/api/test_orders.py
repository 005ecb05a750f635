import asyncio

import pytest

from tests.api.platform import Api, Member
from trading_platform.exchanges.ports import Rejected, Unknown
from trading_platform.market.instruments import ExchangeId

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_accepted_order_is_answered_whole(api: Api, member: Member) -> None:
    reply = await api.submit(member, timeInForce="GTC", postOnly=True, quantity="0.00100")
    assert reply.status == 201
    order = reply.body
    assert reply.headers["Location"] == f"/v1/orders/{order['orderId']}"
    assert order["createdAt"].endswith("Z")
    assert {
        "exchangeId": "BINANCE",
        "symbol": "BTC-USDT",
        "side": "BUY",
        "orderType": "LIMIT",
        "timeInForce": "GTC",
        "postOnly": True,
        "quantity": "0.001",
        "price": "60000",
        "status": "OPEN",
        "filledQuantity": "0",
        "remainingQuantity": "0.001",
        "averagePrice": None,
        "reason": None,
        "fills": [],
    }.items() <= order.items()
    assert (await api.call("GET", f"/v1/orders/{order['orderId']}", member)).body == order


async def test_an_unknown_outcome_is_202_and_the_order_can_be_followed(
    api: Api, member: Member
) -> None:
    account = api.exchanges.account(member.tenant_id, ExchangeId.BINANCE)
    account.answers.append(Unknown("no answer within 5 s"))
    reply = await api.submit(member)
    assert (reply.status, reply.body["status"]) == (202, "UNKNOWN")
    seen = await api.call("GET", f"/v1/orders/{reply.body['orderId']}", member)
    assert seen.body["status"] == "UNKNOWN"


async def test_a_refusal_by_the_exchange_is_a_problem_that_names_the_order(
    api: Api, member: Member
) -> None:
    account = api.exchanges.account(member.tenant_id, ExchangeId.BINANCE)
    account.answers.append(Rejected(code="-2010", message="Account has insufficient balance"))
    reply = await api.submit(member)
    assert (reply.status, reply.body["code"]) == (422, "ORDER_REJECTED")
    assert "insufficient balance" in reply.body["message"]
    order = await api.call("GET", f"/v1/orders/{reply.body['metadata']['orderId']}", member)
    assert order.body["status"] == "REJECTED"


async def test_the_same_key_gives_the_same_order_and_sends_once(api: Api, member: Member) -> None:
    replies = await asyncio.gather(*(api.submit(member, "again") for _ in range(8)))
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body["orderId"] for reply in replies}) == 1
    assert len(api.exchanges.account(member.tenant_id, ExchangeId.BINANCE).placed) == 1


async def test_the_same_key_with_another_body_is_422_and_sends_nothing(
    api: Api, member: Member
) -> None:
    await api.submit(member, "mine")
    reply = await api.submit(member, "mine", quantity="0.002")
    assert (reply.status, reply.body["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert len(api.exchanges.account(member.tenant_id, ExchangeId.BINANCE).placed) == 1


async def test_a_canceled_order_is_200_and_a_dead_line_is_202(api: Api, member: Member) -> None:
    order = (await api.submit(member)).body
    reply = await api.call("DELETE", f"/v1/orders/{order['orderId']}", member)
    assert (reply.status, reply.body["status"]) == (200, "CANCELED")

    order = (await api.submit(member)).body
    api.exchanges.account(member.tenant_id, ExchangeId.BINANCE).statuses.clear()
    reply = await api.call("DELETE", f"/v1/orders/{order['orderId']}", member)
    assert reply.status == 202


async def test_lists_page_through_all_orders_newest_first(api: Api, member: Member) -> None:
    ids = [(await api.submit(member)).body["orderId"] for _ in range(5)]
    seen: list[str] = []
    path = "/v1/orders?limit=2"
    while True:
        page = (await api.call("GET", path, member)).body
        seen += [order["orderId"] for order in page["orders"]]
        if page["after"] is None:
            break
        path = f"/v1/orders?limit=2&after={page['after']}"
    assert seen == ids[::-1]


async def test_open_and_status_choose(api: Api, member: Member) -> None:
    first, second = [(await api.submit(member)).body["orderId"] for _ in range(2)]
    await api.call("DELETE", f"/v1/orders/{first}", member)

    async def listed(query: str) -> list[str]:
        page = (await api.call("GET", f"/v1/orders?{query}", member)).body
        return [order["orderId"] for order in page["orders"]]

    assert await listed("open=true") == [second]
    assert await listed("status=CANCELED") == [first]
    assert await listed("") == [second, first]


async def test_fills_of_an_order_without_any_are_none(api: Api, member: Member) -> None:
    order = (await api.submit(member)).body
    reply = await api.call("GET", f"/v1/orders/{order['orderId']}/fills", member)
    assert reply.body == {"orderId": order["orderId"], "fills": []}


async def test_a_submission_is_measured(api: Api, member: Member) -> None:
    await api.submit(member)
    text = (await api.call("GET", "/metrics")).body.decode()
    labels = f'{{exchange_id="BINANCE",tenant_id="{member.tenant_id}"}}'
    assert f"trading_platform_order_success_rate_sum{labels} 1.0" in text
    assert f"trading_platform_order_submission_latency_seconds_count{labels} 1.0" in text

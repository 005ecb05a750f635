import pytest

from tests.api.platform import Api, Member
from trading_platform.market.instruments import ExchangeId
from trading_platform.safety.switch import PLATFORM, exchange_scope

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def activate(api: Api, member: Member, reason: str = "stop") -> dict[str, object]:
    reply = await api.call("POST", "/v1/kill-switch/activate", member, {"reason": reason})
    assert reply.status == 200
    answer: dict[str, object] = reply.body
    return answer


async def test_activation_refuses_the_next_order_and_sends_nothing(
    api: Api, member: Member
) -> None:
    assert (await api.submit(member)).status == 201
    switch = await activate(api, member, "The strategy misbehaves.")
    assert switch["active"] is True
    assert switch["scope"] == f"tenant:{member.tenant_id}"
    reply = await api.submit(member)
    assert (reply.status, reply.body["code"]) == (423, "TRADING_HALTED")
    assert len(api.exchanges.account(member.tenant_id, ExchangeId.BINANCE).placed) == 1


async def test_a_lost_answer_can_be_read_again_while_halted_and_sends_nothing(
    api: Api, member: Member
) -> None:
    first = await api.submit(member, "lost")
    await activate(api, member)
    again = await api.submit(member, "lost")
    assert (again.status, again.body["orderId"]) == (201, first.body["orderId"])
    assert (await api.submit(member, "new")).status == 423
    other = await api.submit(member, "lost", quantity="0.002")
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert len(api.exchanges.account(member.tenant_id, ExchangeId.BINANCE).placed) == 1


async def test_reading_lost_answers_while_halted_spends_requests(api: Api, member: Member) -> None:
    await api.submit(member, "lost")
    await activate(api, member)
    before = (await api.submit(member, "lost")).headers["RateLimit-Remaining"]
    after = (await api.submit(member, "lost")).headers["RateLimit-Remaining"]
    assert int(after) < int(before)


async def test_cancels_pass_while_halted(api: Api, member: Member) -> None:
    order_id = (await api.submit(member)).body["orderId"]
    await activate(api, member)
    reply = await api.call("DELETE", f"/v1/orders/{order_id}", member)
    assert (reply.status, reply.body["status"]) == (200, "CANCELED")


async def test_release_with_the_epoch_seen_lets_trade_again(api: Api, member: Member) -> None:
    switch = await activate(api, member)
    body = {"epoch": switch["epoch"], "reason": "fixed"}
    reply = await api.call("POST", "/v1/kill-switch/release", member, body)
    assert (reply.status, reply.body["active"]) == (200, False)
    assert (await api.submit(member)).status == 201


async def test_release_with_an_epoch_that_moved_is_409_and_stays_halted(
    api: Api, member: Member
) -> None:
    first = await activate(api, member, "first")
    await activate(api, member, "second")
    body = {"epoch": first["epoch"], "reason": "I saw only the first"}
    reply = await api.call("POST", "/v1/kill-switch/release", member, body)
    assert (reply.status, reply.body["code"]) == (409, "CONFLICT")
    assert (await api.submit(member)).status == 423


async def test_status_shows_all_that_bears_on_the_caller(api: Api, member: Member) -> None:
    await activate(api, member, "mine")
    status = (await api.call("GET", "/v1/kill-switch", member)).body
    assert status["halted"] is True
    assert {switch["scope"]: switch["active"] for switch in status["switches"]} == {
        "platform": False,
        "exchange:BINANCE": False,
        "exchange:COINBASE": False,
        f"tenant:{member.tenant_id}": True,
    }


async def test_an_operators_halt_shows_without_the_operators_name(api: Api, member: Member) -> None:
    safety = api.services.safety
    for scope, halted in ((exchange_scope("COINBASE"), False), (PLATFORM, True)):
        state = await safety.activate(scope, reason="maintenance", actor="alice@example.org")
        status = await api.call("GET", "/v1/kill-switch", member)
        assert status.body["halted"] is halted
        assert "alice" not in repr(status.body)
        refused = await api.submit(member, exchangeId="COINBASE")
        assert (refused.status, refused.body["code"]) == (423, "TRADING_HALTED")
        assert "alice" not in repr(refused.body)
        await safety.release(scope, epoch=state.epoch, reason="done", actor="alice@example.org")
    assert (await api.submit(member, exchangeId="COINBASE")).status == 201


async def test_activations_are_counted(api: Api, member: Member) -> None:
    await activate(api, member)
    text = (await api.call("GET", "/metrics")).body.decode()
    line = f'trading_platform_kill_switch_activations_total{{tenant_id="{member.tenant_id}"}} 1.0'
    assert line in text

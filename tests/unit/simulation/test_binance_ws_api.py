"""The WebSocket API of the simulated Binance: requests, sessions, the user data stream."""

from base64 import b64encode
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.simulation.binance_client import Desk
from tests.unit.simulation.venues import BTC, a_limit, a_market
from trading_platform.market.orders import Side

D = Decimal
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}


class Line:
    """One WebSocket API connection that signs like a careful client."""

    def __init__(self, desk: Desk, socket: Any) -> None:
        self.desk, self.socket = desk, socket
        self.private: Ed25519PrivateKey | None = None
        self.api_key = desk.api_key

    async def ask(self, method: str, request_id: Any = 1, **params: Any) -> Any:
        await self.socket.send_json({"id": request_id, "method": method, "params": params})
        return await self.heard()

    async def signed(self, method: str, **params: Any) -> Any:
        params = {"apiKey": self.api_key, "timestamp": self.desk.now_ms, **params}
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
        if self.private is None:
            signature = self.desk.sign(payload)
        else:
            signature = b64encode(self.private.sign(payload.encode())).decode()
        return await self.ask(method, **params, signature=signature)

    async def heard(self) -> Any:
        message = await self.socket.receive(timeout=3)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return msgspec.json.decode(message.data)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as desk:
        yield desk


@pytest.fixture
async def line(desk: Desk) -> Line:
    return Line(desk, await desk.http.ws_connect(f"{desk.server.ws_url}/ws-api/v3"))


@pytest.fixture
def ed25519(desk: Desk, line: Line) -> Line:
    """The line with an Ed25519 key of the same account."""
    line.private = Ed25519PrivateKey.generate()
    pem = line.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    line.api_key = "ed25519-key"
    desk.exchange.add_key(
        msgspec.structs.replace(
            desk.key, api_key="ed25519-key", secret="", ed25519_public_pem=pem.decode()
        )
    )
    return line


@pytest.mark.parametrize("request_id", [7, "a-b", None])
async def test_public_answer_echoes_the_id_and_tells_the_weight(
    line: Line, desk: Desk, request_id: Any
) -> None:
    answer = await line.ask("time", request_id)
    assert (answer["id"], answer["status"]) == (request_id, 200)
    assert answer["result"] == {"serverTime": desk.now_ms}
    assert [row["rateLimitType"] for row in answer["rateLimits"]] == ["REQUEST_WEIGHT"]
    quiet = await line.ask("v3/ping", returnRateLimits=False)
    assert quiet == {"id": 1, "status": 200, "result": {}}


async def test_orders_by_signature(line: Line) -> None:
    placed = await line.signed("order.place", **LIMIT, quantity="0.01000000", price="59000.00")
    assert placed["result"]["status"] == "NEW"
    order_id = placed["result"]["orderId"]
    found = await line.signed("order.status", symbol="BTCUSDT", orderId=order_id)
    assert found["result"]["price"] == "59000.00000000"
    opened = await line.signed("openOrders.status")
    assert [row["orderId"] for row in opened["result"]] == [order_id]
    canceled = await line.signed("order.cancel", symbol="BTCUSDT", orderId=order_id)
    assert canceled["result"]["status"] == "CANCELED"
    account = await line.signed("account.status")
    assert account["result"]["balances"][0]["asset"] == "BTC"


async def test_refusals_carry_the_rest_codes(line: Line, desk: Desk) -> None:
    unknown = await line.signed("order.status", symbol="BTCUSDT", orderId=1)
    assert (unknown["status"], unknown["error"]["code"]) == (400, -2013)
    stale = await line.signed("account.status", timestamp=desk.now_ms - 6000)
    assert stale["error"]["code"] == -1021
    desk.secret = "wrong"
    assert (await line.signed("account.status"))["error"]["code"] == -1022
    nobody = await line.ask("account.status", timestamp=desk.now_ms)
    assert (nobody["status"], nobody["error"]["code"]) == (401, -2014)
    assert (await line.ask("wish"))["error"]["code"] == -1020


@pytest.mark.parametrize(
    "frame", ["{", "[]", '{"id":1}', '{"id":1,"method":"ping","params":[1]}', "[" * 5000]
)
async def test_unreadable_requests_are_answered_and_the_line_lives(line: Line, frame: str) -> None:
    await line.socket.send_str(frame)
    assert (await line.heard())["error"]["code"] == -1135
    assert (await line.ask("ping"))["status"] == 200


async def test_user_events_are_wrapped_and_in_the_documented_order(line: Line, desk: Desk) -> None:
    subscribed = await line.signed("userDataStream.subscribe.signature")
    assert subscribed["result"] == {"subscriptionId": 0}
    desk.exchange.submit(desk.key.account_id, a_market(Side.BUY, quantity=D("1.5")))
    events = [await line.heard() for _ in range(4)]
    assert {event["subscriptionId"] for event in events} == {0}
    bodies = [event["event"] for event in events]
    assert [(b["e"], b.get("x"), b.get("X")) for b in bodies] == [
        ("executionReport", "NEW", "NEW"),
        ("executionReport", "TRADE", "PARTIALLY_FILLED"),
        ("executionReport", "TRADE", "FILLED"),
        ("outboundAccountPosition", None, None),
    ]
    assert (bodies[1]["l"], bodies[1]["L"], bodies[1]["n"], bodies[1]["N"]) == (
        "1.00000000",
        "60001.00000000",
        "0.00100000",
        "BTC",
    )
    assert bodies[2]["I"] == bodies[1]["I"] + 1


async def test_cancel_report_names_the_cancel_and_the_order(line: Line, desk: Desk) -> None:
    await line.signed("userDataStream.subscribe.signature")
    account = desk.key.account_id
    order = desk.exchange.submit(account, a_limit(Side.BUY, "0.1", "59000", client_order_id="o"))
    desk.exchange.cancel(account, order.order_id, cancel_client_order_id="c")
    reports = [(await line.heard())["event"] for _ in range(4)]
    assert (reports[0]["c"], reports[0]["C"], reports[0]["t"], reports[0]["N"]) == (
        "o",
        "",
        -1,
        None,
    )
    assert (reports[2]["x"], reports[2]["c"], reports[2]["C"]) == ("CANCELED", "c", "o")


async def test_prevented_self_trade_is_told(line: Line, desk: Desk) -> None:
    account = desk.key.account_id
    desk.exchange.submit(account, a_limit(Side.SELL, "0.1", "60000.50"))
    await line.signed("userDataStream.subscribe.signature")
    desk.exchange.submit(account, a_limit(Side.BUY, "0.1", "60000.50"))
    reports = [(await line.heard())["event"] for _ in range(2)]
    assert (reports[1]["x"], reports[1]["X"], reports[1]["A"]) == (
        "TRADE_PREVENTION",
        "EXPIRED_IN_MATCH",
        "0.10000000",
    )


async def test_deposit_is_told_as_balance_update(line: Line, desk: Desk) -> None:
    await line.signed("userDataStream.subscribe.signature")
    desk.exchange.deposit(desk.key.account_id, "BTC", D("0.5"))
    update, position = (await line.heard())["event"], (await line.heard())["event"]
    assert (update["e"], update["d"]) == ("balanceUpdate", "0.50000000")
    assert position["B"] == [{"a": "BTC", "f": "10.50000000", "l": "0.00000000"}]


async def test_another_accounts_events_are_not_heard(line: Line, desk: Desk) -> None:
    await line.signed("userDataStream.subscribe.signature")
    other = desk.exchange.open_account("other", "s", balances={"USDT": D(100_000)})
    desk.exchange.submit(other.account_id, a_limit(Side.BUY, "0.1", "59000"))
    assert (await line.ask("ping"))["status"] == 200  # nothing came before this answer


async def test_one_subscription_an_account_until_unsubscribed(line: Line) -> None:
    await line.signed("userDataStream.subscribe.signature")
    again = await line.signed("userDataStream.subscribe.signature")
    assert again["error"]["code"] == -2035
    assert (await line.ask("session.subscriptions"))["result"] == [{"subscriptionId": 0}]
    wrong = await line.ask("userDataStream.unsubscribe", subscriptionId=5)
    assert wrong["error"]["code"] == -2036
    assert (await line.ask("userDataStream.unsubscribe", subscriptionId=0))["result"] == {}
    renewed = await line.signed("userDataStream.subscribe.signature")
    assert renewed["result"] == {"subscriptionId": 1}


async def test_session_logon_needs_ed25519(line: Line) -> None:
    refused = await line.signed("session.logon")
    assert refused["error"]["code"] == -4056
    unauthorized = await line.ask("userDataStream.subscribe")
    assert (unauthorized["status"], unauthorized["error"]["code"]) == (401, -1002)


async def test_session_places_without_signature_and_ends(ed25519: Line, desk: Desk) -> None:
    logged_on = await ed25519.signed("session.logon")
    assert logged_on["result"]["apiKey"] == "ed25519-key"
    placed = await ed25519.ask(
        "order.place", **LIMIT, quantity="0.01", price="59000", timestamp=desk.now_ms
    )
    assert placed["result"]["status"] == "NEW"
    kinds = [row["rateLimitType"] for row in placed["rateLimits"]]
    assert kinds == ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
    assert (await ed25519.ask("userDataStream.subscribe"))["result"] == {"subscriptionId": 0}
    desk.exchange.external_trade(BTC, D(58_000), D(1), Side.SELL)
    assert (await ed25519.heard())["event"]["x"] == "TRADE"
    await ed25519.heard()
    assert (await ed25519.ask("session.logout"))["result"]["apiKey"] is None
    assert (await ed25519.ask("account.status", timestamp=desk.now_ms))["status"] == 401


async def test_revoked_key_ends_the_session(ed25519: Line, desk: Desk) -> None:
    await ed25519.signed("session.logon")
    desk.exchange.revoke_key("ed25519-key")
    refused = await ed25519.ask("account.status", timestamp=desk.now_ms)
    assert (refused["status"], refused["error"]["code"]) == (401, -2015)


async def test_dropped_answer_cuts_the_line_but_the_order_stands(line: Line, desk: Desk) -> None:
    desk.server.gate.drop_next_answer_after_execution(operation="order.place")
    with pytest.raises(AssertionError):
        await line.signed("order.place", **LIMIT, quantity="0.01", price="59000")
    assert len(desk.exchange.open_orders(desk.key.account_id)) == 1

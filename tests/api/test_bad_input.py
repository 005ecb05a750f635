"""Every bad order is one clear sentence with a code; nothing is written, nothing is sent."""

import json
from typing import Any

import pytest

from tests.api.platform import ORDER, Api, Member, Reply
from trading_platform.market.instruments import ExchangeId

pytestmark = pytest.mark.asyncio(loop_scope="module")


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}


DECIMAL = "It must be a plain decimal in a string"
BODIES: dict[str, tuple[Any, int, str, str]] = {
    # what: (body, status, code, part of the sentence)
    "empty": (b"", 400, "INVALID_REQUEST", "Send a JSON object"),
    "not JSON": (b"{quantity: 1}", 400, "INVALID_REQUEST", "not valid JSON"),
    "cut off": (b'{"exchangeId": "BINA', 400, "INVALID_REQUEST", "not valid JSON"),
    "two values": (json.dumps(ORDER).encode() + b" {}", 400, "INVALID_REQUEST", "not valid JSON"),
    "NaN literal": (b'{"quantity": NaN}', 400, "INVALID_REQUEST", "not valid JSON"),
    "Infinity literal": (b'{"quantity": Infinity}', 400, "INVALID_REQUEST", "not valid JSON"),
    "not UTF-8": (b'{"symbol": "\xff"}', 400, "INVALID_REQUEST", "UTF-8"),
    "lone surrogate": (b'{"symbol": "\\ud800"}', 400, "INVALID_REQUEST", ""),
    "a list": ([ORDER], 400, "INVALID_REQUEST", "Expected a JSON object, got `array`"),
    "a string": ("order", 400, "INVALID_REQUEST", "Expected a JSON object"),
    "null": (b"null", 400, "INVALID_REQUEST", "Expected a JSON object"),
    "deep": (b'{"symbol":' * 5000, 400, "INVALID_REQUEST", ""),
    "deep lists": (b"[" * 60_000, 400, "INVALID_REQUEST", ""),
    "unknown field": (changed(leverage="5"), 400, "INVALID_REQUEST", "unknown field `leverage`"),
    "snake case": (changed(time_in_force="GTC"), 400, "INVALID_REQUEST", "`time_in_force`"),
    "missing field": (changed(symbol=...), 400, "INVALID_REQUEST", "required field `symbol`"),
    "unknown exchange": (changed(exchangeId="KRAKEN"), 400, "INVALID_REQUEST", "`exchangeId`"),
    "exchange number": (changed(exchangeId=1), 400, "INVALID_REQUEST", "`exchangeId`"),
    "unknown symbol": (changed(symbol="DOGE-USDT"), 404, "NOT_FOUND", "DOGE-USDT"),
    "their symbol": (changed(symbol="BTCUSDT"), 400, "INVALID_REQUEST", "such as BTC-USDT"),
    "lower symbol": (changed(symbol="btc-usdt"), 400, "INVALID_REQUEST", "`symbol`"),
    "symbol with line": (changed(symbol="BTC-USDT\n"), 400, "INVALID_REQUEST", "`symbol`"),
    "unknown side": (changed(side="HOLD"), 400, "INVALID_REQUEST", "`side`"),
    "unknown type": (changed(orderType="STOP"), 400, "INVALID_REQUEST", "`orderType`"),
    "unknown force": (changed(timeInForce="GTD"), 400, "INVALID_REQUEST", "`timeInForce`"),
    "post-only text": (changed(postOnly="true"), 400, "INVALID_REQUEST", "`postOnly`"),
    "number quantity": (changed(quantity=0.001), 400, "INVALID_REQUEST", DECIMAL),
    "number price": (changed(price=60000), 400, "INVALID_REQUEST", DECIMAL),
    "negative": (changed(quantity="-0.001"), 400, "INVALID_REQUEST", DECIMAL),
    "plus sign": (changed(quantity="+0.001"), 400, "INVALID_REQUEST", DECIMAL),
    "exponent": (changed(quantity="1e-3"), 400, "INVALID_REQUEST", DECIMAL),
    "NaN": (changed(quantity="NaN"), 400, "INVALID_REQUEST", DECIMAL),
    "sNaN": (changed(price="sNaN"), 400, "INVALID_REQUEST", DECIMAL),
    "Infinity": (changed(price="Infinity"), 400, "INVALID_REQUEST", DECIMAL),
    "empty text": (changed(quantity=""), 400, "INVALID_REQUEST", DECIMAL),
    "space": (changed(quantity=" 1"), 400, "INVALID_REQUEST", DECIMAL),
    "comma": (changed(quantity="0,001"), 400, "INVALID_REQUEST", DECIMAL),
    "underscore": (changed(quantity="1_000"), 400, "INVALID_REQUEST", DECIMAL),
    "other digits": (changed(quantity="\u0661"), 400, "INVALID_REQUEST", DECIMAL),
    "trailing line": (changed(quantity="0.001\n"), 400, "INVALID_REQUEST", "plain decimal"),
    "19 decimals": (changed(quantity="0." + "1" * 19), 400, "INVALID_REQUEST", DECIMAL),
    "19 digits": (changed(quantity="1" * 19), 400, "INVALID_REQUEST", DECIMAL),
    "very long": (changed(quantity="1" * 50_000), 400, "INVALID_REQUEST", DECIMAL),
    "zero": (changed(quantity="0"), 400, "INVALID_REQUEST", "`quantity` must be above zero"),
    "zero point": (changed(quantity="0.000"), 400, "INVALID_REQUEST", "above zero"),
    "zero price": (changed(price="0"), 400, "INVALID_REQUEST", "`price` must be above zero"),
    "null quantity": (changed(quantity=None), 400, "INVALID_REQUEST", "`quantity`"),
    "no price": (changed(price=...), 400, "INVALID_REQUEST", "a LIMIT order needs one"),
    "market with price": (changed(orderType="MARKET"), 400, "INVALID_REQUEST", "has none"),
    "post-only IOC": (
        changed(postOnly=True, timeInForce="IOC"),
        400,
        "INVALID_REQUEST",
        "`postOnly`",
    ),
    "too fine a quantity": (changed(quantity="0.0000123"), 422, "ORDER_DENIED", "0.00001"),
    "too fine a price": (changed(price="60000.001"), 422, "ORDER_DENIED", "0.01"),
    "too small": (changed(quantity="0.00001"), 422, "ORDER_DENIED", "5"),
    "too many": (changed(quantity="9001"), 422, "ORDER_DENIED", "9000"),
    "1 MiB": (b'{"symbol": "' + b"A" * 2**20 + b'"}', 413, "REQUEST_TOO_LARGE", "64 KiB"),
    "one byte too many": (b" " * (64 * 1024 + 1), 413, "REQUEST_TOO_LARGE", "64 KiB"),
}


async def assert_refused(
    api: Api, member: Member, reply: Reply, status: int, code: str, sentence: str
) -> None:
    """A problem document, and nothing done."""
    assert (reply.status, reply.body["code"]) == (status, code), reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    message = reply.body["message"]
    assert sentence in message
    assert 10 < len(message) < 400
    assert reply.body["correlationId"] == reply.headers["X-Correlation-Id"]
    for exchange_id in ExchangeId:
        assert api.exchanges.account(member.tenant_id, exchange_id).placed == []
    listed = await api.call("GET", "/v1/orders", member)
    assert listed.body == {"orders": [], "after": None}


@pytest.mark.parametrize("what", BODIES)
async def test_a_bad_order_is_a_clear_sentence_and_writes_nothing(
    api: Api, member: Member, what: str
) -> None:
    body, status, code, sentence = BODIES[what]
    reply = await api.call("POST", "/v1/orders", member, body, Idempotency_Key="a-key")
    await assert_refused(api, member, reply, status, code, sentence)


KEYS = {"missing": None, "empty": "", "too long": "k" * 129, "inner space": "a b", "é": "caf\xe9"}


@pytest.mark.parametrize("what", KEYS)
async def test_a_bad_idempotency_key_is_refused(api: Api, member: Member, what: str) -> None:
    value = KEYS[what]
    headers = {} if value is None else {"Idempotency_Key": value}
    reply = await api.call("POST", "/v1/orders", member, ORDER, **headers)
    await assert_refused(api, member, reply, 400, "INVALID_REQUEST", "`Idempotency-Key`")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
async def test_another_content_type_is_refused(api: Api, member: Member, kind: str) -> None:
    reply = await api.call(
        "POST", "/v1/orders", member, ORDER, Idempotency_Key="k", Content_Type=kind
    )
    await assert_refused(api, member, reply, 400, "INVALID_REQUEST", "application/json")


QUERIES = {
    "limit=0": "`limit`",
    "limit=1001": "`limit`",
    "limit=ten": "`limit`",
    "limit=": "`limit`",
    "limit=1&limit=2": "twice",
    "status=WORKING": "`status`",
    "status=null": "`status`",
    "open=perhaps": "`open`",
    "colour=red": "unknown field `colour`",
    "after=" + "x" * 1025: "`after`",
    "after=%ff": "malformed",
    "%ff": "malformed",
    "&".join(f"a{n}=1" for n in range(30)): "malformed",
}


@pytest.mark.parametrize("query", QUERIES)
async def test_a_bad_query_is_a_clear_sentence(api: Api, member: Member, query: str) -> None:
    reply = await api.call("GET", f"/v1/orders?{query}", member)
    assert (reply.status, reply.body["code"]) == (400, "INVALID_REQUEST")
    assert QUERIES[query] in reply.body["message"]


@pytest.mark.parametrize(
    "order_id", ["x", "order-0", "..%2f..%2fetc", "%00", "'%20OR%201=1", "é", "a" * 5000]
)
async def test_an_order_id_that_cannot_be_is_not_found(
    api: Api, member: Member, order_id: str
) -> None:
    for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/fills")):
        reply = await api.call(method, f"/v1/orders/{order_id}{tail}", member)
        assert (reply.status, reply.body["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "`reason`"),
        ({"reason": ""}, "`reason`"),
        ({"reason": "x" * 201}, "`reason`"),
        ({"reason": "ok", "scope": "platform"}, "unknown field `scope`"),
        ({"reason": "a\nb\x00"}, "`reason`"),
        ({"reason": "   "}, "`reason`"),
    ],
)
async def test_a_bad_activation_is_refused_and_halts_nothing(
    api: Api, member: Member, body: Any, sentence: str
) -> None:
    reply = await api.call("POST", "/v1/kill-switch/activate", member, body)
    assert (reply.status, reply.body["code"]) == (400, "INVALID_REQUEST")
    assert sentence in reply.body["message"]
    assert (await api.call("GET", "/v1/kill-switch", member)).body["halted"] is False

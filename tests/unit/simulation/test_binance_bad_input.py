"""Whatever is sent to the simulated Binance, it answers; it never breaks."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulation.venues import a_binance_exchange, a_liquid_book
from trading_platform.kit.clock import ManualClock
from trading_platform.simulation.binance_account import Account
from trading_platform.simulation.binance_api import Operation, Venue
from trading_platform.simulation.binance_control import StreamSession
from trading_platform.simulation.binance_errors import BinanceError
from trading_platform.simulation.binance_limits import Limits
from trading_platform.simulation.binance_market import MarketData
from trading_platform.simulation.binance_params import Params, merge
from trading_platform.simulation.binance_streams import StreamHub
from trading_platform.simulation.binance_trading import Orders
from trading_platform.simulation.binance_ws_api import ApiSession
from trading_platform.simulation.gate import Gate

EXCHANGE, KEY = a_binance_exchange()
a_liquid_book(EXCHANGE)
VENUE = Venue(EXCHANGE, Limits(weight_per_minute=10**9, raw_per_5_minutes=10**9))
MARKET = MarketData(VENUE)
OPERATIONS: list[Operation] = [
    *MARKET.operations(),
    *Orders(VENUE).operations(),
    *Account(VENUE).operations(),
]
NASTY = [
    "",
    "0",
    "-1",
    "1",
    "99999999999999999999",
    "99999999999999999999.99999999",
    "1e5",
    "NaN",
    "٣",
    "BTCUSDT",
    "[" * 5000,
    '["BTCUSDT"]',
    '["BTCUSDT","BTCUSDT"]',
    "[1]",
    "{}",
    "BUY",
    "SELL",
    "LIMIT",
    "MARKET",
    "LIMIT_MAKER",
    "GTC",
    "FOK",
    "STOP_ON_FAILURE",
    "1m",
    "1s",
    "true",
    "\x00",
    "é" * 40,
    "60000",
    "0.01",
]
values = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
GOOD = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01",
    "price": "59000",
    "interval": "1m",
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[Operation, dict[str, str]]:
    operation = draw(st.sampled_from(OPERATIONS))
    names = sorted(operation.names)
    good = {name: value for name, value in GOOD.items() if name in operation.names}
    changed = draw(st.dictionaries(st.sampled_from(names), values)) if names else {}
    return operation, {**good, **changed}


@settings(max_examples=400, deadline=None)
@given(calls())
def test_every_operation_answers_any_parameters(call: tuple[Operation, dict[str, str]]) -> None:
    operation, params = call
    answer = VENUE.execute(operation, Params(params), lambda: KEY, "127.0.0.1")
    msgspec.json.encode(answer.body)
    assert answer.status in (200, 400, 401, 409, 429)
    if answer.status != 200:
        assert answer.body["code"] < 0
        assert answer.body["msg"]


@given(st.text(), st.text())
def test_any_query_and_body_are_read_or_refused(query: str, body: str) -> None:
    with contextlib.suppress(BinanceError):
        assert all(isinstance(value, str) for value in merge(query, body).values())


FRAMES = [
    "null",
    '{"id":"\\ud800","method":"ping"}',
    '{"id":1,"method":"account.status","params":{"apiKey":"k","signature":"\\ud800"}}',
    '{"id":100000000000000000000000,"method":"ping"}',
    '{"id":' + "9" * 5000 + ',"method":"ping"}',
    '{"id":1,"method":"ping","params":{"a":NaN}}',
    '{"id":1,"method":"ping","params":{"a":[{"b":1}]}}',
    '{"id":1,"method":"session.logon","params":{"apiKey":{}}}',
    '{"id":{},"method":"ping"}',
    '{"id":1,"method":"userDataStream.unsubscribe","params":{"subscriptionId":"x"}}',
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


def ask(frame: str) -> Any:
    session = ApiSession(
        VENUE,
        {operation.name: operation for operation in OPERATIONS},
        Gate(ManualClock()),
        "127.0.0.1",
        lambda event: None,
    )
    return asyncio.run(session.handle(frame))


@pytest.mark.parametrize("frame", FRAMES)
def test_odd_socket_requests_are_answered(frame: str) -> None:
    answer = ask(frame)
    msgspec.json.encode(answer)
    assert answer["status"] in (200, 400, 401)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([op.name for op in OPERATIONS]), json_values, json_values)
def test_any_socket_request_is_answered(method: str, request_id: Any, params: Any) -> None:
    frame = msgspec.json.encode({"id": request_id, "method": method, "params": params}).decode()
    answer = ask(frame)
    msgspec.json.encode(answer)
    assert answer["status"] in (200, 400, 401)


class Nobody:
    def offer(self, stream: str, payload: bytes) -> None: ...


@settings(deadline=None)
@given(st.one_of(json_values.map(msgspec.json.encode), st.binary(), st.sampled_from(FRAMES)))
def test_any_stream_control_frame_is_answered(frame: str | bytes) -> None:
    session = StreamSession(StreamHub(EXCHANGE, MARKET), Nobody(), combined=False)
    assert msgspec.json.encode(session.control(frame))
    session.close()

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from time import time_ns
from typing import Any

import aiohttp
import pytest

from tests.api.platform import Api, Member
from trading_platform.api.server import STREAM_MESSAGE_BYTES_MAX
from trading_platform.api.session import ASKS_MAX
from trading_platform.market.instruments import ExchangeId
from trading_platform.tenants.model import Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Reader:
    """One stream connection: what it was told, message by message."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._waiting: list[Any] = []

    async def next(self, kind: str) -> Any:
        """The next message of this type; others before it are dropped."""
        async with asyncio.timeout(5):
            while True:
                while self._waiting:
                    message = self._waiting.pop(0)
                    if message["type"] == kind:
                        return message
                frame = await self.socket.receive()
                assert frame.type is aiohttp.WSMsgType.TEXT, (frame, self.socket.close_code)
                self._waiting = json.loads(frame.data)

    async def ask(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def closed(self) -> int | None:
        """The code with which the other side ended the connection."""
        async with asyncio.timeout(5):
            while True:
                frame = await self.socket.receive()
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    return self.socket.close_code


@contextlib.asynccontextmanager
async def stream(api: Api, member: Member | None) -> AsyncIterator[Reader]:
    headers = member.headers if member else {}
    async with api.session.ws_connect(f"{api.url}/v1/stream", headers=headers) as socket:
        yield Reader(socket)


def quote(api: Api, price: float) -> None:
    now = time_ns()
    for exchange_id, symbol in ((ExchangeId.BINANCE, "BTCUSDT"), (ExchangeId.COINBASE, "BTC-USDT")):
        sink = api.exchanges.sinks[exchange_id]
        sink.on_quote(symbol, price - 1, 2.0, price + 1, 2.0, now)


async def test_prices_come_as_a_snapshot_and_then_as_they_change(api: Api, member: Member) -> None:
    quote(api, 60_000)
    async with stream(api, member) as reader:
        assert (await reader.next("welcome"))["tenantId"] == member.tenant_id
        await reader.ask(type="subscribe", channel="prices", symbols=["BTC-USDT"])
        assert (await reader.next("subscribed"))["symbols"] == ["BTC-USDT"]
        first = await reader.next("price")
        assert first["price"]["price"] == pytest.approx(60_000, abs=5)
        quote(api, 60_100)
        async with asyncio.timeout(5):
            while (await reader.next("price"))["price"]["price"] < 60_050:
                pass


async def test_a_key_in_the_first_message_signs_in_too(api: Api, member: Member) -> None:
    async with stream(api, None) as reader:
        await reader.ask(type="auth", apiKey=member.key)
        assert (await reader.next("welcome"))["tenantId"] == member.tenant_id


@pytest.mark.parametrize(
    "first", [b"nonsense", b"[]", b'{"type":"subscribe","channel":"orders"}', b'{"type":"auth"}']
)
async def test_anything_else_first_is_refused_with_a_sentence(api: Api, first: bytes) -> None:
    async with stream(api, None) as reader:
        await reader.socket.send_str(first.decode())
        error = await reader.next("error")
        assert error["problem"]["code"] == "NOT_AUTHENTICATED"
        assert '{"type": "auth"' in error["problem"]["message"]
        assert await reader.closed() == 4401


async def test_a_wrong_key_is_refused_and_closed(api: Api) -> None:
    async with stream(api, Member("x", "tp_live_wrong")) as reader:
        assert (await reader.next("error"))["problem"]["code"] == "NOT_AUTHENTICATED"
        assert await reader.closed() == 4401


async def test_orders_start_with_the_open_ones_and_follow_each_change(
    api: Api, member: Member
) -> None:
    order = (await api.submit(member)).body
    async with stream(api, member) as reader:
        await reader.ask(type="subscribe", channel="orders")
        snapshot = await reader.next("openOrders")
        assert snapshot == {"type": "openOrders", "orders": [order], "complete": True}
        await api.call("DELETE", f"/v1/orders/{order['orderId']}", member)
        async with asyncio.timeout(5):
            while (change := await reader.next("order"))["order"]["status"] != "CANCELED":
                pass
        assert change["order"]["orderId"] == order["orderId"]


async def test_no_reader_hears_of_another_tenants_orders(api: Api, member: Member) -> None:
    other = await api.member()
    async with stream(api, member) as reader:
        await reader.ask(type="subscribe", channel="orders")
        await reader.next("openOrders")
        await api.submit(other)
        mine = (await api.submit(member)).body["orderId"]
        heard = await reader.next("order")
        assert heard["order"]["orderId"] == mine


async def test_after_unsubscribing_nothing_more_is_heard(api: Api, member: Member) -> None:
    async with stream(api, member) as reader:
        await reader.ask(type="subscribe", channel="orders")
        await reader.next("openOrders")
        await reader.ask(type="unsubscribe", channel="orders")
        await reader.next("unsubscribed")
        await api.submit(member)
        await reader.ask(type="subscribe", channel="prices", symbols=["BTC-USDT"])
        frames: list[Any] = []
        async with asyncio.timeout(5):
            while not any(message["type"] == "subscribed" for message in frames):
                frames += json.loads((await reader.socket.receive()).data)
        assert not any(message["type"] == "order" for message in frames)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("{", "not valid JSON"),
        ('{"type":"dance"}', "dance"),
        ('{"type":"subscribe"}', "channel"),
        ('{"type":"subscribe","channel":"news"}', "news"),
        ('{"type":"subscribe","channel":"prices"}', "at least one"),
        ('{"type":"subscribe","channel":"prices","symbols":["NOPE-USD"]}', "NOPE-USD"),
        ('{"type":"subscribe","channel":"prices","symbols":"BTC-USDT"}', "symbols"),
        ('{"type":"subscribe","channel":"orders","tenantId":"x"}', "tenantId"),
        ('{"type":"auth","apiKey":"again"}', "already"),
    ],
)
async def test_a_bad_message_is_a_sentence_and_the_connection_lives(
    api: Api, member: Member, message: str, sentence: str
) -> None:
    async with stream(api, member) as reader:
        await reader.socket.send_str(message)
        assert sentence in (await reader.next("error"))["problem"]["message"]
        await reader.ask(type="subscribe", channel="orders")
        await reader.next("openOrders")


async def test_a_message_above_the_bound_ends_the_connection(api: Api, member: Member) -> None:
    async with stream(api, member) as reader:
        await reader.next("welcome")
        await reader.socket.send_str("x" * (STREAM_MESSAGE_BYTES_MAX + 1))
        assert await reader.closed() == 1009


async def test_who_asks_too_often_is_let_go(api: Api, member: Member) -> None:
    async with stream(api, member) as reader:
        for _ in range(ASKS_MAX + 1):
            await reader.ask(type="unsubscribe", channel="prices", symbols=[])
        assert await reader.closed() == 4429


async def test_the_tier_bounds_connections_and_a_closed_one_is_free_again(api: Api) -> None:
    free = await api.member(Tier.FREE)
    async with stream(api, free) as first:
        await first.next("welcome")
        async with stream(api, free) as second:
            problem = (await second.next("error"))["problem"]
            assert problem["code"] == "RATE_LIMIT_EXCEEDED"
            assert await second.closed() == 4429
    for _ in range(100):
        async with stream(api, free) as third:
            frame = json.loads((await third.socket.receive()).data)
        if frame[0]["type"] == "welcome":
            return
    raise AssertionError("the lease was not given back")


async def test_a_slow_reader_never_fills_memory_and_ends_with_the_newest(
    api: Api, member: Member
) -> None:
    async with stream(api, member) as reader:
        await reader.ask(type="subscribe", channel="prices", symbols=["BTC-USDT"])
        await reader.next("price")
        for step in range(300):
            quote(api, 50_000 + step)
            api.services.prices.publish_due()  # type: ignore[attr-defined]  # the real manager
        skipped = await reader.next("skipped")
        assert skipped["prices"] > 0
        async with asyncio.timeout(5):
            while (await reader.next("price"))["price"]["price"] < 50_298:
                pass


async def test_another_path_is_no_stream(api: Api, member: Member) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with api.session.ws_connect(f"{api.url}/v1/other", headers=member.headers):
            pass

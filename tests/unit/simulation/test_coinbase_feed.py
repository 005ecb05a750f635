"""The simulated Coinbase Exchange over real sockets: the WebSocket feed."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest

from tests.unit.simulation.coinbase_desks import (
    BTC,
    ETH,
    PASSPHRASE,
    SECRET,
    Client,
    a_coinbase_exchange,
    a_liquid_book,
    feed_login,
)
from trading_platform.kit.clock import SystemClock
from trading_platform.market.orders import Side
from trading_platform.simulation import coinbase_feed, coinbase_session
from trading_platform.simulation.coinbase_limits import UNLIMITED, Limits, Rate
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import SimKey

D = Decimal
Frame = dict[str, Any]


class Feed:
    """One WebSocket client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, frame: object) -> None:
        await self.socket.send_bytes(msgspec.json.encode(frame))

    async def subscribe(self, *channels: object, **fields: object) -> None:
        frame = {"type": "subscribe", "product_ids": [BTC], "channels": list(channels)}
        await self.send(frame | fields)

    async def next(self) -> Frame:
        message = await self.socket.receive(timeout=3)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: Frame = msgspec.json.decode(message.data)
        return found

    async def types(self, *kinds: str) -> list[Frame]:
        """The next frames, which must be of these types in this order."""
        frames = [await self.next() for _ in kinds]
        assert [frame["type"] for frame in frames] == list(kinds), frames
        return frames

    async def ended(self) -> bool:
        message = await self.socket.receive(timeout=3)
        return message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


class Desk(NamedTuple):
    """A running server, its exchange, a REST client, and the HTTP session that opens feeds."""

    server: CoinbaseServer
    exchange: SimulatedExchange
    client: Client
    http: aiohttp.ClientSession
    key: SimKey

    async def feed(self, path: str = "/") -> Feed:
        url = self.server.url + path
        return Feed(await self.http.ws_connect(url, max_msg_size=16 * 1024 * 1024))

    def trade(self, price: str, quantity: str, side: Side = Side.BUY) -> None:
        self.exchange.external_trade(BTC, D(price), D(quantity), side)


async def a_desk(limits: Limits = UNLIMITED) -> AsyncIterator[Desk]:
    exchange, key = a_coinbase_exchange(SystemClock())
    a_liquid_book(exchange)
    server = CoinbaseServer(exchange, clock=SystemClock(), limits=limits, opening_delay_s=0.001)
    await server.start()
    async with aiohttp.ClientSession() as http:
        yield Desk(server, exchange, Client(http, server.url), http, key)
    await server.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async for found in a_desk():
        yield found


async def test_subscriptions_are_acknowledged_whole_and_level2_batch_under_its_other_name(
    desk: Desk,
) -> None:
    feed = await desk.feed()
    await feed.subscribe("level2_batch", {"name": "heartbeat", "product_ids": [ETH]})
    (acknowledged,) = await feed.types("subscriptions")
    assert acknowledged["channels"] == [
        {"name": "level2_50", "product_ids": [BTC], "account_ids": None},
        {"name": "heartbeat", "product_ids": [ETH, BTC], "account_ids": None},
    ]


async def test_matches_start_with_the_last_one_and_carry_the_makers_side(desk: Desk) -> None:
    feed = await desk.feed("/?")
    await feed.subscribe("matches")
    _, last = await feed.types("subscriptions", "last_match")
    assert (last["side"], last["price"], last["size"]) == ("buy", "60000", "0.5")
    desk.trade("60001", "0.25", Side.BUY)
    desk.trade("60000", "0.1", Side.SELL)
    first, second = await feed.types("match", "match")
    assert list(first) == [
        "type",
        "trade_id",
        "maker_order_id",
        "taker_order_id",
        "side",
        "size",
        "price",
        "product_id",
        "sequence",
        "time",
    ]
    assert (first["side"], second["side"]) == ("sell", "buy")
    assert [last["trade_id"], first["trade_id"], second["trade_id"]] == [
        last["trade_id"] + n for n in range(3)
    ]
    assert first["sequence"] < second["sequence"]
    uuid.UUID(first["maker_order_id"])


async def test_ticker_follows_every_match_with_the_takers_side(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("ticker")
    await feed.types("subscriptions", "ticker")
    desk.trade("60001", "0.25", Side.BUY)
    (ticker,) = await feed.types("ticker")
    assert (ticker["side"], ticker["price"], ticker["last_size"]) == ("buy", "60001", "0.25")
    assert (ticker["best_bid"], ticker["best_ask"]) == ("60000", "60001")
    assert ticker["best_bid_size"] == "1.00000000"


async def test_level2_batch_rebuilds_the_book(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("level2_batch")
    _, snapshot = await feed.types("subscriptions", "snapshot")
    assert list(snapshot) == ["type", "product_id", "asks", "bids", "time"]
    assert snapshot["asks"][0] == ["60001.00", "1.00000000"]
    bids = dict(snapshot["bids"])
    desk.exchange.set_levels(BTC, [(D(60_000), D(0)), (D(59_999), D("2.5"))], [])
    (update,) = await feed.types("l2update")
    assert ["buy", "60000.00", "0.00000000"] in update["changes"]
    for side, price, size in update["changes"]:
        assert side == "buy"
        if D(size):
            bids[price] = size
        else:
            del bids[price]
    book = desk.exchange.book(BTC).bids
    assert {D(p): D(q) for p, q in bids.items()} == {p: book.total(p) for p in book.prices()}


async def test_heartbeats_come_on_the_second_with_the_last_trade(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("heartbeat")
    _, beat = await feed.types("subscriptions", "heartbeat")
    last = desk.exchange.tape(BTC).last
    assert last is not None
    assert beat["last_trade_id"] == last.trade_id
    assert beat["time"].endswith(".000000Z")


async def test_status_lists_products_and_currencies(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("status", product_ids=[])
    _, status = await feed.types("subscriptions", "status")
    assert [p["id"] for p in status["products"]] == [BTC, ETH]
    assert "USD" in [c["id"] for c in status["currencies"]]


@pytest.mark.parametrize(
    ("frame", "message", "reason"),
    [
        (
            {"type": "subscribe", "product_ids": ["FOO-BAR"], "channels": ["ticker"]},
            "Failed to subscribe",
            "FOO-BAR is not a valid product",
        ),
        (
            {"type": "subscribe", "product_ids": [BTC], "channels": ["foo"]},
            "Failed to subscribe",
            "foo is not a valid channel",
        ),
        (
            {"type": "subscribe", "product_ids": [BTC], "channels": ["level2"]},
            "Failed to subscribe",
            "level2, level3, and full channels now require authentication. "
            "https://docs.cloud.coinbase.com/exchange/docs/websocket-auth",
        ),
        (
            {"type": "unsubscribe", "product_ids": [BTC], "channels": []},
            "Failed to unsubscribe",
            "No channels provided",
        ),
        ({"type": "hello"}, "Invalid request", "hello is not a valid type"),
    ],
)
async def test_a_bad_frame_gets_an_error_frame(
    desk: Desk, frame: Frame, message: str, reason: str
) -> None:
    feed = await desk.feed()
    await feed.send(frame)
    (error,) = await feed.types("error")
    assert (error["message"], error["reason"]) == (message, reason)


async def test_text_that_is_no_json_gets_an_error_frame(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.socket.send_str("{")
    (error,) = await feed.types("error")
    assert error["message"] == "Malformed JSON"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": "AAAA"}, "invalid signature"),
        ({"passphrase": "wrong"}, "Invalid Passphrase"),
        ({"key": "stranger"}, "Invalid API Key"),
        ({"timestamp": int(time.time()) - 60}, "request timestamp expired"),
    ],
)
async def test_a_bad_login_subscribes_to_nothing(desk: Desk, change: Frame, reason: str) -> None:
    feed = await desk.feed()
    await feed.subscribe("user", **(feed_login() | change))
    (error,) = await feed.types("error")
    assert (error["message"], error["reason"]) == ("Authentication Failed", reason)


async def test_unsubscribing_a_channel_ends_it(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("matches", "ticker")
    await feed.types("subscriptions", "last_match", "ticker")
    await feed.send({"type": "unsubscribe", "channels": ["matches"]})
    (left,) = await feed.types("subscriptions")
    assert [channel["name"] for channel in left["channels"]] == ["ticker"]
    desk.trade("60001", "0.25")
    await feed.types("ticker")


async def test_who_does_not_subscribe_in_time_is_disconnected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coinbase_feed, "SUBSCRIBE_WITHIN_S", 0.05)
    feed = await desk.feed()
    assert await feed.ended()


async def test_who_subscribed_in_time_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_feed, "SUBSCRIBE_WITHIN_S", 0.05)
    feed = await desk.feed()
    await feed.subscribe("ticker")
    await feed.types("subscriptions", "ticker")
    await asyncio.sleep(0.1)
    desk.trade("60001", "0.25")
    await feed.types("ticker")


async def test_who_does_not_read_is_closed_and_nobody_else_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coinbase_session, "QUEUE_MAX", 20)
    slow, quick = await desk.feed(), await desk.feed()
    for feed in (slow, quick):
        await feed.subscribe("matches")
        await feed.types("subscriptions", "last_match")
    for _ in range(5):
        desk.trade("60001", "0.01")
    await quick.types(*["match"] * 5)
    for _ in range(40):  # at once: no session's writer runs in between
        desk.trade("60001", "0.01")
    kinds = []
    while (message := await slow.socket.receive(timeout=3)).type is aiohttp.WSMsgType.TEXT:
        kinds.append(msgspec.json.decode(message.data)["type"])
    assert kinds == ["match"] * 5 + ["error"]


async def test_an_order_is_told_to_its_owner_in_order(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("user", **feed_login())
    await feed.types("subscriptions")
    oid = str(uuid.uuid4())
    order = {"product_id": BTC, "side": "buy", "price": "60001.00", "size": "1.5"}
    reply = await desk.client.signed("POST", "/orders", order | {"client_oid": oid})
    received, match, opened = await feed.types("received", "match", "open")
    order_id = reply.row()["id"]
    assert (received["order_id"], received["client_oid"]) == (order_id, oid)
    assert (received["size"], received["price"], received["order_type"]) == (
        "1.5",
        "60001",
        "limit",
    )
    assert match["taker_order_id"] == order_id
    assert (match["side"], match["size"], match["taker_fee_rate"]) == ("sell", "1", "0.006")
    assert match["taker_profile_id"] == match["profile_id"] == received["profile_id"]
    assert "maker_user_id" not in match
    assert (opened["order_id"], opened["remaining_size"]) == (order_id, "0.5")
    desk.trade("60000.5", "0.2", Side.SELL)
    (maker,) = await feed.types("match")
    assert (maker["maker_order_id"], maker["side"], maker["size"]) == (order_id, "buy", "0.2")
    assert maker["maker_fee_rate"] == "0.004"
    await desk.client.signed("DELETE", f"/orders/{order_id}")
    (done,) = await feed.types("done")
    assert (done["order_id"], done["reason"], done["remaining_size"]) == (
        order_id,
        "canceled",
        "0.3",
    )
    assert "client_oid" not in done


async def test_a_filled_order_ends_with_done_filled(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("user", **feed_login(int(time.time())))
    await feed.types("subscriptions")
    order = {"product_id": BTC, "side": "buy", "type": "market", "size": "1.5"}
    await desk.client.signed("POST", "/orders", order)
    received, *_, done = await feed.types("received", "match", "match", "done")
    assert "price" not in received
    assert done["reason"] == "filled"


async def test_an_unfilled_ioc_says_why_it_ended(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("user", **feed_login())
    await feed.types("subscriptions")
    order = {"product_id": BTC, "side": "buy", "price": "100.00", "size": "1"}
    await desk.client.signed("POST", "/orders", order | {"time_in_force": "IOC"})
    _, done = await feed.types("received", "done")
    assert (done["reason"], done["cancel_reason"]) == ("canceled", "101:Time In Force")


async def test_a_post_only_refusal_is_told_as_received_and_done(desk: Desk) -> None:
    feed = await desk.feed()
    await feed.subscribe("user", **feed_login())
    await feed.types("subscriptions")
    order = {"product_id": BTC, "side": "buy", "price": "60001.00", "size": "1", "post_only": True}
    reply = await desk.client.signed("POST", "/orders", order)
    received, done = await feed.types("received", "done")
    assert received["order_id"] == done["order_id"] == reply.row()["id"]
    assert done["reason"] == "canceled"


async def test_another_account_hears_nothing_and_the_full_feed_names_nobody(desk: Desk) -> None:
    desk.exchange.open_account("other", SECRET, PASSPHRASE, {"USD": D(10)})
    stranger, everyone = await desk.feed(), await desk.feed()
    login = feed_login()
    await stranger.subscribe("user", "heartbeat", **(login | {"key": "other"}))
    await everyone.subscribe("full", **login)
    await stranger.types("subscriptions")
    await everyone.types("subscriptions")
    order = {"product_id": BTC, "side": "buy", "price": "60001.00", "size": "1.5"}
    await desk.client.signed("POST", "/orders", order | {"client_oid": str(uuid.uuid4())})
    frames = await everyone.types("received", "match", "open")
    sequences = [frame["sequence"] for frame in frames]
    assert sequences == sorted(set(sequences))
    for frame in frames:
        assert not {"user_id", "profile_id", "client_oid", "taker_user_id"} & set(frame)
    (first,) = await stranger.types("heartbeat")
    assert first["type"] == "heartbeat"


async def test_the_eleventh_subscription_of_an_account_is_refused(desk: Desk) -> None:
    login = feed_login()
    feeds = [await desk.feed() for _ in range(10)]
    for feed in feeds:
        await feed.subscribe("user", **login)
        await feed.types("subscriptions")
    eleventh = await desk.feed()
    await eleventh.subscribe("user", **login)
    (error,) = await eleventh.types("error")
    assert error["message"] == "Failed to subscribe"


async def test_too_many_connections_are_turned_away() -> None:
    limits = msgspec.structs.replace(UNLIMITED, connections=Rate(0.001, 2))
    async for desk in a_desk(limits):
        kept = [await desk.feed(), await desk.feed()]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await desk.feed()
        assert caught.value.status == 429
        assert len(kept) == 2

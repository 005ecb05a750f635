"""Market streams of the simulated Binance over real sockets."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.unit.simulation.binance_client import Desk
from tests.unit.simulation.venues import BTC, a_market
from trading_platform.market.orders import Side
from trading_platform.simulation.binance_sockets import SocketRules

D = Decimal


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk(stream_rules=SocketRules(messages_per_s=None)) as desk:
        yield desk


async def heard(socket: Any) -> Any:
    """The next text frame, decoded."""
    message = await socket.receive(timeout=3)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return msgspec.json.decode(message.data)


async def connect(desk: Desk, path: str) -> Any:
    return await desk.http.ws_connect(desk.server.ws_url + path, autoping=False)


def trade(desk: Desk, price: int = 60_001) -> None:
    desk.exchange.external_trade(BTC, D(price), D("0.25"), Side.BUY)


async def test_raw_trade_and_aggregate_have_the_recorded_keys(desk: Desk) -> None:
    socket = await connect(desk, "/ws/btcusdt@trade")
    trade(desk)
    event = await heard(socket)
    assert list(event) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
    assert (event["p"], event["q"], event["m"]) == ("60001.00000000", "0.25000000", False)
    socket = await connect(desk, "/ws/btcusdt@aggTrade")
    trade(desk)
    assert list(await heard(socket)) == ["e", "E", "s", "a", "f", "l", "p", "q", "T", "m", "M"]


async def test_combined_form_names_the_stream(desk: Desk) -> None:
    socket = await connect(desk, "/stream?streams=btcusdt@trade/btcusdt@bookTicker")
    trade(desk)
    desk.exchange.set_level(BTC, Side.BUY, D("60000.50"), D(2))
    first, second = await heard(socket), await heard(socket)
    assert (first["stream"], first["data"]["e"]) == ("btcusdt@trade", "trade")
    assert second["stream"] == "btcusdt@bookTicker"
    assert second["data"] == {
        "u": desk.exchange.book(BTC).update_id,
        "s": "BTCUSDT",
        "b": "60000.50000000",
        "B": "2.00000000",
        "a": "60001.00000000",
        "A": "1.00000000",
    }


async def test_book_ticker_is_silent_when_the_best_did_not_change(desk: Desk) -> None:
    socket = await connect(desk, "/ws/btcusdt@bookTicker")
    desk.exchange.set_level(BTC, Side.BUY, D("60000.50"), D(2))
    desk.exchange.set_level(BTC, Side.BUY, D(59_000), D(7))
    desk.exchange.set_level(BTC, Side.BUY, D("60000.50"), D(3))
    assert [(await heard(socket))["B"] for _ in range(2)] == ["2.00000000", "3.00000000"]


async def test_book_rebuilt_from_snapshot_and_diffs_equals_the_exchange(desk: Desk) -> None:
    socket = await connect(desk, "/ws/btcusdt@depth@100ms")
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    desk.exchange.set_level(BTC, Side.BUY, D(59_000), D(7))
    snapshot = (await desk.get("/api/v3/depth", symbol="BTCUSDT", limit=5000)).body
    sides["b"].update(snapshot["bids"])
    sides["a"].update(snapshot["asks"])
    last = snapshot["lastUpdateId"]
    events = 0
    for move in (
        lambda: desk.exchange.submit(desk.key.account_id, a_market(Side.BUY, quantity=D("1.5"))),
        lambda: desk.exchange.set_levels(BTC, [(D(59_999), D(0))], [(D(60_009), D(2))]),
        lambda: desk.exchange.replace_book(BTC, [(D(50_000), D(1))], [(D(70_000), D(1))]),
    ):
        move()
        while last < desk.exchange.book(BTC).update_id:
            event = await heard(socket)
            if event["u"] <= last:
                continue
            assert event["U"] <= last + 1
            for side, levels in sides.items():
                levels.update(event[side])
            last, events = event["u"], events + 1
    now = (await desk.get("/api/v3/depth", symbol="BTCUSDT", limit=5000)).body
    kept = {s: {p: q for p, q in levels.items() if D(q)} for s, levels in sides.items()}
    assert events >= 3
    assert kept == {"b": dict(now["bids"]), "a": dict(now["asks"])}


async def test_partial_depth_comes_when_the_book_changed(desk: Desk) -> None:
    socket = await connect(desk, "/ws/btcusdt@depth5@100ms")
    desk.exchange.set_level(BTC, Side.BUY, D("60000.50"), D(2))
    event = await heard(socket)
    assert list(event) == ["lastUpdateId", "bids", "asks"]
    assert (event["bids"][0], len(event["asks"])) == (["60000.50000000", "2.00000000"], 5)


async def test_second_streams_tell_ticker_candle_and_average(desk: Desk) -> None:
    names = ["ticker", "miniTicker", "kline_1m", "avgPrice"]
    query = "/".join(f"btcusdt@{name}" for name in names) + "/!miniTicker@arr"
    socket = await connect(desk, f"/stream?streams={query}")
    events: dict[str, Any] = {}
    while len(events) < 5:
        event = await heard(socket)
        events[event["stream"]] = event["data"]
    assert events["btcusdt@ticker"]["c"] == events["btcusdt@miniTicker"]["c"] == "60000.00000000"
    assert events["!miniTicker@arr"] == [events["btcusdt@miniTicker"]]
    candle = events["btcusdt@kline_1m"]["k"]
    assert (candle["o"], candle["n"], candle["x"]) == ("60000.00000000", 1, False)
    assert events["btcusdt@avgPrice"]["w"] == "60000.00000000"


async def test_control_messages(desk: Desk) -> None:
    socket = await connect(desk, "/ws")

    async def ask(**message: Any) -> Any:
        await socket.send_json(message)
        return await heard(socket)

    name = "btcusdt@trade"
    assert await ask(method="SUBSCRIBE", params=[name], id=1) == {"result": None, "id": 1}
    assert await ask(method="LIST_SUBSCRIPTIONS", id="x") == {"result": [name], "id": "x"}
    assert await ask(method="GET_PROPERTY", params=["combined"], id=2) == {"result": False, "id": 2}
    await ask(method="SET_PROPERTY", params=["combined", True], id=3)
    trade(desk)
    assert (await heard(socket))["stream"] == name
    await ask(method="UNSUBSCRIBE", params=[name], id=4)
    trade(desk)
    assert await ask(method="LIST_SUBSCRIPTIONS", id=None) == {"result": [], "id": None}
    unknown = await ask(method="SUBSCRIBE", params=["nope@trade"], id=5)
    assert unknown == {"result": None, "id": 5}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"method":"WISH","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"x","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":1.5}', 2),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1),
        ('{"method":"GET_PROPERTY","params":["mood"],"id":1}', 0),
    ],
)
async def test_bad_control_messages_are_answered_bare(desk: Desk, frame: str, code: int) -> None:
    socket = await connect(desk, "/ws")
    await socket.send_str(frame)
    answer = await heard(socket)
    assert (set(answer), answer["code"]) == ({"code", "msg"}, code)


async def test_more_than_five_messages_a_second_end_the_connection() -> None:
    async with Desk() as desk:
        socket = await connect(desk, "/ws")
        for number in range(5):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            assert (await heard(socket))["id"] == number
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        message = await socket.receive(timeout=3)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_server_pings_and_ends_a_silent_connection() -> None:
    rules = SocketRules(ping_every_s=0.02, pong_within_s=0.05)
    async with Desk(stream_rules=rules) as desk:
        socket = await connect(desk, "/ws")
        first = await socket.receive(timeout=3)
        assert first.type is aiohttp.WSMsgType.PING
        desk.clock.advance(0.071)  # more than a ping and its patience
        while (message := await socket.receive(timeout=3)).type is aiohttp.WSMsgType.PING:
            continue
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_connection_ends_after_its_life() -> None:
    async with Desk(stream_rules=SocketRules(life_s=0.05)) as desk:
        socket = await connect(desk, "/ws")
        desk.clock.advance(0.05)
        message = await socket.receive(timeout=3)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)


async def test_shutdown_is_announced_in_every_form(desk: Desk) -> None:
    raw, combined = await connect(desk, "/ws"), await connect(desk, "/stream")
    api = await connect(desk, "/ws-api/v3")
    await api.send_str("not json")  # an answer shows that the session stands
    await heard(api)
    desk.server.announce_shutdown()
    event = {"e": "serverShutdown", "E": desk.now_ms}
    assert await heard(raw) == event
    assert await heard(combined) == {"stream": "!serverShutdown", "data": event}
    assert await heard(api) == {"event": event}


async def test_left_streams_leave_nothing_behind(desk: Desk) -> None:
    socket = await connect(desk, "/ws/btcusdt@trade")
    trade(desk)
    await heard(socket)
    await socket.close()
    await desk.server.close()  # waits for every connection to be done
    assert (desk.server.connection_count, desk.server.stream_count) == (0, 0)

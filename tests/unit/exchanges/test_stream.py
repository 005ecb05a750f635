"""The WebSocket shell against a real server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web

from tests.unit.exchanges.sinks import Account, Log, Market
from trading_platform.exchanges.client import Log as LogPort
from trading_platform.exchanges.endpoints import Endpoints
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.stream import ExchangeStream, StreamLimits
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials, Secret

QUICK = StreamLimits(
    connect_s=0.5,
    idle_s=5.0,
    overlap_s=0.5,
    tick_s=0.01,
    control_pause_s=0.001,
    retry_first_s=0.01,
    retry_most_s=0.02,
)
INFO = {
    "symbols": [
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}
    ]
}


def quote(bid: float) -> str:
    return f'{{"u":1,"s":"BTCUSDT","b":"{bid}","B":"1","a":"{bid + 1}","A":"1"}}'


class Feed:
    """A Binance-like server; a test holds its live connections."""

    def __init__(self) -> None:
        self.sockets: list[web.WebSocketResponse] = []
        self.heard: list[Any] = []
        self.pongs: list[bytes] = []
        self.refuse = 0
        self.opened = asyncio.Event()
        self.base = ""

    async def market(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False, max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.PONG:
                self.pongs.append(message.data)
            elif message.type is WSMsgType.TEXT:
                said = msgspec.json.decode(message.data)
                self.heard.append(said)
                if said.get("method") == "userDataStream.subscribe.signature":
                    await socket.send_json({"id": said["id"], "status": 200, "result": {}})
                else:
                    await socket.send_json({"result": None, "id": said["id"]})
                self.opened.set()
        return socket

    async def connections(self, count: int) -> None:
        await until(lambda: len(self.heard) >= count)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.005)


@pytest.fixture
async def feed() -> AsyncIterator[Feed]:
    it = Feed()
    app = web.Application()
    app.router.add_get("/ws", it.market)
    app.router.add_get("/ws-api/v3", it.market)

    async def info(request: web.Request) -> web.Response:
        return web.json_response(INFO)

    async def time(request: web.Request) -> web.Response:
        return web.json_response({"serverTime": SystemClock().time_ns() // 1_000_000})

    app.router.add_get("/api/v3/exchangeInfo", info)
    app.router.add_get("/api/v3/time", time)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.base = f"127.0.0.1:{runner.addresses[0][1]}"
    yield it
    await runner.cleanup()


class Keys:
    """Credentials of anybody but tenant "nobody"."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        if tenant_id == "nobody":
            raise ServiceError("no credentials", "NOT_FOUND")
        return ExchangeCredentials(api_key=f"key-{tenant_id}", api_secret=Secret("s"))


def factory(feed: Feed, log: LogPort, limits: StreamLimits = QUICK) -> ExchangeFactory:
    endpoints = Endpoints(
        rest=f"http://{feed.base}",
        market_ws=f"ws://{feed.base}/ws",
        user_ws=f"ws://{feed.base}/ws-api/v3",
    )
    return ExchangeFactory(
        {ExchangeId.BINANCE: endpoints}, Keys(), SystemClock(), log, stream_limits=limits
    )


class Running:
    """A stream in a task, stopped at the end of a test."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, stream: ExchangeStream[Any]) -> None:
        self.tasks.append(asyncio.create_task(stream.run()))


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    it = Running()
    yield it
    for task in it.tasks:
        assert not task.done(), task.exception()
        task.cancel()
    await asyncio.gather(*it.tasks, return_exceptions=True)


def market(feed: Feed, sink: Market, limits: StreamLimits = QUICK) -> ExchangeStream[Any]:
    return factory(feed, Log(), limits).market_stream(ExchangeId.BINANCE, ["BTCUSDT"], sink)


async def test_frames_reach_the_sink(feed: Feed, running: Running) -> None:
    sink = Market()
    running.start(market(feed, sink))
    await feed.connections(1)
    assert feed.heard[0]["params"] == ["btcusdt@bookTicker", "btcusdt@trade"]
    await feed.sockets[0].send_str(quote(10))
    await until(lambda: sink.told)
    assert sink.told == [("quote", "BTCUSDT", 10.0, 1.0, 11.0, 1.0, 0)]
    assert sink.gaps == []


async def test_a_lost_connection_is_replaced_and_told(feed: Feed, running: Running) -> None:
    sink = Market()
    running.start(market(feed, sink))
    for number in range(1, 4):
        await feed.connections(number)
        await feed.sockets[-1].send_str(quote(number))
        await until(lambda: len(sink.told) == number)  # noqa: B023 - awaited at once
        await feed.sockets[-1].close()
    await feed.connections(4)
    assert sink.gaps == ["disconnected"] * 3


async def test_a_refused_connection_is_tried_again(feed: Feed, running: Running) -> None:
    feed.refuse = 3
    sink = Market()
    running.start(market(feed, sink))
    await feed.connections(1)
    assert feed.refuse == 0
    assert sink.gaps == []


async def test_silence_is_a_loss_and_a_ping_is_not_silence(feed: Feed, running: Running) -> None:
    sink = Market()
    limits = msgspec.structs.replace(QUICK, idle_s=0.15)
    running.start(market(feed, sink, limits))
    await feed.connections(1)
    for number in range(6):
        await feed.sockets[0].ping(f"p{number}".encode())
        await asyncio.sleep(0.05)
    assert sink.gaps == []
    assert feed.pongs == [f"p{number}".encode() for number in range(6)]
    await feed.connections(2)
    assert sink.gaps == ["silent for 0.15 s"]


async def test_before_its_life_ends_a_connection_is_replaced_without_a_gap(
    feed: Feed, running: Running
) -> None:
    sink = Market()
    limits = msgspec.structs.replace(QUICK, lifetime_s=0.05)
    running.start(market(feed, sink, limits))
    await feed.connections(3)
    assert sink.gaps == []
    await until(lambda: feed.sockets[0].closed)


async def test_an_announced_shutdown_opens_the_new_before_closing_the_old(
    feed: Feed, running: Running
) -> None:
    sink = Market()
    running.start(market(feed, sink))
    await feed.connections(1)
    await feed.sockets[0].send_str('{"e":"serverShutdown","E":1}')
    await feed.connections(2)
    await until(lambda: feed.sockets[0].closed)
    await feed.sockets[1].send_str(quote(20))
    await until(lambda: sink.told)
    assert sink.gaps == []
    assert len(feed.sockets) == 2


async def test_a_refused_subscription_is_a_loss_with_its_reason(
    feed: Feed, running: Running
) -> None:
    sink = Market()
    running.start(market(feed, sink))
    await feed.connections(1)
    await feed.sockets[0].send_str('{"code":2,"msg":"Invalid request"}')
    await feed.connections(2)
    assert sink.gaps == ["refused: Invalid request"]


async def test_a_message_in_pieces_is_joined_and_a_huge_one_ends_the_connection(
    feed: Feed, running: Running
) -> None:
    sink = Market()
    limits = msgspec.structs.replace(QUICK, frame_bytes_max=4096)
    running.start(market(feed, sink, limits))
    await feed.connections(1)
    text = quote(30).encode()
    transport = feed.sockets[0]._req.transport  # type: ignore[union-attr]  # raw frames
    assert transport
    transport.write(bytes([0x01, 10]) + text[:10] + bytes([0x80, len(text) - 10]) + text[10:])
    await until(lambda: sink.told)
    await feed.sockets[0].send_str(" " * 5000)
    await feed.connections(2)
    for _ in range(5):
        piece = bytes([0x01 if _ == 0 else 0x00, 126, 4, 0]) + b" " * 1024
        transport = feed.sockets[1]._req.transport  # type: ignore[union-attr]  # raw frames
        assert transport
        transport.write(piece)
    await feed.connections(3)


async def test_garbage_does_not_end_a_connection(feed: Feed, running: Running) -> None:
    sink = Market()
    running.start(market(feed, sink))
    await feed.connections(1)
    for text in ("{", "[]", "null", '{"e":"new"}', quote(40)):
        await feed.sockets[0].send_str(text)
    await until(lambda: sink.told)
    assert len(feed.sockets) == 1


async def test_user_stream_logs_in_and_reports_a_gap_once_resumed(
    feed: Feed, running: Running
) -> None:
    sink, log = Account(), Log()
    exchanges = factory(feed, log)
    await exchanges.start()
    running.start(await exchanges.user_stream("t1", ExchangeId.BINANCE, sink))
    await feed.connections(1)
    params = feed.heard[0]["params"]
    assert params["apiKey"] == "key-t1"
    assert len(params["signature"]) == 64
    assert sink.gaps == []
    await feed.sockets[0].close()
    await feed.connections(2)
    await until(lambda: sink.gaps)
    assert sink.gaps == ["resumed"]
    assert "key-t1" not in str(log.events)
    await exchanges.close()


async def test_a_tenant_without_keys_gets_no_stream(feed: Feed) -> None:
    exchanges = factory(feed, Log())
    with pytest.raises(ServiceError) as caught:
        await exchanges.user_stream("nobody", ExchangeId.BINANCE, Account())
    assert caught.value.code == "NOT_FOUND"


async def test_accounts_are_kept_and_can_be_forgotten(feed: Feed) -> None:
    exchanges = factory(feed, Log())
    first = await exchanges.trading("t1", ExchangeId.BINANCE)
    assert await exchanges.trading("t1", ExchangeId.BINANCE) is first
    assert await exchanges.trading("t2", ExchangeId.BINANCE) is not first
    exchanges.forget("t1", ExchangeId.BINANCE)
    assert await exchanges.trading("t1", ExchangeId.BINANCE) is not first


async def test_instruments_are_asked_once_and_unknown_symbols_are_named(feed: Feed) -> None:
    exchanges = factory(feed, Log())
    await exchanges.start()
    instrument = await exchanges.instrument(ExchangeId.BINANCE, "BTC-USDT")
    assert instrument.exchange_symbol == "BTCUSDT"
    again = await exchanges.instruments(ExchangeId.BINANCE)
    assert again["BTC-USDT"] is instrument
    for symbol, exchange_id in (("DOGE-USDT", "BINANCE"), ("BTC-USD", "COINBASE")):
        with pytest.raises(ServiceError) as caught:
            await exchanges.instrument(ExchangeId(exchange_id), symbol)
        assert caught.value.code == "NOT_FOUND"
    await exchanges.close()

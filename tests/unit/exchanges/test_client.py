"""The REST shell and the account against a real server on loopback that misbehaves on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.builders import an_instrument, an_order
from tests.unit.exchanges.sinks import Log
from trading_platform.exchanges.account import ExchangeAccount
from trading_platform.exchanges.binance_trading import BinanceTrading
from trading_platform.exchanges.client import Lost, NotSent, RestClient
from trading_platform.exchanges.coinbase_trading import CoinbaseTrading
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse, TradingDialect
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import (
    Accepted,
    Found,
    LookUpFailed,
    NotFound,
    Rejected,
    Unknown,
)
from trading_platform.exchanges.signer import in_process_signer, unsigned
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import OrderStatus
from trading_platform.secrets.model import ExchangeCredentials, Secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CREDENTIALS = ExchangeCredentials(
    api_key="key", api_secret=Secret("c2VjcmV0c2VjcmV0"), passphrase=Secret("phrase")
)
ORDER, INSTRUMENT = an_order(), an_instrument()
PLACED = {
    "symbol": "BTCUSDT",
    "orderId": 7,
    "clientOrderId": ORDER.client_order_id,
    "transactTime": 1793356800123,
    "executedQty": "0",
    "cummulativeQuoteQty": "0",
    "status": "NEW",
    "fills": [],
}
PUBLIC = HttpRequest(method="GET", path="/api/v3/exchangeInfo")


class Exchange:
    """A server whose answers a test writes: path -> handler; everything received is kept."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[str, str], Handler] = {}
        self.received: list[tuple[str, str, dict[str, str], str]] = []
        self.skew_ms = 0
        self.base_url = ""

    def on(self, method: str, path: str, *answers: web.Response | Handler) -> None:
        """Give these answers one after the other, the last one for ever."""
        left = list(answers)

        async def handle(request: web.Request) -> web.StreamResponse:
            answer = left.pop(0) if len(left) > 1 else left[0]
            return _copy(answer) if isinstance(answer, web.Response) else await answer(request)

        self.handlers[method, path] = handle

    def sent(self, method: str, path: str) -> list[dict[str, str]]:
        """The parameters of each such request."""
        return [query for m, p, query, _ in self.received if (m, p) == (method, path)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        query = dict(request.query) | dict(await request.post())
        self.received.append((request.method, request.path, query, body))  # type: ignore[arg-type]  # text fields only
        if request.path == "/api/v3/time" and ("GET", "/api/v3/time") not in self.handlers:
            now_ms = SystemClock().time_ns() // 1_000_000
            return web.json_response({"serverTime": now_ms + self.skew_ms})
        if request.path == "/time":
            return web.json_response({"epoch": SystemClock().time_ns() / 1e9})
        handler = self.handlers.get((request.method, request.path))
        return await handler(request) if handler else web.Response(status=404, text="no handler")


def _copy(response: web.Response) -> web.Response:
    return web.Response(status=response.status, headers=response.headers, body=response.body)


def js(body: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    fake = Exchange()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def make(exchange: Exchange) -> AsyncIterator[Callable[..., Any]]:
    clients: list[RestClient] = []

    async def build(
        dialect: TradingDialect | None = None, base_url: str = "", **limits: Any
    ) -> tuple[RestClient, ExchangeAccount]:
        dialect = dialect or BinanceTrading()
        client = RestClient(base_url or exchange.base_url, dialect, SystemClock(), Log(), **limits)
        await client.start()
        clients.append(client)
        signer = in_process_signer(dialect.exchange_id, client.base_url, CREDENTIALS)
        return client, ExchangeAccount(dialect, signer, client, SystemClock())

    yield build
    for client in clients:
        await client.close()


async def test_an_order_is_sent_once_with_its_id_and_the_exchanges_time(
    exchange: Exchange, make: Any
) -> None:
    exchange.skew_ms = 5000
    exchange.on("POST", "/api/v3/order", js(PLACED))
    _, account = await make()
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert outcome.report.exchange_order_id == "7"
    (sent,) = exchange.sent("POST", "/api/v3/order")
    assert sent["newClientOrderId"] == ORDER.client_order_id
    ahead_ms = int(sent["timestamp"]) - SystemClock().time_ns() // 1_000_000
    assert 4000 < ahead_ms < 5500


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def cut_in_the_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"symbol":"BTCUSDT",')
    assert request.transport
    request.transport.close()
    return response


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 1024)
    return response


@pytest.mark.parametrize(
    "answer",
    [
        cut,
        cut_in_the_body,
        hang,
        huge,
        js({"code": -1007, "msg": "Timeout"}, 504),
        js({"code": -2010, "msg": "Duplicate order sent."}, 400),
        web.Response(status=502, text="<html>"),
        web.Response(status=307, headers={"Location": "/api/v3/order"}),
        web.Response(status=200, text='{"symbol":'),
    ],
    ids=lambda answer: getattr(answer, "__name__", None) or str(answer.status),
)
async def test_an_ambiguous_placement_is_unknown_and_never_sent_again(
    exchange: Exchange, make: Any, answer: Any
) -> None:
    exchange.on("POST", "/api/v3/order", answer)
    _, account = await make(timeout_s=0.3, body_bytes_max=32 * 1024)
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Unknown), outcome
    assert len(exchange.sent("POST", "/api/v3/order")) == 1


async def test_nothing_listening_means_provably_not_sent(make: Any) -> None:
    client, account = await make(base_url="http://127.0.0.1:9")
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "EXCHANGE_UNAVAILABLE"
    assert isinstance(await account.look_up(ORDER, INSTRUMENT), LookUpFailed)
    with pytest.raises(ServiceError) as caught:
        await account.balances()
    assert caught.value.code == "EXCHANGE_UNAVAILABLE"
    assert isinstance(await client.send(unsigned(client.base_url, PUBLIC)), NotSent)


async def test_a_refused_clock_is_set_and_the_order_signed_anew_once(
    exchange: Exchange, make: Any
) -> None:
    late = js({"code": -1021, "msg": "Timestamp for this request was outside recvWindow."}, 400)
    exchange.on("POST", "/api/v3/order", late, js(PLACED))
    client, account = await make()
    await client.server_time_ms()
    client._asked_at = float("-inf")
    exchange.skew_ms = 4000
    assert isinstance(await account.place(ORDER, INSTRUMENT), Accepted)
    first, second = exchange.sent("POST", "/api/v3/order")
    assert int(second["timestamp"]) - int(first["timestamp"]) >= 3900
    assert first["newClientOrderId"] == second["newClientOrderId"]


async def test_a_clock_that_stays_refused_is_a_rejection_after_two(
    exchange: Exchange, make: Any
) -> None:
    exchange.on("POST", "/api/v3/order", js({"code": -1021, "msg": "Timestamp"}, 400))
    _, account = await make()
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "-1021"
    assert len(exchange.sent("POST", "/api/v3/order")) == 2


async def test_after_a_ban_nothing_is_sent_by_anybody(exchange: Exchange, make: Any) -> None:
    ban = js({"code": -1003, "msg": "banned"}, 418, Retry_After="60")
    exchange.on("GET", "/api/v3/account", ban)
    client, account = await make()
    with pytest.raises(ServiceError) as caught:
        await account.balances()
    assert caught.value.code == "RATE_LIMIT_EXCEEDED"
    assert caught.value.metadata == {"retryAfter": 60}
    before = len(exchange.received)
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "RATE_LIMIT_EXCEEDED"
    assert outcome.retry_after_s is not None
    assert 55 < outcome.retry_after_s <= 60
    assert isinstance(await client.send(unsigned(client.base_url, PUBLIC)), NotSent)
    assert len(exchange.received) == before


async def test_the_order_limit_of_one_account_does_not_stop_the_others(
    exchange: Exchange, make: Any
) -> None:
    too_many = js({"code": -1015, "msg": "Too many new orders"}, 429, Retry_After="3")
    exchange.on("POST", "/api/v3/order", too_many, js(PLACED))
    _, account = await make()
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after_s == 3
    assert isinstance(await account.place(ORDER, INSTRUMENT), Accepted)


async def test_an_unknown_time_lets_no_order_out_but_look_ups(
    exchange: Exchange, make: Any
) -> None:
    exchange.on("GET", "/api/v3/time", web.Response(status=500))
    exchange.on("GET", "/api/v3/order", js(PLACED))
    _, account = await make()
    outcome = await account.place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert exchange.sent("POST", "/api/v3/order") == []
    assert isinstance(await account.look_up(ORDER, INSTRUMENT), Found)
    assert len(exchange.sent("GET", "/api/v3/time")) == 1  # one failure speaks for a second


async def test_all_pages_are_read(exchange: Exchange, make: Any) -> None:
    def rows(first: int, count: int) -> web.Response:
        return js([{**PLACED, "orderId": number} for number in range(first, first + count)])

    exchange.on("GET", "/api/v3/allOrders", rows(1, 1000), rows(1001, 3))
    _, account = await make()
    reports = await account.recent_orders(INSTRUMENT, ORDER.created_at)
    assert len(reports) == 1003
    assert exchange.sent("GET", "/api/v3/allOrders")[1]["orderId"] == "1001"


async def test_a_list_without_end_is_refused_rather_than_cut(exchange: Exchange, make: Any) -> None:
    page = js([{"id": "o", "product_id": "BTC-USD", "status": "open"}], Cb_After="again")
    exchange.on("GET", "/orders", page)
    _, account = await make(CoinbaseTrading())
    with pytest.raises(ServiceError, match="pages"):
        await account.open_orders()


async def test_a_denied_order_never_reaches_the_network(exchange: Exchange, make: Any) -> None:
    _, account = await make()
    outcome = await account.place(an_order(price=None), INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "ORDER_DENIED"
    assert exchange.received == []


ID = "d96aad29-aa9d-471b-ab6d-0c2a3383479c"
COINBASE_ORDER = an_order(exchange_id=ExchangeId.COINBASE, exchange_order_id=ID)
ROW = {"id": ID, "product_id": "BTC-USD", "status": "open", "filled_size": "0"}


async def test_coinbase_cancel_is_believed_only_when_the_order_says_so(
    exchange: Exchange, make: Any
) -> None:
    ended = {**ROW, "status": "done", "done_reason": "canceled", "filled_size": "0.004"}
    exchange.on("DELETE", f"/orders/{ID}", js(ID))
    exchange.on("GET", f"/orders/{ID}", js(ROW), js(ended))
    _, account = await make(CoinbaseTrading())
    outcome = await account.cancel(COINBASE_ORDER, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert outcome.report.status is OrderStatus.CANCELED
    assert str(outcome.report.filled_quantity) == "0.004"


async def test_coinbase_purged_order_was_canceled_without_fills(
    exchange: Exchange, make: Any
) -> None:
    exchange.on("DELETE", f"/orders/{ID}", js(ID))
    exchange.on("GET", f"/orders/{ID}", js({"message": "NotFound"}, 404))
    exchange.on("GET", "/fills", js([]))
    _, account = await make(CoinbaseTrading())
    outcome = await account.cancel(COINBASE_ORDER, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert outcome.report.status is OrderStatus.CANCELED
    filled = msgspec.structs.replace(COINBASE_ORDER, filled_quantity=ORDER.quantity / 2)
    assert isinstance(await account.cancel(filled, INSTRUMENT), Unknown)


FILL = {
    "trade_id": 1,
    "product_id": "BTC-USD",
    "order_id": ID,
    "price": "60000",
    "size": "0.004",
    "fee": "0.1",
    "created_at": "2026-11-02T10:00:00.000000Z",
}


async def test_coinbase_order_that_is_gone_with_fills_is_not_canceled_without(
    exchange: Exchange, make: Any
) -> None:
    exchange.on("DELETE", f"/orders/{ID}", js(ID))
    exchange.on("GET", f"/orders/{ID}", js({"message": "NotFound"}, 404))
    exchange.on("GET", "/fills", js([FILL]), web.Response(status=503))
    _, account = await make(CoinbaseTrading())
    assert isinstance(await account.cancel(COINBASE_ORDER, INSTRUMENT), Unknown)
    assert isinstance(await account.cancel(COINBASE_ORDER, INSTRUMENT), Unknown)


async def test_coinbase_order_that_reads_do_not_show_yet_is_not_taken_for_purged(
    exchange: Exchange, make: Any
) -> None:
    ended = {**ROW, "status": "done", "done_reason": "canceled", "filled_size": "0.004"}
    exchange.on("DELETE", f"/orders/{ID}", js(ID))
    exchange.on("GET", f"/orders/{ID}", js({"message": "NotFound"}, 404), js(ended))
    _, account = await make(CoinbaseTrading())
    young = msgspec.structs.replace(COINBASE_ORDER, created_at=SystemClock().now())
    outcome = await account.cancel(young, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert str(outcome.report.filled_quantity) == "0.004"


async def test_coinbase_cancel_by_our_id_learns_theirs(exchange: Exchange, make: Any) -> None:
    ours = f"/orders/client:{COINBASE_ORDER.client_order_id}"
    exchange.on("DELETE", ours, js(ID))
    exchange.on("GET", ours, js({"message": "NotFound"}, 404))
    exchange.on("GET", "/fills", js([]))
    _, account = await make(CoinbaseTrading())
    nameless = msgspec.structs.replace(COINBASE_ORDER, exchange_order_id=None)
    outcome = await account.cancel(nameless, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert (outcome.report.exchange_order_id, outcome.report.status) == (ID, OrderStatus.CANCELED)


async def test_coinbase_cancel_still_under_way_reports_open(exchange: Exchange, make: Any) -> None:
    exchange.on("DELETE", f"/orders/{ID}", js(ID))
    exchange.on("GET", f"/orders/{ID}", web.Response(status=500))
    _, account = await make(CoinbaseTrading())
    outcome = await account.cancel(COINBASE_ORDER, INSTRUMENT)
    assert isinstance(outcome, Accepted)
    assert outcome.report.status is OrderStatus.OPEN


async def test_cancel_and_look_up_never_raise_for_a_network(exchange: Exchange, make: Any) -> None:
    exchange.on("DELETE", "/api/v3/order", cut)
    exchange.on("GET", "/api/v3/order", cut)
    _, account = await make()
    assert isinstance(await account.cancel(ORDER, INSTRUMENT), Unknown)
    assert isinstance(await account.look_up(ORDER, INSTRUMENT), LookUpFailed)
    exchange.on("GET", "/api/v3/order", js({"code": -2013, "msg": "no"}, 400))
    assert isinstance(await account.look_up(ORDER, INSTRUMENT), NotFound)


async def test_cookies_do_not_travel_between_tenants(exchange: Exchange, make: Any) -> None:
    seen: list[str | None] = []

    async def hand_out(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Cookie"))
        response = js({"symbols": []})
        response.set_cookie("session", "tenant-1")
        return response

    exchange.on("GET", "/api/v3/exchangeInfo", hand_out)
    client, _ = await make()
    for _ in range(2):
        answer = await client.send(unsigned(client.base_url, PUBLIC))
        assert isinstance(answer, HttpResponse)
    assert seen == [None, None]


async def test_a_closed_client_sends_nothing(exchange: Exchange, make: Any) -> None:
    client, account = await make()
    await client.close()
    assert isinstance(await account.place(ORDER, INSTRUMENT), Rejected)
    assert not isinstance(await client.send(unsigned(client.base_url, PUBLIC)), Lost)
    assert exchange.received == []


class Switch:
    """A guard that a test turns off."""

    def __init__(self) -> None:
        self.halted = False

    def may_send(self) -> None:
        if self.halted:
            raise ServiceError("drill", "TRADING_HALTED")


def guarded(client: RestClient, switch: Switch) -> ExchangeAccount:
    signer = in_process_signer(ExchangeId.BINANCE, client.base_url, CREDENTIALS)
    clock = SystemClock()
    return ExchangeAccount(BinanceTrading(), signer, client, clock, may_send=switch.may_send)


async def test_a_halt_while_the_time_is_asked_keeps_the_order_here(
    exchange: Exchange, make: Any
) -> None:
    switch = Switch()

    async def tell_time(request: web.Request) -> web.StreamResponse:
        switch.halted = True
        return web.json_response({"serverTime": SystemClock().time_ns() // 1_000_000})

    exchange.on("GET", "/api/v3/time", tell_time)
    client, _ = await make()
    outcome = await guarded(client, switch).place(ORDER, INSTRUMENT)
    assert outcome == Rejected(code="TRADING_HALTED", message="drill")
    assert exchange.sent("POST", "/api/v3/order") == []


async def test_a_halt_while_the_order_waits_for_a_connection_keeps_it_here(
    exchange: Exchange, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_platform.exchanges.client.CONNECTIONS_MAX", 1)
    switch, asked, answer = Switch(), asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        asked.set()
        await answer.wait()
        return web.Response()

    exchange.on("GET", "/api/v3/exchangeInfo", slow)
    client, _ = await make()
    await client.server_time_ms()
    other = asyncio.create_task(client.send(unsigned(client.base_url, PUBLIC)))
    await asked.wait()
    placing = asyncio.create_task(guarded(client, switch).place(ORDER, INSTRUMENT))
    await asyncio.sleep(0.05)
    switch.halted = True
    answer.set()
    outcome = await placing
    assert isinstance(outcome, Rejected)
    assert outcome.code == "TRADING_HALTED"
    await other
    assert exchange.sent("POST", "/api/v3/order") == []


async def test_a_halt_after_a_refused_clock_stops_the_second_attempt(
    exchange: Exchange, make: Any
) -> None:
    switch = Switch()

    async def refuse(request: web.Request) -> web.StreamResponse:
        switch.halted = True
        return js({"code": -1021, "msg": "Timestamp"}, 400)

    exchange.on("POST", "/api/v3/order", refuse)
    client, _ = await make()
    outcome = await guarded(client, switch).place(ORDER, INSTRUMENT)
    assert isinstance(outcome, Rejected)
    assert len(exchange.sent("POST", "/api/v3/order")) == 1


async def test_a_halt_stops_no_cancel(exchange: Exchange, make: Any) -> None:
    switch = Switch()
    switch.halted = True
    exchange.on("DELETE", "/api/v3/order", js({**PLACED, "status": "CANCELED"}))
    client, _ = await make()
    assert isinstance(await guarded(client, switch).cancel(ORDER, INSTRUMENT), Accepted)


async def test_a_cancel_that_could_not_be_sent_is_no_refusal(make: Any) -> None:
    _, account = await make(base_url="http://127.0.0.1:9")
    assert isinstance(await account.cancel(ORDER, INSTRUMENT), Unknown)


@pytest.mark.parametrize("method", ["DELETE", "GET"])
async def test_cancels_and_look_ups_set_a_refused_clock_too(
    exchange: Exchange, make: Any, method: str
) -> None:
    late = js({"code": -1021, "msg": "Timestamp for this request was outside recvWindow."}, 400)
    exchange.on(method, "/api/v3/order", late, js({**PLACED, "status": "CANCELED"}))
    _, account = await make()
    ask = account.cancel if method == "DELETE" else account.look_up
    assert isinstance(await ask(ORDER, INSTRUMENT), Accepted | Found)
    assert len(exchange.sent(method, "/api/v3/order")) == 2


async def test_a_cancel_whose_time_stays_refused_is_no_refusal_of_the_cancel(
    exchange: Exchange, make: Any
) -> None:
    exchange.on("DELETE", "/api/v3/order", js({"code": -1021, "msg": "Timestamp"}, 400))
    _, account = await make()
    assert isinstance(await account.cancel(ORDER, INSTRUMENT), Unknown)


class Wall(SystemClock):
    """A wall clock that somebody sets."""

    stepped_ms = 0

    def time_ns(self) -> int:
        return super().time_ns() + self.stepped_ms * 1_000_000


async def test_a_step_of_the_wall_clock_does_not_change_the_time_that_is_signed(
    exchange: Exchange,
) -> None:
    wall = Wall()
    client = RestClient(exchange.base_url, BinanceTrading(), wall, Log())
    await client.start()
    before = await client.server_time_ms()
    wall.stepped_ms = 3_600_000
    after = await client.server_time_ms()
    await client.close()
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after - before < 60_000


async def test_all_who_wait_for_a_silent_time_wait_once(exchange: Exchange, make: Any) -> None:
    exchange.on("GET", "/api/v3/time", hang)
    client, _ = await make(timeout_s=0.2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    answers = await asyncio.gather(*(client.server_time_ms() for _ in range(8)))
    assert loop.time() - started < 0.6
    assert all(isinstance(answer, NotSent) for answer in answers)
    assert len(exchange.sent("GET", "/api/v3/time")) == 1


async def test_an_old_estimate_serves_while_the_time_is_silent(
    exchange: Exchange, make: Any
) -> None:
    client, _ = await make(timeout_s=5.0)
    await client.server_time_ms()
    exchange.on("GET", "/api/v3/time", hang)
    client._measured_at -= 301
    client._asked_at = float("-inf")
    async with asyncio.timeout(0.2):
        assert isinstance(await client.server_time_ms(), int)


def open_factory(exchange: Exchange) -> ExchangeFactory:
    endpoints = {ExchangeId.BINANCE: simulated(ExchangeId.BINANCE, exchange.base_url)}
    return ExchangeFactory(endpoints, Keys(), SystemClock(), Log(), call_timeout_s=0.3)


class Keys:
    """One account."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        return CREDENTIALS


async def test_all_who_wait_for_a_silent_instrument_list_wait_once(exchange: Exchange) -> None:
    exchange.on("GET", "/api/v3/exchangeInfo", hang)
    factory = open_factory(exchange)
    await factory.start()
    loop = asyncio.get_running_loop()
    started = loop.time()
    asked = (factory.instruments(ExchangeId.BINANCE) for _ in range(8))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert loop.time() - started < 0.8
    assert all(isinstance(answer, ServiceError) for answer in answers)
    await factory.close()


async def test_old_instruments_serve_while_the_new_list_hangs(exchange: Exchange) -> None:
    row = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0", "maxPrice": "0", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0", "maxQty": "0", "stepSize": "0.00001"},
        ],
    }
    exchange.on("GET", "/api/v3/exchangeInfo", js({"symbols": [row]}), hang)
    factory = open_factory(exchange)
    await factory.start()
    assert "BTC-USDT" in await factory.instruments(ExchangeId.BINANCE)
    factory._exchange(ExchangeId.BINANCE)._ask_again_at = float("-inf")
    for _ in range(3):
        async with asyncio.timeout(0.1):
            assert "BTC-USDT" in await factory.instruments(ExchangeId.BINANCE)
    await factory.close()


async def test_the_factory_asks_the_guard_of_the_tenant_and_the_exchange(
    exchange: Exchange,
) -> None:
    asked: list[tuple[str, ExchangeId]] = []
    endpoints = {ExchangeId.BINANCE: simulated(ExchangeId.BINANCE, exchange.base_url)}

    def may_send(tenant_id: str, exchange_id: ExchangeId) -> None:
        asked.append((tenant_id, exchange_id))

    factory = ExchangeFactory(endpoints, Keys(), SystemClock(), Log(), may_send=may_send)
    await factory.start()
    exchange.on("POST", "/api/v3/order", js(PLACED))
    account = await factory.trading("tenant-1", ExchangeId.BINANCE)
    assert isinstance(await account.place(ORDER, INSTRUMENT), Accepted)
    assert asked == [("tenant-1", ExchangeId.BINANCE)]
    await factory.close()

"""ccxt, REST and pro, trades on the simulated Binance as it does on the real one."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest

from tests.clients.conftest import Binance
from tests.unit.simulation.venues import API_KEY, BTC, SECRET
from trading_platform.market.orders import Side

SYMBOL = "BTC/USDT"


def pointed_at(client: Any, binance: Binance) -> Any:
    """Move every base URL of a ccxt client to the simulator."""
    for name, path in {
        "public": "/api/v3",
        "private": "/api/v3",
        "v1": "/api/v1",
        "sapi": "/sapi/v1",
        "sapiV2": "/sapi/v2",
        "sapiV3": "/sapi/v3",
    }.items():
        client.urls["api"][name] = binance.server.url + path
    if "ws" in client.urls["api"]:
        client.urls["api"]["ws"]["spot"] = f"{binance.server.ws_url}/ws"
        client.urls["api"]["ws"]["ws-api"]["spot"] = f"{binance.server.ws_url}/ws-api/v3"
    return client


def options(**more: Any) -> dict[str, Any]:
    return {
        "apiKey": API_KEY,
        "secret": SECRET,
        "enableRateLimit": False,
        "options": {"fetchMarkets": {"types": ["spot"]}, **more},
    }


@pytest.fixture
async def client(binance: Binance) -> AsyncIterator[Any]:
    client = pointed_at(ccxt.async_support.binance(options()), binance)
    yield client
    await client.close()


@pytest.fixture
async def pro(binance: Binance) -> AsyncIterator[Any]:
    client = pointed_at(ccxt.pro.binance(options()), binance)
    yield client
    await client.close()


async def test_markets_show_the_filters(client: Any) -> None:
    markets = await client.load_markets()
    market = markets[SYMBOL]
    assert market["precision"] == {**market["precision"], "price": 0.01, "amount": 0.00001}
    assert market["limits"]["cost"]["min"] == 5
    assert client.currencies["BTC"]["code"] == "BTC"


async def test_market_data_is_read(client: Any) -> None:
    book = await client.fetch_order_book(SYMBOL)
    assert (book["bids"][0], book["asks"][0]) == ([60_000, 1], [60_001, 1])
    assert (await client.fetch_ticker(SYMBOL))["last"] == 60_000
    assert (await client.fetch_trades(SYMBOL))[0]["side"] == "sell"
    assert (await client.fetch_ohlcv(SYMBOL, "1m"))[0][1:] == [60_000, 60_000, 60_000, 60_000, 0.5]


async def test_limit_order_rests_locks_and_is_canceled(client: Any) -> None:
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000)
    assert order["status"] == "open"
    assert (await client.fetch_balance())["USDT"] == {"free": 99_410, "used": 590, "total": 100_000}
    assert [o["id"] for o in await client.fetch_open_orders(SYMBOL)] == [order["id"]]
    canceled = await client.cancel_order(order["id"], SYMBOL)
    assert canceled["status"] == "canceled"
    assert (await client.fetch_order(order["id"], SYMBOL))["status"] == "canceled"
    assert (await client.fetch_balance())["USDT"]["used"] == 0


async def test_market_order_fills_and_shows_in_my_trades(client: Any) -> None:
    order = await client.create_order(SYMBOL, "market", "buy", 1.5)
    assert (order["status"], order["filled"], order["average"]) == (
        "closed",
        1.5,
        pytest.approx(60_001.3333, abs=0.001),
    )
    trades = await client.fetch_my_trades(SYMBOL)
    assert [trade["price"] for trade in trades] == [60_001, 60_002]
    assert trades[0]["fee"] == {"cost": 0.001, "currency": "BTC"}
    assert trades[0]["takerOrMaker"] == "taker"


async def test_refusals_become_the_right_exceptions(client: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order(SYMBOL, "limit", "buy", 100, 59_000)
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("42", SYMBOL)
    client.secret = "wrong"
    with pytest.raises(ccxt.AuthenticationError):
        await client.fetch_balance()


async def test_pro_hears_public_trades_and_the_book(pro: Any, binance: Binance) -> None:
    async def trade_until_heard(task: "asyncio.Task[Any]") -> Any:
        while not task.done():
            price, quantity = Decimal(60_001), Decimal("0.25")
            binance.exchange.external_trade(BTC, price, quantity, Side.BUY)
            await asyncio.wait([task], timeout=0.05)
        return task.result()

    await pro.load_markets()
    trades = await trade_until_heard(asyncio.ensure_future(pro.watch_trades(SYMBOL)))
    assert (trades[0]["price"], trades[0]["amount"], trades[0]["side"]) == (60_001, 0.25, "buy")


async def test_pro_hears_its_own_orders_and_balance(pro: Any) -> None:
    await pro.load_markets()
    watching = asyncio.ensure_future(pro.watch_orders(SYMBOL))
    balance = asyncio.ensure_future(pro.watch_balance())
    placed: list[str] = []
    async with asyncio.timeout(5):
        while not (watching.done() and balance.done()):
            order = await pro.create_order(SYMBOL, "limit", "sell", 0.05, 70_000)
            placed.append(order["id"])
            await asyncio.wait([watching, balance], timeout=0.05)
    seen = watching.result()[-1]
    assert (seen["status"], seen["price"], seen["amount"]) == ("open", 70_000, 0.05)
    assert seen["id"] in placed
    assert balance.result()["BTC"]["used"] > 0

"""python-binance, asynchronous and synchronous, trades on the simulated Binance."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from binance import AsyncClient, BinanceSocketManager, Client
from binance.exceptions import BinanceAPIException

from tests.clients.conftest import Binance
from tests.unit.simulation.venues import API_KEY, BTC, SECRET
from trading_platform.market.orders import Side


def local(kind: type[Any], binance: Binance) -> type[Any]:
    """The client class with its documented base URLs moved."""
    urls = {
        "API_URL": f"{binance.server.url}/api",
        "MARGIN_API_URL": f"{binance.server.url}/sapi",
        "WS_API_URL": f"{binance.server.ws_url}/ws-api/v3",
    }
    return type("Local", (kind,), urls)


@pytest.fixture
async def client(binance: Binance) -> AsyncIterator[Any]:
    client = await local(AsyncClient, binance).create(API_KEY, SECRET)
    yield client
    await client.close_connection()


async def test_orders_through_their_life(client: Any) -> None:
    info = await client.get_symbol_info("BTCUSDT")
    assert info["orderTypes"] == ["LIMIT", "LIMIT_MAKER", "MARKET"]
    placed = await client.order_limit_buy(symbol="BTCUSDT", quantity="0.01", price="59000.00")
    assert placed["status"] == "NEW"
    assert [o["orderId"] for o in await client.get_open_orders()] == [placed["orderId"]]
    canceled = await client.cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
    assert (canceled["status"], canceled["origClientOrderId"]) == (
        "CANCELED",
        placed["clientOrderId"],
    )
    bought = await client.order_market_buy(symbol="BTCUSDT", quantity="0.5")
    assert (bought["status"], bought["fills"][0]["price"]) == ("FILLED", "60001.00000000")
    trades = await client.get_my_trades(symbol="BTCUSDT")
    assert [trade["orderId"] for trade in trades] == [bought["orderId"]]
    assert (await client.get_asset_balance("BTC"))["free"] == "10.49950000"


async def test_key_rights_are_told(client: Any) -> None:
    rights = await client.get_account_api_permissions()
    assert (rights["enableSpotAndMarginTrading"], rights["enableWithdrawals"]) == (True, False)


async def test_errors_carry_code_and_text(client: Any) -> None:
    with pytest.raises(BinanceAPIException) as refused:
        await client.order_limit_buy(symbol="BTCUSDT", quantity="0.01", price="59000.001")
    assert (refused.value.code, refused.value.message) == (-1013, "Filter failure: PRICE_FILTER")


async def test_trade_socket_hears_public_trades(client: Any, binance: Binance) -> None:
    manager = BinanceSocketManager(client)
    manager.STREAM_URL = f"{binance.server.ws_url}/"
    socket = manager.trade_socket("BTCUSDT")
    socket.TIMEOUT = 0.05  # its read loop ends only between waits, of ten seconds by default
    async with asyncio.timeout(5), socket as stream:
        binance.exchange.external_trade(BTC, Decimal(60_001), Decimal("0.25"), Side.BUY)
        trade = await stream.recv()
    assert (trade["e"], trade["p"], trade["m"]) == ("trade", "60001.00000000", False)


async def test_user_socket_hears_own_orders_in_order(client: Any, binance: Binance) -> None:
    manager = BinanceSocketManager(client)
    async with asyncio.timeout(5), manager.user_socket() as stream:
        order = await client.order_market_sell(symbol="BTCUSDT", quantity="1.2")
        events = [await stream.recv() for _ in range(4)]
    assert [event.get("x", event["e"]) for event in events] == [
        "NEW",
        "TRADE",
        "TRADE",
        "outboundAccountPosition",
    ]
    assert {event["i"] for event in events[:3]} == {order["orderId"]}
    assert events[2]["X"] == "FILLED"


async def test_synchronous_client_trades(binance: Binance) -> None:
    def trade() -> Any:
        client = local(Client, binance)(API_KEY, SECRET)
        order = client.order_market_buy(symbol="BTCUSDT", quoteOrderQty="600.00")
        client.close_connection()
        return order

    order = await asyncio.to_thread(trade)
    assert (order["status"], order["executedQty"]) == ("FILLED", "0.00999000")

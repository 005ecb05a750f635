"""Binance's own Python SDK, REST and streams and WebSocket API, on the simulated Binance."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_spot.rest_api.models import NewOrderSideEnum, NewOrderTypeEnum
from binance_sdk_spot.spot import Spot
from binance_sdk_spot.websocket_api.models import (
    OrderPlaceSideEnum,
    OrderPlaceTimeInForceEnum,
    OrderPlaceTypeEnum,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.clients.conftest import Binance
from tests.unit.simulation.venues import API_KEY, BTC, SECRET
from trading_platform.market.orders import Side


async def test_rest_client_trades(binance: Binance) -> None:
    def trade() -> tuple[Any, Any, Any]:
        configuration = ConfigurationRestAPI(
            api_key=API_KEY, api_secret=SECRET, base_path=binance.server.url
        )
        api: Any = Spot(config_rest_api=configuration).rest_api
        info = api.exchange_info(symbol="BTCUSDT").data()
        order = api.new_order(
            "BTCUSDT", NewOrderSideEnum["BUY"].value, NewOrderTypeEnum["MARKET"].value, quantity=0.5
        ).data()
        return info, order, api.my_trades("BTCUSDT").data()

    info, order, trades = await asyncio.to_thread(trade)
    assert info.symbols[0].symbol == "BTCUSDT"
    assert (order.status, order.executed_qty) == ("FILLED", "0.50000000")
    assert [trade.order_id for trade in trades] == [order.order_id]


async def test_streams_hear_public_trades(binance: Binance) -> None:
    configuration = ConfigurationWebSocketStreams(stream_url=binance.server.ws_url)
    streams: Any = Spot(config_ws_streams=configuration).websocket_streams
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await streams.create_connection()
    stream = await streams.trade(symbol="btcusdt")
    stream.on("message", heard.put_nowait)
    async with asyncio.timeout(5):
        while heard.empty():
            binance.exchange.external_trade(BTC, Decimal(60_001), Decimal("0.25"), Side.BUY)
            await asyncio.sleep(0.02)
        trade = await heard.get()
    assert (trade.p, trade.q, trade.m) == ("60001.00000000", "0.25000000", False)
    await streams.close_connection(close_session=True)


@pytest.mark.parametrize("kind", ["HMAC", "ED25519"])
async def test_websocket_api_trades_and_hears_its_orders(binance: Binance, kind: str) -> None:
    configuration = ConfigurationWebSocketAPI(
        stream_url=f"{binance.server.ws_url}/ws-api/v3", **keys_of(binance, kind)
    )
    api: Any = Spot(config_ws_api=configuration).websocket_api
    heard: asyncio.Queue[Any] = asyncio.Queue()
    async with asyncio.timeout(5):
        await api.create_connection()
        if kind == "ED25519":
            assert (await api.session_logon()).data().result.user_data_stream is False
        subscribed = await api.user_data_stream_subscribe_signature()
        subscribed.stream.on("message", heard.put_nowait)
        placed = await api.order_place(
            "BTCUSDT",
            OrderPlaceSideEnum["BUY"].value,
            OrderPlaceTypeEnum["LIMIT"].value,
            time_in_force=OrderPlaceTimeInForceEnum["GTC"].value,
            quantity="0.01",
            price="59000.00",
        )
        order = placed.data().result
        report = (await heard.get()).actual_instance
        canceled = await api.order_cancel("BTCUSDT", order_id=order.order_id)
    assert (order.status, report.x, report.i) == ("NEW", "NEW", order.order_id)
    assert canceled.data().result.status == "CANCELED"
    await api.close_connection(close_session=True)


def keys_of(binance: Binance, kind: str) -> dict[str, Any]:
    """The account's HMAC key, or a new Ed25519 key of a new account."""
    if kind == "HMAC":
        return {"api_key": API_KEY, "api_secret": SECRET}
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    binance.exchange.open_account(
        "ed25519-key", "", balances={"USDT": Decimal(10_000)}, ed25519_public_pem=public.decode()
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"api_key": "ed25519-key", "private_key": pem.decode()}

"""ccxt, which nobody here wrote, trades on the simulated Coinbase Exchange over its URL options."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, NamedTuple

import ccxt.pro
import pytest

from tests.unit.simulation.coinbase_desks import (
    API_KEY,
    BTC,
    PASSPHRASE,
    SECRET,
    a_coinbase_exchange,
    a_liquid_book,
)
from trading_platform.kit.clock import SystemClock
from trading_platform.market.orders import Side
from trading_platform.simulation.coinbase_limits import UNLIMITED
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange

SYMBOL = "BTC/USD"
WAIT_S = 5.0


class Coinbase(NamedTuple):
    """ccxt and the exchange that it believes to be Coinbase's."""

    ccxt: Any
    exchange: SimulatedExchange

    def trade(self, price: str, quantity: str, side: Side) -> None:
        self.exchange.external_trade(BTC, Decimal(price), Decimal(quantity), side)


@pytest.fixture
async def coinbase() -> AsyncIterator[Coinbase]:
    exchange, _ = a_coinbase_exchange(SystemClock())
    a_liquid_book(exchange)
    server = CoinbaseServer(exchange, clock=SystemClock(), limits=UNLIMITED, opening_delay_s=0.001)
    await server.start()
    url = server.url
    client = ccxt.pro.coinbaseexchange(
        {
            "apiKey": API_KEY,
            "secret": SECRET,
            "password": PASSPHRASE,
            "enableRateLimit": False,
            "urls": {"api": {"public": url, "private": url, "ws": url.replace("http", "ws")}},
        }
    )
    yield Coinbase(client, exchange)
    await client.close()
    await server.close()


async def order_in_state(coinbase: Coinbase, order_id: str, *states: str) -> Any:
    for _ in range(200):
        order = await coinbase.ccxt.fetch_order(order_id)
        if order["status"] in states and order["info"]["status"] != "pending":
            return order
        await asyncio.sleep(0.005)
    raise AssertionError(order)


async def test_markets_know_their_precision_and_minimum(coinbase: Coinbase) -> None:
    markets = await coinbase.ccxt.load_markets()
    market = markets[SYMBOL]
    assert (market["id"], market["base"], market["quote"], market["active"]) == (
        BTC,
        "BTC",
        "USD",
        True,
    )
    assert market["precision"] == {"amount": 1e-08, "price": 0.01}
    assert market["limits"]["cost"]["min"] == 1.0


async def test_balance_order_book_ticker_and_candles(coinbase: Coinbase) -> None:
    balance = await coinbase.ccxt.fetch_balance()
    assert (balance["USD"]["free"], balance["BTC"]["total"]) == (100_000.0, 2.0)
    book = await coinbase.ccxt.fetch_order_book(SYMBOL)
    assert (book["bids"][0][:2], book["asks"][0][:2]) == ([60_000.0, 1.0], [60_001.0, 1.0])
    ticker = await coinbase.ccxt.fetch_ticker(SYMBOL)
    assert (ticker["bid"], ticker["ask"], ticker["last"]) == (60_000.0, 60_001.0, 60_000.0)
    (trade,) = await coinbase.ccxt.fetch_trades(SYMBOL)
    assert (trade["side"], trade["price"], trade["amount"]) == ("sell", 60_000.0, 0.5)
    (candle,) = await coinbase.ccxt.fetch_ohlcv(SYMBOL, "1m")
    assert candle[1:] == [60_000.0, 60_000.0, 60_000.0, 60_000.0, 0.5]


async def test_a_limit_order_rests_is_listed_and_cancelled(coinbase: Coinbase) -> None:
    placed = await coinbase.ccxt.create_order(SYMBOL, "limit", "buy", 0.1, 59_000)
    order = await order_in_state(coinbase, placed["id"], "open")
    assert (order["price"], order["amount"], order["filled"]) == (59_000.0, 0.1, 0.0)
    (listed,) = await coinbase.ccxt.fetch_open_orders(SYMBOL)
    assert listed["id"] == placed["id"]
    assert (await coinbase.ccxt.fetch_balance())["USD"]["used"] == pytest.approx(5935.4)
    await coinbase.ccxt.cancel_order(placed["id"], SYMBOL)
    assert await coinbase.ccxt.fetch_open_orders(SYMBOL) == []
    with pytest.raises(ccxt.OrderNotFound):
        await coinbase.ccxt.fetch_order(placed["id"])


async def test_a_market_order_fills_and_is_among_my_trades(coinbase: Coinbase) -> None:
    placed = await coinbase.ccxt.create_order(SYMBOL, "market", "buy", 1.5)
    order = await order_in_state(coinbase, placed["id"], "closed")
    assert (order["filled"], order["cost"]) == (1.5, 90_002.0)
    assert order["fee"]["cost"] == pytest.approx(540.012)
    trades = await coinbase.ccxt.fetch_my_trades(SYMBOL)
    assert [(t["price"], t["amount"], t["takerOrMaker"]) for t in trades] == [
        (60_001.0, 1.0, "taker"),
        (60_002.0, 0.5, "taker"),
    ]
    assert {t["order"] for t in trades} == {placed["id"]}
    closed = await coinbase.ccxt.fetch_closed_orders(SYMBOL)
    assert [o["id"] for o in closed] == [placed["id"]]


async def test_refusals_become_ccxts_own_errors(coinbase: Coinbase) -> None:
    client = coinbase.ccxt
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order(SYMBOL, "limit", "buy", 10, 59_000)
    with pytest.raises(ccxt.InvalidOrder):
        await client.create_order(SYMBOL, "limit", "buy", 0.00000001, 59_000)
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("00000000-0000-4000-8000-000000000000", SYMBOL)
    client.secret = "AAAA"
    with pytest.raises(ccxt.AuthenticationError):
        await client.fetch_balance()


async def test_the_trade_ticker_and_book_streams(coinbase: Coinbase) -> None:
    client = coinbase.ccxt
    ticker = await asyncio.wait_for(client.watch_ticker(SYMBOL), WAIT_S)
    assert (ticker["bid"], ticker["ask"]) == (60_000.0, 60_001.0)
    watched = asyncio.create_task(client.watch_trades(SYMBOL))
    while not watched.done():
        coinbase.trade("60001", "0.25", Side.BUY)
        await asyncio.sleep(0.01)
    trade = (await watched)[-1]
    assert (trade["side"], trade["price"], trade["amount"]) == ("buy", 60_001.0, 0.25)
    book = await asyncio.wait_for(client.watch_order_book(SYMBOL), WAIT_S)
    assert book["asks"][0] == [60_001.0, 1.0]


async def test_the_user_stream_follows_an_order_to_its_end(coinbase: Coinbase) -> None:
    client = coinbase.ccxt
    await client.load_markets()
    watched = asyncio.create_task(client.watch_orders(SYMBOL))
    await asyncio.sleep(0.1)  # ccxt gives no sign when it is subscribed
    placed = await client.create_order(SYMBOL, "limit", "buy", 0.2, 59_500)
    seen = (await asyncio.wait_for(watched, WAIT_S))[-1]
    assert (seen["id"], seen["status"]) == (placed["id"], "open")
    await order_in_state(coinbase, placed["id"], "open")
    for part, filled in (("0.05", 0.05), ("0.15", 0.2)):
        watched = asyncio.create_task(client.watch_orders(SYMBOL))
        await asyncio.sleep(0)
        coinbase.trade("59499", part, Side.SELL)
        seen = (await asyncio.wait_for(watched, WAIT_S))[-1]
        assert (seen["id"], seen["filled"]) == (placed["id"], pytest.approx(filled))
    order = await order_in_state(coinbase, placed["id"], "closed")
    assert order["filled"] == pytest.approx(0.2)

from time import time_ns

import pytest

from tests.api.platform import Api, Member
from trading_platform.market.instruments import ExchangeId

pytestmark = pytest.mark.asyncio(loop_scope="module")


def quote(api: Api, exchange_id: ExchangeId, price: float) -> None:
    """The exchange shows `price` as its market, and trades there."""
    symbol = "BTCUSDT" if exchange_id is ExchangeId.BINANCE else "BTC-USDT"
    sink, now = api.exchanges.sinks[exchange_id], time_ns()
    sink.on_quote(symbol, price - 1, 2.0, price + 1, 2.0, now)
    sink.on_trade(symbol, price, 1.0, True, now // 1000, now)


async def test_without_data_there_is_no_price_and_a_reason(api: Api, member: Member) -> None:
    reply = await api.call("GET", "/v1/prices/BTC-USDT", member)
    assert (reply.status, reply.body["code"]) == (503, "PRICE_UNAVAILABLE")
    assert reply.headers["Retry-After"] == str(reply.body["retryAfter"])
    sources = reply.body["metadata"]["sources"]
    assert {source["exchangeId"] for source in sources} == {"BINANCE", "COINBASE"}
    assert all(source["excluded"] for source in sources)
    listed = (await api.call("GET", "/v1/prices", member)).body
    assert (listed["prices"], listed["unavailable"][0]["symbol"]) == ([], "BTC-USDT")


async def test_a_price_names_its_sources_and_method(api: Api, member: Member) -> None:
    quote(api, ExchangeId.BINANCE, 60_000)
    quote(api, ExchangeId.COINBASE, 60_010)
    price = (await api.call("GET", "/v1/prices/BTC-USDT", member)).body
    assert 60_000 <= price["price"] <= 60_010
    assert price["aggregationMethod"] in ("VWAP", "MEDIAN", "BEST_BID_ASK")
    assert 0 < price["confidence"] <= 1
    assert {source["exchangeId"] for source in price["sources"]} == {"BINANCE", "COINBASE"}
    assert price["timestamp"].endswith("Z")
    listed = (await api.call("GET", "/v1/prices", member)).body
    assert [row["symbol"] for row in listed["prices"]] == ["BTC-USDT"]


async def test_a_symbol_without_a_feed_is_404_and_names_those_with(
    api: Api, member: Member
) -> None:
    reply = await api.call("GET", "/v1/prices/DOGE-USD", member)
    assert (reply.status, reply.body["metadata"]["symbols"]) == (404, ["BTC-USDT"])


async def test_exchanges_and_their_instruments(api: Api, member: Member) -> None:
    api.exchanges.down.add(ExchangeId.COINBASE)
    exchanges = (await api.call("GET", "/v1/exchanges", member)).body["exchanges"]
    api.exchanges.down.clear()
    assert exchanges == [
        {
            "exchangeId": "BINANCE",
            "available": True,
            "symbols": ["BTC-USDT", "ETH-USDT"],
            "message": None,
        },
        {
            "exchangeId": "COINBASE",
            "available": False,
            "symbols": [],
            "message": "COINBASE does not answer.",
        },
    ]
    path = "/v1/instruments?exchangeId=BINANCE&symbol=BTC-USDT"
    (instrument,) = (await api.call("GET", path, member)).body["instruments"]
    assert (instrument["quantityIncrement"], instrument["notionalMin"]) == ("0.00001", "5")
    missing = "/v1/instruments?exchangeId=BINANCE&symbol=DOGE-USDT"
    assert (await api.call("GET", missing, member)).status == 404


async def test_balances_are_plain_decimals(api: Api, member: Member) -> None:
    reply = await api.call("GET", "/v1/balances?exchangeId=BINANCE", member)
    assert reply.body == {
        "exchangeId": "BINANCE",
        "balances": [{"currency": "USDT", "free": "1000", "held": "0.5"}],
    }
    assert (await api.call("GET", "/v1/balances", member)).status == 400

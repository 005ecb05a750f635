"""The simulated Binance over real HTTP: answers, refusals with their exact texts, budgets."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.unit.simulation.binance_client import Desk
from tests.unit.simulation.venues import BTC
from trading_platform.market.orders import Side
from trading_platform.simulation.binance_limits import Limits
from trading_platform.simulation.model import SimKey

ORDER = "/api/v3/order"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as desk:
        yield desk


async def test_exchange_info_by_every_form_of_parameter(desk: Desk) -> None:
    rows = []
    for params in ({}, {"symbol": "BTCUSDT"}, {"symbols": '["BTCUSDT"]'}, {"permissions": "SPOT"}):
        answer = await desk.get("/api/v3/exchangeInfo", **params)
        rows.append(answer.body["symbols"])
    assert all(row == rows[0] for row in rows)
    row = rows[0][0]
    assert (row["permissions"], row["permissionSets"]) == ([], [["SPOT"]])
    assert row["defaultSelfTradePreventionMode"] == "EXPIRE_MAKER"
    assert "NONE" not in row["allowedSelfTradePreventionModes"]
    kinds = [limit["rateLimitType"] for limit in answer.body["rateLimits"]]
    assert kinds == ["REQUEST_WEIGHT", "ORDERS", "ORDERS", "RAW_REQUESTS"]


async def test_halted_symbols_are_shown_and_filtered(desk: Desk) -> None:
    desk.exchange.set_trading(BTC, False)
    halted = await desk.get("/api/v3/exchangeInfo", symbolStatus="HALT")
    trading = await desk.get("/api/v3/exchangeInfo", symbolStatus="TRADING")
    assert [row["status"] for row in halted.body["symbols"]] == ["HALT"]
    assert trading.body["symbols"] == []
    closed = await desk.order(quantity="0.01", price="59000")
    assert closed.body == {"code": -2010, "msg": "Market is closed."}


async def test_market_data_has_the_documented_shapes(desk: Desk) -> None:
    depth = (await desk.get("/api/v3/depth", symbol="BTCUSDT", limit=1)).body
    assert depth["bids"] == [["60000.00000000", "1.00000000"]]
    book = (await desk.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).body
    assert (book["bidPrice"], book["askPrice"]) == ("60000.00000000", "60001.00000000")
    trade = (await desk.get("/api/v3/trades", symbol="BTCUSDT")).body[0]
    assert (trade["price"], trade["isBuyerMaker"]) == ("60000.00000000", True)
    candle = (await desk.get("/api/v3/klines", symbol="BTCUSDT", interval="1m")).body[0]
    assert len(candle) == 12
    assert (candle[0], candle[6]) == (desk.now_ms, desk.now_ms + 59_999)
    prices = (await desk.get("/api/v3/ticker/price")).body
    assert prices == [{"symbol": "BTCUSDT", "price": "60000.00000000"}]
    day = (await desk.get("/api/v3/ticker/24hr", symbol="BTCUSDT")).body
    assert (day["count"], day["volume"]) == (1, "0.50000000")
    average = (await desk.get("/api/v3/avgPrice", symbol="BTCUSDT")).body
    assert average["price"] == "60000.00000000"
    aggregate = (await desk.get("/api/v3/aggTrades", symbol="BTCUSDT")).body[0]
    assert set(aggregate) == set("apqflTmM")


async def test_candles_without_trades_repeat_the_last_close(desk: Desk) -> None:
    desk.clock.advance(180)
    desk.exchange.external_trade(BTC, Decimal(60_010), Decimal(1), Side.BUY)
    rows = (await desk.get("/api/v3/klines", symbol="BTCUSDT", interval="1m")).body
    assert [row[4] for row in rows] == ["60000.00000000"] * 3 + ["60010.00000000"]
    assert [row[5] for row in rows] == ["0.50000000", "0.00000000", "0.00000000", "1.00000000"]


async def test_times_come_in_microseconds_when_asked(desk: Desk) -> None:
    url = f"{desk.server.url}/api/v3/time"
    async with desk.http.get(url, headers={"X-MBX-TIME-UNIT": "MICROSECOND"}) as response:
        assert (await response.json())["serverTime"] == desk.now_ms * 1000


async def test_full_result_and_ack_answers(desk: Desk) -> None:
    full = (await desk.order(quantity="1.2", price="60001")).body
    assert (full["status"], full["executedQty"]) == ("PARTIALLY_FILLED", "1.00000000")
    assert full["fills"][0]["commission"] == "0.00100000"
    assert full["cummulativeQuoteQty"] == "60001.00000000"
    result = (await desk.order(quantity="0.1", price="59000", newOrderRespType="RESULT")).body
    assert "fills" not in result
    ack = (await desk.order(kind="LIMIT_MAKER", quantity="0.1", price="59001")).body
    assert set(ack) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert len(ack["clientOrderId"]) == 22


async def test_market_order_beyond_the_book_is_expired_with_fills_and_status_200(
    desk: Desk,
) -> None:
    desk.exchange.deposit(desk.key.account_id, "USDT", Decimal(1_000_000))
    answer = await desk.order(kind="MARKET", quantity="6")
    assert (answer.status, answer.body["status"]) == (200, "EXPIRED")
    assert answer.body["executedQty"] == "5.00000000"
    assert answer.body["expiryReason"] == "INSUFFICIENT_LIQUIDITY"
    assert answer.body["timeInForce"] == "GTC"


# (changes to a good LIMIT order, code, text)
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"symbol": "NOPE"}, -1121, "Invalid symbol."),
    ({"symbol": "btcusdt"}, -1100, "Illegal characters found in parameter 'symbol'"),
    ({"side": "HOLD"}, -1117, "Invalid side."),
    ({"kind": "STOP_LOSS", "stopPrice": "1"}, -1106, "Parameter 'stopPrice' sent when not"),
    ({"kind": "STOP_LOSS"}, -1116, "Invalid orderType."),
    ({"kind": "WISH"}, -1116, "Invalid orderType."),
    ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
    ({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce' was not sent, was empty/"),
    ({"quantity": None}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null"),
    ({"price": None}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or"),
    ({"quantity": "1e3"}, -1100, "Illegal characters found in parameter 'quantity'; legal range "),
    ({"quantity": "-1"}, -1100, "Illegal characters found in parameter 'quantity'"),
    ({"quantity": "NaN"}, -1100, "Illegal characters found in parameter 'quantity'"),
    ({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision."),
    ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "0"}, -1013, "Filter failure: LOT_SIZE"),
    ({"price": "59000.001"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"price": "10"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    ({"quantity": "0.00005", "price": "59000"}, -1013, "Filter failure: NOTIONAL"),
    ({"quantity": "9", "price": "59000"}, -2010, "Account has insufficient balance for requested"),
    ({"kind": "LIMIT_MAKER", "price": "60001", "timeInForce": None}, -2010, "Order would immediat"),
    ({"kind": "MARKET", "price": None}, -1106, "Parameter 'timeInForce' sent when not required."),
    (
        {"newClientOrderId": "a b"},
        -1100,
        "Illegal characters found in parameter 'newClientOrderId'",
    ),
    ({"newClientOrderId": "x" * 37}, -1100, "Illegal characters found in parameter 'newClientOrd"),
    ({"selfTradePreventionMode": "NONE"}, -1013, "This symbol does not allow the specified self-t"),
    ({"surprise": "1"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but was"),
]


@pytest.mark.parametrize(("changes", "code", "text"), REFUSED)
async def test_bad_orders_are_refused_in_binances_words_and_change_nothing(
    desk: Desk, changes: dict[str, Any], code: int, text: str
) -> None:
    good = {"kind": "LIMIT", "quantity": "0.01", "price": "59000", "timeInForce": "GTC"}
    answer = await desk.order(**(good | changes))
    assert (answer.status, answer.body["code"]) == (400, code)
    assert answer.body["msg"].startswith(text)
    assert desk.exchange.orders(desk.key.account_id) == []


async def test_market_order_takes_exactly_one_of_the_quantities(desk: Desk) -> None:
    neither = await desk.order(kind="MARKET")
    both = await desk.order(kind="MARKET", quantity="1", quoteOrderQty="100")
    assert (neither.body["code"], both.body["code"]) == (-1102, -1106)


async def test_test_order_checks_and_places_nothing(desk: Desk) -> None:
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    path = f"{ORDER}/test"
    good = await desk.signed("POST", path, **fields, quantity="0.01", price="59000")
    bad = await desk.signed("POST", path, **fields, quantity="0.01", price="0.001")
    assert (good.status, good.body, bad.body["code"]) == (200, {}, -1013)
    assert desk.exchange.orders(desk.key.account_id) == []


async def test_key_signature_and_time_are_demanded(desk: Desk) -> None:
    path = f"{desk.server.url}/api/v3/account?timestamp={desk.now_ms}"
    async with desk.http.get(path) as response:
        assert (response.status, (await response.json())["code"]) == (401, -2014)
    async with desk.http.get(path, headers={"X-MBX-APIKEY": desk.api_key}) as response:
        assert (await response.json())["code"] == -1102
    stale = await desk.signed("GET", "/api/v3/account", timestamp=desk.now_ms - 5001)
    ahead = await desk.signed("GET", "/api/v3/account", timestamp=desk.now_ms + 1000)
    assert stale.body == {
        "code": -1021,
        "msg": "Timestamp for this request is outside of the recvWindow.",
    }
    assert ahead.body == {
        "code": -1021,
        "msg": "Timestamp for this request was 1000ms ahead of the server's time.",
    }
    desk.secret = "wrong"
    assert (await desk.signed("GET", "/api/v3/account")).body == {
        "code": -1022,
        "msg": "Signature for this request is not valid.",
    }
    desk.api_key = "unknown"
    unknown = await desk.signed("GET", "/api/v3/account")
    assert (unknown.status, unknown.body["code"]) == (401, -2015)


async def test_key_without_the_right_is_refused(desk: Desk) -> None:
    reader = SimKey(
        api_key="reader",
        account_id=desk.key.account_id,
        secret=desk.secret,
        permissions=frozenset({"READ"}),
    )
    desk.exchange.add_key(reader)
    desk.api_key = "reader"
    assert (await desk.signed("GET", "/api/v3/account")).status == 200
    refused = await desk.order(quantity="0.01", price="59000")
    assert (refused.status, refused.body["code"]) == (401, -2015)
    desk.exchange.revoke_key("reader")
    assert (await desk.signed("GET", "/api/v3/account")).status == 401


async def test_query_wins_over_the_body_and_duplicates_are_refused(desk: Desk) -> None:
    query = f"symbol=BTCUSDT&side=BUY&quantity=0.01&timestamp={desk.now_ms}"
    body = "type=LIMIT&timeInForce=GTC&price=59000&quantity=7"
    signature = desk.sign(query + body)
    headers = {
        "X-MBX-APIKEY": desk.api_key,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    url = f"{desk.server.url}{ORDER}?{query}&signature={signature}"
    async with desk.http.post(url, data=body, headers=headers) as response:
        assert (await response.json())["origQty"] == "0.01000000"
    doubled = await desk.get("/api/v3/depth?symbol=BTCUSDT&symbol=ETHUSDT")
    assert doubled.body["code"] == -1101


async def test_look_up_by_either_id_and_refusals_of_unknown_ones(desk: Desk) -> None:
    placed = (await desk.order(quantity="0.01", price="59000", newClientOrderId="mine")).body
    by_id = await desk.signed("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])
    by_client_id = await desk.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    assert by_id.body == by_client_id.body
    assert (by_id.body["status"], by_id.body["isWorking"]) == ("NEW", True)
    unknown = await desk.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="none")
    assert unknown.body == {"code": -2013, "msg": "Order does not exist."}
    neither = await desk.signed("GET", ORDER, symbol="BTCUSDT")
    assert neither.body["code"] == -1102
    mixed = await desk.signed(
        "GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"], origClientOrderId="other"
    )
    assert mixed.body["code"] == -2039


async def test_cancel_names_itself_and_the_order_and_works_once(desk: Desk) -> None:
    await desk.order(quantity="0.01", price="59000", newClientOrderId="mine")
    fields = {"symbol": "BTCUSDT", "origClientOrderId": "mine", "newClientOrderId": "stop-it"}
    canceled = (await desk.signed("DELETE", ORDER, **fields)).body
    assert (canceled["origClientOrderId"], canceled["clientOrderId"]) == ("mine", "stop-it")
    assert canceled["status"] == "CANCELED"
    again = await desk.signed("DELETE", ORDER, **fields)
    assert again.body == {"code": -2011, "msg": "Unknown order sent."}


async def test_client_id_is_unique_among_open_orders_only(desk: Desk) -> None:
    fields = {"quantity": "0.01", "price": "59000", "newClientOrderId": "same"}
    assert (await desk.order(**fields)).status == 200
    assert (await desk.order(**fields)).body == {"code": -2010, "msg": "Duplicate order sent."}
    await desk.signed("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="same")
    assert (await desk.order(**fields)).status == 200


async def test_cancel_restrictions_hold(desk: Desk) -> None:
    placed = (await desk.order(quantity="0.01", price="59000")).body
    fields = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
    refused = await desk.signed(
        "DELETE", ORDER, **fields, cancelRestrictions="ONLY_PARTIALLY_FILLED"
    )
    assert refused.body == {
        "code": -2011,
        "msg": "Order was not canceled due to cancel restrictions.",
    }
    done = await desk.signed("DELETE", ORDER, **fields, cancelRestrictions="ONLY_NEW")
    assert done.body["status"] == "CANCELED"


async def test_open_orders_all_orders_and_trades(desk: Desk) -> None:
    resting = (await desk.order(quantity="0.01", price="59000")).body["orderId"]
    filled = (await desk.order(quantity="1.5", price="60002")).body["orderId"]
    opened = (await desk.signed("GET", "/api/v3/openOrders", symbol="BTCUSDT")).body
    assert [row["orderId"] for row in opened] == [resting]
    every = (await desk.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT")).body
    assert [row["orderId"] for row in every] == [resting, filled]
    later = await desk.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT", orderId=filled)
    assert [row["orderId"] for row in later.body] == [filled]
    trades = (await desk.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", orderId=filled)).body
    assert [trade["qty"] for trade in trades] == ["1.00000000", "0.50000000"]
    since = await desk.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", fromId=trades[1]["id"])
    assert since.body == trades[1:]
    far = {"startTime": desk.now_ms - 86_400_001, "endTime": desk.now_ms}
    refused = await desk.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT", **far)
    assert refused.body["code"] == -1127
    ended = (await desk.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")).body
    assert [row["status"] for row in ended] == ["CANCELED"]
    none = await desk.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert none.body["code"] == -2011


async def test_account_shows_locked_money_and_can_omit_zeros(desk: Desk) -> None:
    await desk.order(quantity="0.01", price="59000")
    account = (await desk.signed("GET", "/api/v3/account")).body
    assert {"asset": "USDT", "free": "99410.00000000", "locked": "590.00000000"} in account[
        "balances"
    ]
    desk.exchange.deposit(desk.key.account_id, "BTC", Decimal(-10))
    short = (await desk.signed("GET", "/api/v3/account", omitZeroBalances="true")).body
    assert [row["asset"] for row in short["balances"]] == ["USDT"]


async def test_cancel_replace_does_both_half_or_nothing(desk: Desk) -> None:
    first = (await desk.order(quantity="0.01", price="59000")).body["orderId"]
    fields = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "cancelReplaceMode": "STOP_ON_FAILURE",
    }
    path = f"{ORDER}/cancelReplace"
    both = await desk.signed("POST", path, **fields, price="59001", cancelOrderId=first)
    assert (both.body["cancelResult"], both.body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    second = both.body["newOrderResponse"]["orderId"]
    half = await desk.signed("POST", path, **fields, price="1", cancelOrderId=second)
    assert (half.status, half.body["code"]) == (409, -2021)
    assert half.body["data"]["newOrderResponse"]["code"] == -1013
    nothing = await desk.signed("POST", path, **fields, price="59001", cancelOrderId=second)
    assert (nothing.status, nothing.body["code"]) == (400, -2022)
    assert nothing.body["data"]["newOrderResult"] == "NOT_ATTEMPTED"


async def test_used_weight_is_told_and_windows_follow_the_clock(desk: Desk) -> None:
    desk.clock.advance(59)
    await desk.get("/api/v3/depth", symbol="BTCUSDT", limit=1000)
    second = await desk.get("/api/v3/ping")
    assert second.headers["X-MBX-USED-WEIGHT-1M"] == "51"
    desk.clock.advance(1)  # the minute turns
    third = await desk.get("/api/v3/ping")
    assert third.headers["X-MBX-USED-WEIGHT-1M"] == "1"


async def test_successful_orders_weigh_nothing_and_failed_ones_do(desk: Desk) -> None:
    good = await desk.order(quantity="0.01", price="59000")
    assert good.headers["X-MBX-USED-WEIGHT-1M"] == "0"
    assert good.headers["X-MBX-ORDER-COUNT-10S"] == "1"
    bad = await desk.order(quantity="0", price="59000")
    assert bad.headers["X-MBX-USED-WEIGHT-1M"] == "1"
    assert "X-MBX-ORDER-COUNT-10S" not in bad.headers


async def test_filled_orders_are_given_back_to_the_order_count(desk: Desk) -> None:
    await desk.order(quantity="0.01", price="59000")
    filled = await desk.order(kind="MARKET", quantity="0.01")
    assert filled.headers["X-MBX-ORDER-COUNT-1D"] == "1"


async def test_too_much_weight_is_429_then_418_and_ends_with_the_ban() -> None:
    limits = Limits(weight_per_minute=3, refusals_before_ban=2, ban_s=120)
    async with Desk(limits=limits) as desk:
        answers = [await desk.get("/api/v3/ping") for _ in range(6)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429, 418]
        assert answers[3].headers["Retry-After"] == "60"
        assert answers[3].body == {
            "code": -1003,
            "msg": "Too much request weight used; current limit is 3 request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
        }
        assert answers[5].headers["Retry-After"] == "120"
        assert answers[5].body["msg"].startswith("Way too much request weight used; IP banned unti")
        desk.clock.advance(119)
        assert (await desk.get("/api/v3/ping")).status == 418
        desk.clock.advance(1)
        assert (await desk.get("/api/v3/ping")).status == 200


async def test_too_many_orders_are_refused_until_the_window_turns() -> None:
    async with Desk(limits=Limits(orders_per_10_s=2)) as desk:
        for _ in range(2):
            await desk.order(quantity="0.01", price="59000")
        refused = await desk.order(quantity="0.01", price="59000")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
        assert refused.body == {
            "code": -1015,
            "msg": "Too many new orders; current limit is 2 orders per 10 SECOND.",
        }
        desk.clock.advance(10)
        assert (await desk.order(quantity="0.01", price="59000")).status == 200


async def test_dropped_answer_leaves_the_order_placed(desk: Desk) -> None:
    desk.server.gate.drop_next_answer_after_execution(operation="order.place")
    with pytest.raises(aiohttp.ClientError):
        await desk.order(quantity="0.01", price="59000", newClientOrderId="lost")
    found = await desk.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="lost")
    assert found.body["status"] == "NEW"


async def test_refusal_before_execution_leaves_nothing(desk: Desk) -> None:
    desk.server.gate.refuse_before_execution(503, "<html>", operation="order.place")
    refused = await desk.order(quantity="0.01", price="59000")
    assert (refused.status, refused.body) == (503, "<html>")
    assert desk.exchange.orders(desk.key.account_id) == []
    assert (await desk.order(quantity="0.01", price="59000")).status == 200


async def test_delayed_answer_comes_later_by_the_clock(desk: Desk) -> None:
    desk.server.gate.delay_next_answer(10)
    before = desk.clock.now()
    await desk.get("/api/v3/ping")
    assert (desk.clock.now() - before).total_seconds() == 10


async def test_unknown_path_and_large_body_are_refused(desk: Desk) -> None:
    assert (await desk.get("/api/v1/ping")).status == 404
    async with desk.http.post(f"{desk.server.url}{ORDER}", data=b"x" * 100_000) as response:
        assert response.status == 413


async def test_shapes_that_client_libraries_ask_for(desk: Desk) -> None:
    assert (await desk.get("/sapi/v1/margin/allPairs")).body == []
    assert (await desk.get("/fapi/v1/exchangeInfo")).body == {"symbols": []}
    coins = (await desk.signed("GET", "/sapi/v1/capital/config/getall")).body
    assert [coin["coin"] for coin in coins] == ["BTC", "USDT"]
    rights = (await desk.signed("GET", "/sapi/v1/account/apiRestrictions")).body
    assert (rights["enableWithdrawals"], rights["ipRestrict"]) == (False, True)

"""Binance: what is asked, and what each answer proves."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.builders import NOW, an_instrument, an_order
from trading_platform.exchanges.binance_trading import BinanceTrading
from trading_platform.exchanges.dialect import HttpResponse
from trading_platform.exchanges.ports import (
    Accepted,
    Found,
    LookUpFailed,
    NotFound,
    Rejected,
    Unknown,
)
from trading_platform.kit.errors import ServiceError
from trading_platform.market.orders import Liquidity, OrderStatus, OrderType, TimeInForce

DIALECT = BinanceTrading()
ORDER, INSTRUMENT = an_order(), an_instrument()

PLACED = {
    "symbol": "BTCUSDT",
    "orderId": 31400271,
    "orderListId": -1,
    "clientOrderId": "t7-5f0c2e9b41d84a77",
    "transactTime": 1793356800123,
    "price": "64120.00000000",
    "origQty": "0.05000000",
    "executedQty": "0.02000000",
    "cummulativeQuoteQty": "1282.38000000",
    "status": "PARTIALLY_FILLED",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "BUY",
    "aFieldOfNextYear": {"x": [1]},
    "fills": [
        {
            "price": "64119.00000000",
            "qty": "0.02000000",
            "commission": "0.00002000",
            "commissionAsset": "BTC",
            "tradeId": 6487001234,
        }
    ],
}


def answer(status: int, body: Any, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status=status, headers=headers, body=raw)


def error(status: int, code: int, msg: str = "m") -> HttpResponse:
    return answer(status, {"code": code, "msg": msg})


def query_of(**changes: Any) -> dict[str, str]:
    return dict(DIALECT.place(an_order(**changes), INSTRUMENT).query)


def test_limit_order_carries_our_id_and_self_trade_mode() -> None:
    assert query_of(time_in_force=TimeInForce.FOK, quantity=Decimal("1E-5")) == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "FOK",
        "quantity": "0.00001",
        "price": "60000",
        "newClientOrderId": ORDER.client_order_id,
        "newOrderRespType": "FULL",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "recvWindow": "5000",
    }


def test_market_order_sends_no_time_in_force_and_no_price() -> None:
    query = query_of(order_type=OrderType.MARKET, price=None)
    assert query["type"] == "MARKET"
    assert not {"timeInForce", "price"} & query.keys()


def test_post_only_becomes_limit_maker() -> None:
    query = query_of(post_only=True)
    assert query["type"] == "LIMIT_MAKER"
    assert "timeInForce" not in query
    with pytest.raises(ServiceError):
        query_of(post_only=True, time_in_force=TimeInForce.IOC)


def test_placed_order_is_read_with_its_fills() -> None:
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, answer(200, PLACED))
    assert isinstance(outcome, Accepted)
    report = outcome.report
    assert report.status is OrderStatus.PARTIALLY_FILLED
    assert report.filled_quantity == Decimal("0.02")
    assert report.filled_notional == Decimal("1282.38")
    (fill,) = report.fills
    assert (fill.trade_id, fill.fee_currency) == ("6487001234", "BTC")
    assert fill.liquidity is Liquidity.TAKER


@pytest.mark.parametrize("status", ["EXPIRED", "EXPIRED_IN_MATCH", "CANCELED"])
def test_an_order_that_ended_early_keeps_what_it_filled(status: str) -> None:
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, answer(200, {**PLACED, "status": status}))
    assert isinstance(outcome, Accepted)
    assert outcome.report.status in {OrderStatus.EXPIRED, OrderStatus.CANCELED}
    assert outcome.report.filled_quantity == Decimal("0.02")


def test_an_unheard_of_status_closes_nothing() -> None:
    body = {**PLACED, "status": "SLEEPING", "executedQty": "0"}
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, answer(200, body))
    assert isinstance(outcome, Accepted)
    assert outcome.report.status is OrderStatus.OPEN


def test_negative_quote_total_means_unknown() -> None:
    body = {**PLACED, "cummulativeQuoteQty": "-1.00000000"}
    outcome = DIALECT.read_looked_up(ORDER, INSTRUMENT, answer(200, body))
    assert isinstance(outcome, Found)
    assert outcome.report.filled_notional is None


@pytest.mark.parametrize(
    "response",
    [
        error(400, -1000),
        error(400, -1001),
        error(400, -1006),
        error(408, -1007),
        error(503, -1008),
        error(500, -1016),
        error(500, -2010, "Account has insufficient balance for requested action."),
        error(400, -2010, "Duplicate order sent."),
        error(409, -2021),
        answer(504, b"<html>gateway</html>"),
        answer(502, b""),
        answer(400, b"<html>bad request</html>"),
        answer(302, b""),
        answer(200, b'{"symbol":"BTCUSDT","orderId":'),
        answer(200, b""),
        answer(200, {**PLACED, "executedQty": "NaN"}),
        answer(404, b"\xff\xfe"),
    ],
)
def test_what_does_not_prove_a_refusal_is_unknown(response: HttpResponse) -> None:
    assert isinstance(DIALECT.read_placed(ORDER, INSTRUMENT, response), Unknown)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (error(400, -1013, "Filter failure: LOT_SIZE"), "-1013"),
        (error(400, -1021), "-1021"),
        (error(400, -1022), "-1022"),
        (error(400, -1111), "-1111"),
        (error(400, -1121), "-1121"),
        (error(400, -2010, "Account has insufficient balance for requested action."), "-2010"),
        (error(401, -2015), "-2015"),
        (error(429, -1015), "RATE_LIMIT_EXCEEDED"),
        (error(418, -1003), "RATE_LIMIT_EXCEEDED"),
        (error(400, -1008), "-1008"),
        (answer(403, b"<html>blocked</html>"), "403"),
    ],
)
def test_a_documented_refusal_is_rejected(response: HttpResponse, code: str) -> None:
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, response)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code


def test_only_limits_counted_by_address_pause_the_host() -> None:
    banned = answer(418, {"code": -1003, "msg": "banned"}, **{"retry-after": "97"})
    assert DIALECT.pause_s(banned) == 97
    assert DIALECT.pause_s(answer(418, b"")) == 120
    assert DIALECT.pause_s(error(429, -1003)) == 10
    assert DIALECT.pause_s(error(429, -1015)) == 0
    assert DIALECT.pause_s(error(400, -1013)) == 0
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, banned)
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after_s == 97


def test_cancel_reads_the_orders_own_id_not_the_requests() -> None:
    body = {**PLACED, "origClientOrderId": "ours", "clientOrderId": "x", "status": "CANCELED"}
    outcome = DIALECT.read_canceled(ORDER, INSTRUMENT, answer(200, body))
    assert isinstance(outcome, Accepted)
    assert outcome.report.client_order_id == "ours"
    assert outcome.report.status is OrderStatus.CANCELED


def test_cancel_outcomes() -> None:
    def read(response: HttpResponse) -> object:
        return DIALECT.read_canceled(ORDER, INSTRUMENT, response)

    assert isinstance(read(error(400, -2011, "Unknown order sent.")), NotFound)
    restricted = error(400, -2011, "Order was not canceled due to cancel restrictions.")
    assert isinstance(read(restricted), Rejected)
    assert isinstance(read(error(500, -2011, "Unknown order sent.")), Unknown)
    assert isinstance(read(answer(503, b"")), Unknown)


def test_look_up_only_the_documented_code_is_not_found() -> None:
    def read(response: HttpResponse) -> object:
        return DIALECT.read_looked_up(ORDER, INSTRUMENT, response)

    assert isinstance(read(error(400, -2013, "Order does not exist.")), NotFound)
    assert isinstance(read(error(400, -2026, "Order was canceled or expired")), NotFound)
    for response in (error(500, -2013), error(400, -1121), answer(404, b""), answer(200, b"[]")):
        assert isinstance(read(response), LookUpFailed)


def test_an_order_is_named_by_the_exchanges_id_once_known() -> None:
    known = an_order(exchange_order_id="31400271")
    assert dict(DIALECT.look_up(known, INSTRUMENT).query)["orderId"] == "31400271"
    assert dict(DIALECT.cancel(ORDER, INSTRUMENT).query)["origClientOrderId"] == (
        ORDER.client_order_id
    )


def test_my_trades_become_fills() -> None:
    row = {
        "symbol": "BTCUSDT",
        "id": 6487001234,
        "orderId": 31400271,
        "price": "64119.00000000",
        "qty": "0.02000000",
        "quoteQty": "1282.38000000",
        "commission": "0.00002000",
        "commissionAsset": "BTC",
        "time": 1793356800123,
        "isBuyer": True,
        "isMaker": True,
        "isBestMatch": True,
    }
    (fill,) = DIALECT.read_fills(answer(200, [row]))
    assert fill.liquidity is Liquidity.MAKER
    assert (fill.price, fill.quantity) == (Decimal(64119), Decimal("0.02"))


def test_a_full_page_asks_for_the_rows_after_it() -> None:
    request = DIALECT.recent_orders(INSTRUMENT, NOW)
    assert DIALECT.next_page(request, answer(200, [PLACED])) is None
    full = answer(200, [{**PLACED, "orderId": number} for number in range(1, 1001)])
    following = DIALECT.next_page(request, full)
    assert following is not None
    query = dict(following.query)
    assert query["orderId"] == "1001"
    assert "startTime" not in query


def test_reads_raise_by_cause() -> None:
    causes = {
        "RATE_LIMIT_EXCEEDED": answer(429, b"", **{"retry-after": "7"}),
        "NOT_AUTHENTICATED": error(401, -2015),
        "EXCHANGE_UNAVAILABLE": answer(500, b""),
    }
    for code, response in causes.items():
        with pytest.raises(ServiceError) as caught:
            DIALECT.read_orders(response)
        assert caught.value.code == code
    with pytest.raises(ServiceError, match="could not be read"):
        DIALECT.read_balances(answer(200, b"<html>"))


def test_balances_leave_out_the_zeros() -> None:
    rows = [
        {"asset": "USDT", "free": "8717.62000000", "locked": "1923.60000000"},
        {"asset": "DOGE", "free": "0.00000000", "locked": "0.00000000"},
    ]
    (balance,) = DIALECT.read_balances(answer(200, {"balances": rows, "canTrade": True}))
    assert (balance.currency, balance.held) == ("USDT", Decimal("1923.6"))


def test_instruments_take_the_filters_we_model_and_ignore_the_rest() -> None:
    row = {
        "symbol": "TSLABUSDT",
        "status": "TRADING",
        "baseAsset": "TSLAB",
        "quoteAsset": "USDT",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": "0.01",
                "maxPrice": "100000.0",
                "tickSize": "0.01",
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": "0.001",
                "maxQty": "922327.0",
                "stepSize": "0.001",
            },
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0", "maxQty": "585.2", "stepSize": "0"},
            {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "9000000"},
            {"filterType": "OF_NEXT_YEAR", "limit": 3},
        ],
    }
    unicode_row = {**row, "symbol": "币安USDT", "baseAsset": "币安"}
    halted = {**row, "symbol": "AUSDT", "baseAsset": "A", "status": "CANCEL_ONLY", "filters": []}
    body = {"symbols": [row, unicode_row, halted]}
    first, second = DIALECT.read_instruments(answer(200, body))
    assert first.symbol == "TSLAB-USDT"
    assert first.price_increment == Decimal("0.01")
    assert first.quantity_increment == Decimal("0.001")
    assert first.market_quantity_max == Decimal("585.2")
    assert first.notional_min == Decimal(5)
    assert first.trading
    assert not second.trading
    assert second.price_increment == Decimal("1E-8")

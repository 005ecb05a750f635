"""Coinbase Exchange: what is asked, and what each answer proves."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.builders import NOW, an_instrument, an_order
from trading_platform.exchanges.coinbase_trading import CoinbaseTrading
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
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Liquidity, OrderStatus, OrderType, TimeInForce

DIALECT = CoinbaseTrading()
INSTRUMENT = an_instrument(
    exchange_id=ExchangeId.COINBASE, symbol="BTC-USD", exchange_symbol="BTC-USD", quote="USD"
)
ORDER = an_order(exchange_id=ExchangeId.COINBASE, symbol="BTC-USD")
ID = "d96aad29-aa9d-471b-ab6d-0c2a3383479c"
POSTED = {
    "id": ID,
    "price": "0.01",
    "size": "100",
    "product_id": "ETH-USD",
    "side": "buy",
    "stp": "co",
    "type": "limit",
    "time_in_force": "GTC",
    "post_only": False,
    "created_at": "2025-08-18T05:56:45.564203Z",
    "fill_fees": "0",
    "filled_size": "0",
    "executed_value": "0",
    "status": "pending",
    "settled": False,
}
DONE = {
    **POSTED,
    "type": "market",
    "done_at": "2025-08-18T05:56:46.564203Z",
    "done_reason": "filled",
    "fill_fees": "0.42681715",
    "filled_size": "0.01",
    "executed_value": "1067.042875",
    "status": "done",
    "settled": True,
}


def answer(status: int, body: Any, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status=status, headers=headers, body=raw)


def says(status: int, message: str) -> HttpResponse:
    return answer(status, {"message": message})


def body_of(**changes: Any) -> dict[str, Any]:
    order = msgspec.structs.replace(ORDER, **changes)
    body: dict[str, Any] = msgspec.json.decode(DIALECT.place(order, INSTRUMENT).body)
    return body


def test_limit_order_body() -> None:
    assert body_of(quantity=Decimal("1E-8")) == {
        "client_oid": ORDER.client_order_id,
        "product_id": "BTC-USD",
        "side": "buy",
        "stp": "co",
        "size": "0.00000001",
        "type": "limit",
        "price": "60000",
        "time_in_force": "GTC",
    }


def test_market_and_post_only_orders() -> None:
    market = body_of(order_type=OrderType.MARKET, price=None)
    assert market["type"] == "market"
    assert market["size"] == "0.01"
    assert not {"price", "time_in_force", "post_only", "funds"} & market.keys()
    assert body_of(post_only=True)["post_only"] is True
    with pytest.raises(ServiceError):
        body_of(post_only=True, time_in_force=TimeInForce.FOK)


def test_a_posted_order_is_open_under_our_own_id() -> None:
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, answer(200, POSTED))
    assert isinstance(outcome, Accepted)
    assert outcome.report.status is OrderStatus.OPEN
    assert outcome.report.exchange_order_id == ID
    assert outcome.report.client_order_id == ORDER.client_order_id


@pytest.mark.parametrize(
    "response",
    [
        answer(500, {"message": "Internal server error"}),
        answer(520, b"<html>cloudflare</html>"),
        answer(502, b""),
        answer(400, b"<html>"),
        answer(400, b""),
        answer(404, b"<html>not found</html>"),
        answer(301, b""),
        answer(408, {"message": "timeout"}),
        answer(200, b'"d96aad29"'),
        answer(200, b'{"id":"'),
        answer(200, {**POSTED, "filled_size": "-1"}),
    ],
)
def test_what_does_not_prove_a_refusal_is_unknown(response: HttpResponse) -> None:
    assert isinstance(DIALECT.read_placed(ORDER, INSTRUMENT, response), Unknown)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (says(400, "Insufficient funds"), "400"),
        (says(400, "size is too small. Minimum size is 0.001"), "400"),
        (says(401, "Invalid API Key"), "401"),
        (says(403, "Forbidden"), "403"),
        (answer(403, b"<html>cloudflare</html>"), "403"),
        (says(404, "Product not found"), "404"),
        (says(429, "Private rate limit exceeded"), "RATE_LIMIT_EXCEEDED"),
        (answer(200, {**POSTED, "status": "rejected", "reject_reason": "post only"}), "rejected"),
    ],
)
def test_a_refusal_in_the_exchanges_own_words_is_rejected(
    response: HttpResponse, code: str
) -> None:
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, response)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code


def test_private_limits_pause_the_account_and_public_ones_the_host() -> None:
    private = says(429, "Private rate limit exceeded")
    assert DIALECT.pause_s(private) == 0
    outcome = DIALECT.read_placed(ORDER, INSTRUMENT, private)
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after_s == 1
    assert DIALECT.pause_s(says(429, "Public rate limit exceeded")) == 1


def look_up(body: Any) -> Any:
    outcome = DIALECT.read_looked_up(ORDER, INSTRUMENT, answer(200, body))
    assert isinstance(outcome, Found)
    return outcome.report


def test_statuses() -> None:
    assert look_up(DONE).status is OrderStatus.FILLED
    assert look_up(DONE).filled_notional == Decimal("1067.042875")
    assert look_up({**POSTED, "status": "open"}).status is OrderStatus.OPEN
    partly = look_up({**POSTED, "status": "open", "filled_size": "1"})
    assert partly.status is OrderStatus.PARTIALLY_FILLED
    canceled = look_up({**DONE, "done_reason": "canceled"})
    assert canceled.status is OrderStatus.CANCELED
    assert canceled.filled_quantity == Decimal("0.01")
    assert look_up({**POSTED, "status": "sleeping"}).status is OrderStatus.OPEN


def test_what_the_engine_ended_is_expired() -> None:
    ioc = msgspec.structs.replace(ORDER, time_in_force=TimeInForce.IOC)
    response = answer(200, {**DONE, "type": "limit", "done_reason": "canceled"})
    outcome = DIALECT.read_looked_up(ioc, INSTRUMENT, response)
    assert isinstance(outcome, Found)
    assert outcome.report.status is OrderStatus.EXPIRED


def test_look_up_only_the_exchanges_own_404_is_not_found() -> None:
    def read(response: HttpResponse) -> object:
        return DIALECT.read_looked_up(ORDER, INSTRUMENT, response)

    assert isinstance(read(says(404, "NotFound")), NotFound)
    assert isinstance(read(says(404, "order not found")), NotFound)
    for response in (
        answer(404, b"<html>"),
        says(400, "Invalid order id"),
        says(401, "Invalid API Key"),
        says(429, "Private rate limit exceeded"),
        says(500, "NotFound"),
        answer(200, b"[]"),
    ):
        assert isinstance(read(response), LookUpFailed)


def test_look_up_goes_by_client_id_until_the_exchanges_is_known() -> None:
    assert DIALECT.look_up(ORDER, INSTRUMENT).path == f"/orders/client:{ORDER.client_order_id}"
    known = msgspec.structs.replace(ORDER, exchange_order_id=ID)
    assert DIALECT.cancel(known, INSTRUMENT).path == f"/orders/{ID}"
    assert DIALECT.cancel(known, INSTRUMENT).query == (("product_id", "BTC-USD"),)


def test_cancel_proves_only_that_it_was_received() -> None:
    def read(response: HttpResponse) -> Any:
        return DIALECT.read_canceled(ORDER, INSTRUMENT, response)

    received = read(answer(200, f'"{ID}"'.encode()))
    assert isinstance(received, Accepted)
    assert received.report.status is OrderStatus.OPEN
    assert isinstance(read(says(404, "NotFound")), NotFound)
    assert isinstance(read(says(400, "Order already done")), Unknown)  # it exists
    assert isinstance(read(answer(404, b"<html>")), Unknown)
    assert isinstance(read(answer(503, b"")), Unknown)


def test_pages_follow_the_cursor_until_there_is_none() -> None:
    request = DIALECT.recent_orders(INSTRUMENT, NOW)
    assert ("start_date", "2026-11-02T10:00:00.000000Z") in request.query
    page = answer(200, [POSTED], **{"cb-after": "2025-08-18T05:56:45.571025Z"})
    second = DIALECT.next_page(request, page)
    assert second is not None
    assert second.query[-1] == ("after", "2025-08-18T05:56:45.571025Z")
    third = DIALECT.next_page(second, answer(200, [POSTED], **{"cb-after": "x"}))
    assert third is not None
    assert [value for name, value in third.query if name == "after"] == ["x"]
    assert DIALECT.next_page(request, answer(200, [POSTED])) is None
    assert DIALECT.next_page(request, answer(200, b"[]", **{"cb-after": "x"})) is None


def test_fills_pay_fees_in_quote() -> None:
    row = {
        "trade_id": 31646077,
        "product_id": "BTC-USDT",
        "order_id": ID,
        "liquidity": "M",
        "price": "120832.83",
        "size": "0.005",
        "fee": "0.0",
        "created_at": "2025-08-13T14:56:07.267666Z",
        "side": "buy",
        "settled": True,
        "usd_volume": "604.2256",
    }
    maker, other = DIALECT.read_fills(answer(200, [row, {**row, "liquidity": "O"}]))
    assert (maker.trade_id, maker.fee_currency) == ("31646077", "USDT")
    assert maker.liquidity is Liquidity.MAKER
    assert other.liquidity is Liquidity.TAKER


def test_products_become_instruments() -> None:
    row = {
        "id": "BTC-USD",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "min_market_funds": "1",
        "status": "online",
        "cancel_only": False,
        "trading_disabled": False,
    }
    body = [row, {**row, "id": "X-USD", "base_currency": "X", "cancel_only": True}]
    first, second = DIALECT.read_instruments(answer(200, body))
    assert first.notional_min == Decimal(1)
    assert first.quantity_min == Decimal("1E-8")
    assert (first.trading, second.trading) == (True, False)


def test_time_is_read_in_milliseconds() -> None:
    body = {"iso": "2026-11-02T10:00:00.123Z", "epoch": 1793613600.123}
    assert DIALECT.read_server_time(answer(200, body)) == 1793613600123

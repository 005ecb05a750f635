"""What POST /orders refuses before anything is done, and what it makes of a good body."""

from decimal import Decimal

import msgspec
import pytest

from tests.unit.simulation.coinbase_desks import a_product
from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation.coinbase_checks import CheckedOrder, check_order, read_order
from trading_platform.simulation.coinbase_security import ApiError
from trading_platform.simulation.model import SelfTradePrevention

FEE = Decimal("0.006")
LIMIT: dict[str, object] = {
    "product_id": "BTC-USD",
    "side": "buy",
    "price": "100.25",
    "size": "0.01",
}
MARKET: dict[str, object] = {
    "product_id": "BTC-USD",
    "side": "sell",
    "type": "market",
    "size": "0.01",
}
OID = "6b1f7a0e-5f1f-4f0e-9a8d-2f6f1f3b7c55"


def checked(body: dict[str, object]) -> CheckedOrder:
    return check_order(read_order(msgspec.json.encode(body)), a_product(), FEE)


def test_a_limit_order_is_gtc_and_decrements_unless_it_says_otherwise() -> None:
    request = checked(LIMIT).request
    assert (request.side, request.order_type) == (Side.BUY, OrderType.LIMIT)
    assert (request.price, request.quantity) == (Decimal("100.25"), Decimal("0.01"))
    assert request.time_in_force is TimeInForce.GTC
    assert request.self_trade_prevention is SelfTradePrevention.DECREMENT


def test_numbers_may_be_json_numbers_and_keep_every_digit() -> None:
    raw = b'{"product_id":"BTC-USD","side":"buy","price":100.10,"size":12345.12345678}'
    request = check_order(read_order(raw), a_product(), FEE).request
    assert (request.price, request.quantity) == (Decimal("100.10"), Decimal("12345.12345678"))


def test_funds_set_the_fee_aside() -> None:
    found = checked({"product_id": "BTC-USD", "side": "buy", "type": "market", "funds": "100.60"})
    assert found.specified_funds == Decimal("100.60")
    assert found.request.quote_quantity == Decimal(100)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (LIMIT | {"side": "long"}, "Invalid side"),
        (LIMIT | {"client_oid": "order-1"}, "Invalid client_oid"),
        (LIMIT | {"client_oid": OID.upper()}, "Invalid client_oid"),
        (LIMIT | {"client_oid": OID.replace("-", "")}, "Invalid client_oid"),
        (LIMIT | {"price": "100.255"}, "price is too accurate. Smallest unit is 0.01"),
        (LIMIT | {"size": "0.000000001"}, "size is too accurate. Smallest unit is 0.00000001"),
        (LIMIT | {"size": "0.009"}, "size is too small. Minimum size is 0.00997507"),
        (LIMIT | {"size": "0"}, "size is too small. Minimum size is 0.00000001"),
        (LIMIT | {"size": "-1"}, "Invalid size"),
        (LIMIT | {"size": "1e3"}, "Invalid size"),
        (LIMIT | {"size": "NaN"}, "Invalid size"),
        (LIMIT | {"size": "01"}, "Invalid size"),
        (LIMIT | {"price": None}, "price is required"),
        (LIMIT | {"type": "twap"}, "Invalid order type"),
        (LIMIT | {"type": "stop"}, "stop orders are not supported"),
        (LIMIT | {"time_in_force": "GTT"}, "Invalid time_in_force"),
        (
            LIMIT | {"time_in_force": "IOC", "post_only": True},
            "post_only is not allowed with IOC or FOK",
        ),
        (LIMIT | {"stp": "xx"}, "Invalid stp"),
        (MARKET | {"funds": "10"}, "Must provide exactly one of size or funds"),
        (
            {k: v for k, v in MARKET.items() if k != "size"},
            "Must provide exactly one of size or funds",
        ),
        (
            {"product_id": "BTC-USD", "side": "buy", "type": "market", "funds": "0.99"},
            "funds is too small. Minimum size is 1",
        ),
    ],
)
def test_a_bad_order_is_refused_in_the_exchanges_words(
    body: dict[str, object], message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        checked(body)
    assert (caught.value.status, caught.value.message) == (400, message)


def test_the_least_size_named_is_itself_accepted() -> None:
    assert checked(LIMIT | {"size": "0.00997507"}).request.quantity == Decimal("0.00997507")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b'{"post_only":"yes"}', b"\xff\xfe"])
def test_a_body_that_is_no_order_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_order(raw)
    assert caught.value.status == 400


def test_an_unknown_product_is_named() -> None:
    with pytest.raises(ApiError, match="Product not found"):
        check_order(read_order(msgspec.json.encode(LIMIT)), None, FEE)

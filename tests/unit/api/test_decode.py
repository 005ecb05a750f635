import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_order
from trading_platform.api.decode import Decoder, bearer, idempotency_key
from trading_platform.api.edge import correlation_id_of
from trading_platform.api.order_views import order_view
from trading_platform.api.orders import ListOrders, SubmitOrder, request_of, submitted
from trading_platform.api.problems import problem_of
from trading_platform.kit.errors import CODES, ServiceError
from trading_platform.market.orders import OrderRequest, OrderStatus

DECODER = Decoder(ListOrders, SubmitOrder)
_decimals = st.decimals(min_value=0, max_value=10**18 - 1, places=9).map(lambda d: f"{d:f}")
_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), _decimals, st.just([])
)
_bodies = st.fixed_dictionaries(
    {},
    optional={
        "exchangeId": st.sampled_from(["BINANCE", "COINBASE"]) | _values,
        "symbol": st.sampled_from(["BTC-USDT", "btc-usdt", "A-B\n"]) | _values,
        "side": st.sampled_from(["BUY", "SELL"]) | _values,
        "orderType": st.sampled_from(["LIMIT", "MARKET"]) | _values,
        "quantity": _decimals | _values,
        "price": _decimals | _values,
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK"]) | _values,
        "postOnly": st.booleans() | _values,
        "other": _values,
    },
)


def outcome(act: Callable[[], Any]) -> Any:
    """What `act` returns, or the code of its refusal."""
    try:
        return act()
    except ServiceError as error:
        return error.code


def decoded(raw: bytes) -> OrderRequest | ServiceError:
    try:
        body = DECODER.body(raw)
        assert isinstance(body, SubmitOrder)
        return request_of(body)
    except ServiceError as error:
        return error


def assert_good_or_refused(result: OrderRequest | ServiceError) -> None:
    if isinstance(result, ServiceError):
        assert result.code == "INVALID_REQUEST"
        assert result.message.endswith(".")
    else:
        assert result.quantity > 0
        assert result.quantity.is_finite()
        assert result.price is None or (result.price > 0 and result.price.is_finite())


@given(st.binary(max_size=300))
def test_any_bytes_are_an_order_or_a_sentence(raw: bytes) -> None:
    assert_good_or_refused(decoded(raw))


@given(_bodies)
def test_any_object_is_an_order_or_a_sentence(body: dict[str, Any]) -> None:
    assert_good_or_refused(decoded(json.dumps(body).encode()))


@given(st.binary(max_size=200))
def test_any_query_is_understood_or_refused(raw: bytes) -> None:
    query = outcome(lambda: DECODER.query(raw))
    if isinstance(query, ListOrders):
        assert 1 <= query.limit <= 1000
    else:
        assert query == "INVALID_REQUEST"


@given(st.binary(max_size=200))
def test_any_header_is_taken_or_refused(raw: bytes) -> None:
    for read, name in ((bearer, b"authorization"), (idempotency_key, b"idempotency-key")):
        assert outcome(partial(read, {name: raw}))
    chosen = correlation_id_of({"headers": [(b"x-correlation-id", raw)]}, lambda: "a-new-one")
    assert chosen == "a-new-one" or chosen.encode() == raw


@pytest.mark.parametrize("status", OrderStatus)
def test_every_status_after_a_submission_has_one_meaning(status: OrderStatus) -> None:
    order = an_order(status=status, reason="because")
    if status in (OrderStatus.REJECTED, OrderStatus.DENIED):
        with pytest.raises(ServiceError) as refused:
            submitted(order)
        assert refused.value.code == f"ORDER_{status}"
        assert refused.value.metadata["orderId"] == order.order_id
    else:
        unanswered = status in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN)
        assert submitted(order).status == (202 if unanswered else 201)


def test_an_average_without_end_has_twelve_places() -> None:
    order = an_order(filled_quantity=Decimal("0.003"), filled_notional=Decimal("200"))
    assert order_view(order).average_price == "66666.666666666667"


@pytest.mark.parametrize("code", CODES)
def test_every_code_makes_a_whole_problem(code: str) -> None:
    error = ServiceError("It failed.", code, metadata={"retryAfter": 4.2, "apiSecret": "s3cret"})
    problem = problem_of(error, "a-correlation-id")
    assert (problem.code, problem.status) == (code, CODES[code].status_code)
    assert problem.retry_after == 5
    assert "s3cret" not in repr(problem)

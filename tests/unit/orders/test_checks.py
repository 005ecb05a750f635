"""Each refusal has a code and one sentence with the numbers."""

from decimal import Decimal
from typing import Any

import pytest

from tests.builders import a_request, an_instrument
from trading_platform.market.orders import OrderType, TimeInForce
from trading_platform.orders.checks import check

D = Decimal
MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"quantity": D("0.000001")}, "QUANTITY_TOO_SMALL", "below the least of 0.00001"),
        ({"quantity": D("0.000015")}, "QUANTITY_STEP", "0.000015 is not a multiple of 0.00001"),
        ({"quantity": D(9001)}, "QUANTITY_TOO_LARGE", "9001 is above the most of 9000"),
        ({"quantity": D(0)}, "QUANTITY_NOT_POSITIVE", "quantity 0 is not above zero"),
        ({"quantity": D(-1)}, "QUANTITY_NOT_POSITIVE", "quantity -1 is not above zero"),
        ({"quantity": D("NaN")}, "QUANTITY_NOT_POSITIVE", "quantity NaN is not above zero"),
        ({"price": D("60000.001")}, "PRICE_STEP", "price 60000.001 is not a multiple of 0.01"),
        ({"price": None}, "PRICE_MISSING", "a LIMIT order needs a price"),
        ({"price": D(0)}, "PRICE_NOT_POSITIVE", "price 0 is not above zero"),
        ({"price": D("Infinity")}, "PRICE_NOT_POSITIVE", "price Infinity"),
        ({"order_type": OrderType.MARKET}, "PRICE_NOT_ALLOWED", "MARKET order takes no price"),
        (
            {**MARKET, "time_in_force": TimeInForce.IOC},
            "TIME_IN_FORCE_NOT_ALLOWED",
            "leave out IOC",
        ),
        ({**MARKET, "post_only": True}, "POST_ONLY_NOT_ALLOWED", "not MARKET and GTC"),
        (
            {"post_only": True, "time_in_force": TimeInForce.FOK},
            "POST_ONLY_NOT_ALLOWED",
            "not LIMIT and FOK",
        ),
        ({"quantity": D("0.00008")}, "NOTIONAL_TOO_SMALL", "4.8 USDT (0.00008 x 60000) is below"),
        ({"quantity": D(200)}, "NOTIONAL_TOO_LARGE", "above the most of 9000000"),
    ],
)
def test_bad_order_is_refused_with_the_numbers(
    changes: dict[str, Any], code: str, message: str
) -> None:
    denial = check(a_request(**changes), an_instrument())
    assert denial is not None
    assert denial.code == code
    assert message in denial.message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        MARKET,
        {"post_only": True},
        {"time_in_force": TimeInForce.IOC},
        {"quantity": D("0.00010")},
    ],
)
def test_good_order_passes(changes: dict[str, Any]) -> None:
    assert check(a_request(**changes), an_instrument()) is None


def test_halted_instrument_takes_nothing() -> None:
    denial = check(a_request(), an_instrument(trading=False))
    assert denial is not None
    assert denial.code == "NOT_TRADING"


def test_market_order_has_a_bound_and_a_notional_of_its_own() -> None:
    instrument = an_instrument(market_quantity_max=D(100))
    denial = check(a_request(**MARKET, quantity=D(101)), instrument)
    assert denial is not None
    assert denial.message == "quantity 101 is above the most of 100"
    small = a_request(**MARKET, quantity=D("0.00001"))
    assert check(small, instrument) is None
    denial = check(small, instrument, reference_price=D(60_000))
    assert denial is not None
    assert denial.code == "NOTIONAL_TOO_SMALL"


def test_bound_of_zero_is_switched_off() -> None:
    free = an_instrument(quantity_min=D(0), quantity_max=D(0), notional_min=D(0), notional_max=D(0))
    assert check(a_request(quantity=D("123456789012")), free) is None


def test_longest_numbers_that_parse_are_judged_not_crashed_on() -> None:
    wide = a_request(quantity=D("9" * 18 + "." + "9" * 18), price=D("9" * 18))
    free = an_instrument(quantity_max=D(0), notional_max=D(0), quantity_increment=D("1E-18"))
    assert check(wide, free) is None
    denial = check(wide, an_instrument(quantity_max=D(0)))
    assert denial is not None
    assert denial.code == "QUANTITY_STEP"

"""The kinds of text that requests and answers are made of, with what a person must know of each."""

from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from trading_platform.kit import decimals
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import split_symbol

Value = TypeVar("Value")

DECIMAL_FORM = (
    'a plain decimal in a string, such as "0.015": digits and one point, no sign, no exponent, '
    "at most 18 digits on either side"
)

DecimalText = Annotated[
    str, msgspec.Meta(pattern=decimals.PATTERN, description=DECIMAL_FORM, examples=["0.015"])
]
SymbolText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Z0-9]{1,20}-[A-Z0-9]{1,20}$",
        max_length=41,
        description="a symbol BASE-QUOTE, such as BTC-USDT",
        examples=["BTC-USDT"],
    ),
]
ReasonText = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        description="why, in 1 to 200 characters",
        examples=["The strategy misbehaves."],
    ),
]
CursorText = Annotated[
    str, msgspec.Meta(min_length=1, max_length=1024, description="the `after` of the page before")
]


def given(value: Value | UnsetType) -> Value | None:
    """A query parameter, None when it was not sent. (`| None` would let the text "null" pass.)"""
    return None if value is UNSET else value


def check_symbol(text: str) -> None:
    """INVALID_REQUEST unless it is a symbol through and through: a pattern's `$` lets a last line
    break pass.
    """
    try:
        split_symbol(text)
    except ValueError as error:
        raise ServiceError(f"`symbol`: {error}.", "INVALID_REQUEST") from error


def printable(text: str, field: str) -> str:
    """A person's words as they came; INVALID_REQUEST for control characters."""
    if not text.isprintable() or not text.strip():
        raise ServiceError(f"`{field}`: write printable characters only.", "INVALID_REQUEST")
    return text


def positive(text: str, field: str) -> Decimal:
    """The decimal of a request's field; INVALID_REQUEST unless it is above zero."""
    try:
        value = decimals.parse(text)
    except ValueError as error:
        raise ServiceError(f"`{field}`: {error}.", "INVALID_REQUEST") from error
    if value == 0:
        raise ServiceError(f"`{field}` must be above zero.", "INVALID_REQUEST")
    return value

"""Decimal text as people and exchanges write it: plain digits, never an exponent."""

import re
from decimal import ROUND_DOWN, ROUND_UP, Decimal

PATTERN = r"^[0-9]{1,18}(\.[0-9]{1,18})?$"
_PLAIN = re.compile(PATTERN)


def parse(text: str) -> Decimal:
    """A non-negative plain decimal; ValueError for signs, exponents, NaN, Infinity, spaces or too
    many digits.
    """
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a plain decimal such as 0.015")
    return Decimal(text)


def plain(value: Decimal) -> str:
    """`value` without exponent and without trailing zeros after the point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def round_down(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return (value / step).to_integral_value(ROUND_DOWN) * step


def round_up(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value`."""
    return (value / step).to_integral_value(ROUND_UP) * step


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether `value` is a whole number of `step`s; a step of zero allows anything."""
    return step == 0 or value % step == 0

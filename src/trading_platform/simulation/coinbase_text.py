"""How Coinbase Exchange writes times, numbers and ids (rest-api/types; recordings of 2025-2026)."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from trading_platform.kit.decimals import plain

_NAMESPACE = uuid.UUID("5a0c5f0e-6a3b-5c1d-9e57-3f5d1f1c0b5e")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(at_ns: int) -> str:
    """RFC 3339 UTC with microseconds: `2025-08-18T05:56:45.564203Z`."""
    at = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time_ns(text: str) -> int:
    """Unix nanoseconds of an RFC 3339 text; ValueError when it is none."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def fixed(value: Decimal, places: int) -> str:
    """With exactly `places` digits after the point, as levels and orders are written."""
    text = str(value)
    if text[-places - 1 : -places] == "." and "E" not in text:
        return text  # recorded levels already have the form: a whole book of them is written often
    return format(value.quantize(Decimal(1).scaleb(-places), ROUND_DOWN), "f")


def places_of(increment: Decimal) -> int:
    """Digits after the point that an increment has."""
    text = plain(increment)
    return len(text.partition(".")[2])


def stable_id(*parts: str) -> str:
    """A UUID that is always the same for the same parts: profiles, accounts, others' orders."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def is_client_oid(text: str) -> bool:
    """Whether a client_oid is a lower-case, hyphenated UUID."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def is_order_id(text: str) -> bool:
    """Whether an order id can be one at all; case does not matter here."""
    return is_client_oid(text.lower())

"""Turning an answer's bytes into typed values, or into a plain refusal to guess."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_platform.exchanges.dialect import HttpResponse
from trading_platform.kit.errors import ServiceError

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def try_read(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """The typed body, or None where it is not what the exchange documents."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read(decoder: msgspec.json.Decoder[T], response: HttpResponse, what: str) -> T:
    """The typed body of a good answer; ServiceError EXCHANGE_UNAVAILABLE where it is unreadable."""
    value = try_read(decoder, response.body)
    if value is None:
        raise ServiceError(
            f"The exchange's answer about {what} could not be read.", "EXCHANGE_UNAVAILABLE"
        )
    return value


def time_of_ms(time_ms: int) -> datetime | None:
    """Aware UTC of Unix milliseconds; None for zero, negative or absurd ones."""
    if not 0 < time_ms < 253_402_300_800_000:
        return None
    return _EPOCH + timedelta(milliseconds=time_ms)


def finite(value: Decimal | None) -> Decimal | None:
    """`value` unless it is NaN, infinite or negative."""
    return value if value is not None and value.is_finite() and value >= 0 else None

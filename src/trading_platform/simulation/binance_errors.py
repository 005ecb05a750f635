"""Binance's refusals with their exact codes and texts (errors.md, filters.md, as of 2026)."""

from collections.abc import Mapping
from typing import Any

from trading_platform.simulation.model import RefusalKind, SimRefusal


class BinanceError(Exception):
    """An error answer: `{"code", "msg"}` with an HTTP status."""

    def __init__(
        self,
        code: int,
        msg: str,
        status: int = 400,
        *,
        data: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(msg)
        self.code, self.msg, self.status = code, msg, status
        self.data = data
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The JSON of the REST answer."""
        extra = {} if self.data is None else {"data": self.data}
        return {"code": self.code, "msg": self.msg, **extra}


def illegal(name: str, pattern: str) -> BinanceError:
    """-1100"""
    return BinanceError(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
    )


def missing(name: str) -> BinanceError:
    """-1102"""
    return BinanceError(
        -1102,
        f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
    )


def unread(read: int, sent: int) -> BinanceError:
    """-1104"""
    return BinanceError(
        -1104,
        f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.",
    )


def not_required(name: str) -> BinanceError:
    """-1106"""
    return BinanceError(-1106, f"Parameter '{name}' sent when not required.")


def too_precise(name: str) -> BinanceError:
    """-1111"""
    return BinanceError(-1111, f"Parameter '{name}' has too much precision.")


def filter_failure(name: str) -> BinanceError:
    """-1013"""
    return BinanceError(-1013, f"Filter failure: {name}")


def invalid_symbol() -> BinanceError:
    """-1121"""
    return BinanceError(-1121, "Invalid symbol.")


def bad_key_format() -> BinanceError:
    """-2014"""
    return BinanceError(-2014, "API-key format invalid.", 401)


def bad_key() -> BinanceError:
    """-2015"""
    return BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def bad_signature() -> BinanceError:
    """-1022"""
    return BinanceError(-1022, "Signature for this request is not valid.")


def unknown_order() -> BinanceError:
    """-2011: not open now, or never was."""
    return BinanceError(-2011, "Unknown order sent.")


def of_refusal(refusal: SimRefusal) -> BinanceError:
    """What the matching engine refused, in Binance's words."""
    if refusal.kind is RefusalKind.UNKNOWN_SYMBOL:
        return invalid_symbol()
    if refusal.kind is RefusalKind.UNKNOWN_ORDER:
        return unknown_order()
    if refusal.kind is RefusalKind.INVALID:
        return filter_failure("LOT_SIZE")
    return BinanceError(-2010, refusal.message)

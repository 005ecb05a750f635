"""Request parameters read the way Binance reads them: from query, form body, or JSON (pure)."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar
from urllib.parse import unquote_plus

from trading_platform.simulation import binance_errors as errors

_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_INTEGER = r"^[0-9]{1,20}$"
_SYMBOL = r"^[\w\-._&&[^a-z]]{1,50}$"
_SYMBOL_CHECK = re.compile(r"(?:(?![a-z])[\w\-.]){1,50}")
CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_DECIMALS_MAX = 8

EnumT = TypeVar("EnumT", bound=StrEnum)


def split_pairs(raw: str) -> list[tuple[str, str]]:
    """`k=v` pairs of a raw query or form body in order, still percent-encoded."""
    pairs = (part.partition("=") for part in raw.split("&") if part)
    return [(name, value) for name, _, value in pairs]


def merge(query: str, body: str) -> dict[str, str]:
    """Decoded parameters of both; the query wins. -1101 when one source names a parameter twice."""
    merged: dict[str, str] = {}
    for raw in (body, query):
        pairs = [(unquote_plus(name), unquote_plus(value)) for name, value in split_pairs(raw)]
        if len({name for name, _ in pairs}) != len(pairs):
            raise errors.BinanceError(-1101, "Duplicate values for a parameter detected.")
        merged.update(pairs)
    return merged


def of_json(values: Mapping[str, object]) -> dict[str, str]:
    """WebSocket API params as text; numbers must have been decoded as their text."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


class Params:
    """The parameters of one call. `in_microseconds`: the caller wants times so."""

    def __init__(self, values: Mapping[str, str], *, in_microseconds: bool = False) -> None:
        self.values = values
        self._in_microseconds = in_microseconds

    def time(self, time_ns: int) -> int:
        """A time for the answer, in the unit asked for."""
        return time_ns // (1_000 if self._in_microseconds else 1_000_000)

    def known_only(self, names: Iterable[str]) -> None:
        """-1104 for a parameter that the endpoint does not read."""
        unread = set(self.values) - set(names)
        if unread:
            raise errors.unread(len(self.values) - len(unread), len(self.values))

    def has(self, name: str) -> bool:
        """Whether the parameter was sent with a value."""
        return bool(self.values.get(name))

    def text(self, name: str) -> str:
        """A mandatory text."""
        value = self.values.get(name)
        if not value:
            raise errors.missing(name)
        return value

    def text_or(self, name: str, default: str) -> str:
        """An optional text."""
        return self.values.get(name) or default

    def symbol(self) -> str:
        """A mandatory exchange symbol, well-formed but not yet known."""
        symbol = self.text("symbol")
        if not _SYMBOL_CHECK.fullmatch(symbol):
            raise errors.illegal("symbol", _SYMBOL)
        return symbol

    def symbols(self) -> list[str]:
        """The `symbols` JSON list."""
        try:
            value = json.loads(self.text("symbols"))
        except (ValueError, RecursionError):
            raise errors.illegal(
                "symbols", r"^\[(\"[\w\-._&&[^a-z]]{1,50}\"(,\"...\"){0,}){0,1}\]$"
            ) from None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise errors.missing("symbols")
        if len(set(value)) != len(value) or not value:
            raise errors.BinanceError(-1151, "Symbol is present multiple times in the list.")
        return value

    def integer(self, name: str) -> int | None:
        """An optional non-negative whole number."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not re.fullmatch(_INTEGER, value, re.ASCII):
            raise errors.illegal(name, _INTEGER)
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """`limit`, capped as Binance caps it."""
        value = self.integer("limit")
        if value is None:
            return default
        if value < 1:
            raise errors.missing("limit")
        return min(value, most)

    def decimal(self, name: str) -> Decimal | None:
        """An optional amount: plain digits, at most eight decimals."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not re.fullmatch(_DECIMAL, value, re.ASCII):
            raise errors.illegal(name, _DECIMAL)
        if len(value.partition(".")[2].rstrip("0")) > _DECIMALS_MAX:
            raise errors.too_precise(name)
        return Decimal(value)

    def one_of(self, name: str, kind: type[EnumT], refused: errors.BinanceError) -> EnumT:
        """A mandatory value of an enumeration."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise refused from None

    def flag(self, name: str, *, default: bool = False) -> bool:
        """An optional true or false."""
        value = self.text_or(name, "true" if default else "false").lower()
        if value not in ("true", "false"):
            raise errors.illegal(name, "^(true|false)$")
        return value == "true"

    def client_id(self, name: str) -> str | None:
        """An optional client order id."""
        if name not in self.values:
            return None
        value = self.values[name]
        if not re.fullmatch(CLIENT_ID, value, re.ASCII):
            raise errors.illegal(name, CLIENT_ID)
        return value

"""Typed secrets as the JSON that is stored: field names as in the requirements (camelCase)."""

from typing import TypeVar

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import (
    AIProviderCredentials,
    DataSourceCredentials,
    ExchangeCredentials,
    Secret,
)

Credentials = ExchangeCredentials | AIProviderCredentials | DataSourceCredentials
Kind = TypeVar("Kind", bound=Credentials)


def to_payload(credentials: Credentials) -> Secret:
    """The text to store."""
    fields = {_camel(field): getattr(credentials, field) for field in credentials.__struct_fields__}
    kept = {name: value for name, value in fields.items() if value is not None}
    return Secret(msgspec.json.encode(kept, enc_hook=_opened, order="sorted").decode())


def from_payload(payload: Secret, kind: type[Kind]) -> Kind:
    """What the text says; UNUSABLE_DATA, without a word of it, when it is no such credential."""
    found = _decoded(payload, kind)
    if found is None:
        # Not chained, and with nothing opened at hand: a decoder's message or frame may hold it.
        raise ServiceError(
            f"what is stored is no {kind.__name__}: fields are missing or of another type. "
            "Store it anew.",
            "UNUSABLE_DATA",
        )
    return found


def _decoded(payload: Secret, kind: type[Kind]) -> Kind | None:
    try:
        fields = msgspec.json.decode(payload.open(), type=dict[str, object])
        snake = {_snake(name): value for name, value in fields.items()}
        return msgspec.convert(snake, kind, dec_hook=_closed)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def _plain(value: object) -> object:
    # A set has no order of its own; the same credentials must give the same text.
    return sorted(value) if isinstance(value, frozenset) else value


def _opened(value: object) -> object:
    if isinstance(value, Secret):
        return value.open()
    raise TypeError


def _closed(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str) and value:
        return Secret(value)
    raise msgspec.ValidationError


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

"""Typed secrets as the JSON that is stored: field names as in the requirements (camelCase)."""

from datetime import datetime
from typing import TypeVar

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import (
    AIProviderCredentials,
    DataSourceCredentials,
    ExchangeCredentials,
    Secret,
)

Credentials = TypeVar(
    "Credentials", ExchangeCredentials, AIProviderCredentials, DataSourceCredentials
)


def to_payload(
    credentials: ExchangeCredentials | AIProviderCredentials | DataSourceCredentials,
) -> Secret:
    """The text to store."""
    fields = {_camel(field): getattr(credentials, field) for field in credentials.__struct_fields__}
    kept = {name: value for name, value in fields.items() if value is not None}
    return Secret(msgspec.json.encode(kept, enc_hook=_opened, order="sorted").decode())


def from_payload(payload: Secret, kind: type[Credentials]) -> Credentials:
    """What the text says; UNUSABLE_DATA, without a word of it, when it is no such credential."""
    try:
        fields = msgspec.json.decode(payload.open(), type=dict[str, object])
        return msgspec.convert(
            {_snake(name): value for name, value in fields.items()}, kind, dec_hook=_closed
        )
    except (msgspec.ValidationError, msgspec.DecodeError):
        # Not chained: a decoder's message may quote what it could not read.
        raise ServiceError(
            f"what is stored is no {kind.__name__}: fields are missing or of another type. "
            "Store it anew.",
            "UNUSABLE_DATA",
        ) from None


def _opened(value: object) -> object:
    if isinstance(value, Secret):
        return value.open()
    if isinstance(value, datetime):
        return value.isoformat()
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

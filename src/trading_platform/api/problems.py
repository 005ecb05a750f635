"""Every refusal as a problem document (RFC 9457), and validation errors as sentences."""

import math
import re
from collections.abc import Mapping
from enum import EnumType
from typing import Any, get_args

import msgspec

from trading_platform.kit.errors import CODES, ServiceError
from trading_platform.observability.redaction import clean, clean_text

CONTENT_TYPE = "application/problem+json"
_ECHO = re.compile(
    r"(?P<lead>unknown field |enum value )(?P<quote>[`'])(?P<name>.*)(?P=quote)", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_]{1,32}")
_PATH = re.compile(r" - at `(?P<where>[^`]+)`$")


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What went wrong and what to do. `code` is a row of docs/errors.md; `message` is `detail`."""

    type: str
    title: str
    status: int
    code: str
    message: str
    detail: str
    help: str
    retryable: bool
    correlation_id: str
    retry_after: int | None = None
    """Whole seconds to wait before trying again."""
    metadata: dict[str, Any] | None = None


def problem_of(error: ServiceError, correlation_id: str) -> Problem:
    """The document that says `error`; keys of ours in it are masked."""
    row, message = CODES[error.code], clean_text(error.message)
    metadata = clean(error.metadata)
    retry_after = metadata.pop("retryAfter", None)
    return Problem(
        type=f"urn:trading-platform:error:{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=row.status_code,
        code=error.code,
        message=message,
        detail=message,
        help=row.help,
        retryable=row.retryable,
        correlation_id=correlation_id,
        retry_after=None if retry_after is None else max(1, math.ceil(float(retry_after))),
        metadata=metadata or None,
    )


def unexpected() -> ServiceError:
    """What a caller hears of an error that nobody foresaw: nothing of its inside."""
    return ServiceError("Something went wrong on our side; it is logged.", "INTERNAL")


def descriptions(struct: type[msgspec.Struct]) -> dict[str, str]:
    """JSON field name -> what it must be, from the annotations of `struct`."""
    found = {}
    for field in msgspec.structs.fields(struct):
        schema = msgspec.json.schema(field.type)
        for part in (schema, *schema.get("anyOf", ())):
            if "description" in part and "$ref" not in part:
                found[field.encode_name] = part["description"]
        choices = _choices(field.type)
        if choices:
            found[field.encode_name] = f"one of {choices}"
    return found


def _choices(kind: Any) -> str:
    """The values of an enum, also of an optional one; nothing for other types."""
    values: list[Any] = []
    for part in (kind, *get_args(kind)):
        if isinstance(part, EnumType):
            values += part
    return ", ".join(values)


def _echo(found: re.Match[str]) -> str:
    """What a caller wrote where a name belongs, unless it may be a key in the wrong place."""
    lead, quote, name = found["lead"], found["quote"], found["name"]
    return found[0] if _NAME.fullmatch(name) else f"{lead}{quote}...{quote}"


def sentence(error: msgspec.DecodeError, hints: Mapping[str, str]) -> str:
    """A person's sentence for a decoding error, naming the field."""
    text = _ECHO.sub(_echo, str(error))
    if not isinstance(error, msgspec.ValidationError):
        return f"The body is not valid JSON: {text}."
    match = _PATH.search(text)
    if match is None:
        return text.replace("Object", "The body", 1).replace("`object`", "a JSON object") + "."
    where = match["where"].removeprefix("$").removeprefix(".")
    what = text[: match.start()]
    if "matching regex" in what:
        what = "has another form"
    what = what.replace("Invalid enum value", "there is no")
    hint = hints.get(where.split(".")[0].split("[")[0])
    return f"`{where}`: {what}." if hint is None else f"`{where}`: {what}. It must be {hint}."

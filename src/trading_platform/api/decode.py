"""From bytes to typed values, within bounds."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from trading_platform.api.problems import descriptions, sentence
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenBytes, HiddenText

BODY_BYTES_MAX = 64 * 1024
BODY_WAIT_S = 10.0
QUERY_FIELDS_MAX = 20
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Decoder:
    """Decodes one route's body and query."""

    def __init__(self, query: type[msgspec.Struct], body: type[msgspec.Struct]) -> None:
        self._query = query
        self._body = msgspec.json.Decoder(body)
        self._query_hints = descriptions(query)
        self._body_hints = descriptions(body)

    def body(self, raw: bytes) -> msgspec.Struct:
        """The typed body; INVALID_REQUEST with a sentence naming the field."""
        if not raw:
            raise ServiceError("Send a JSON object as the body.", "INVALID_REQUEST")
        try:
            decoded: msgspec.Struct = self._body.decode(raw)
            return decoded
        except msgspec.DecodeError as error:
            said = sentence(error, self._body_hints)
        except UnicodeDecodeError:
            said = "The body is not valid UTF-8."
        # Not `from` the error: it quotes what was sent, which may be a key in the wrong place.
        raise ServiceError(said, "INVALID_REQUEST")

    def query(self, raw: bytes) -> msgspec.Struct:
        """The typed query parameters; each may stand once."""
        try:
            return msgspec.convert(_query_fields(raw), self._query, strict=False)
        except msgspec.ValidationError as error:
            said = sentence(error, self._query_hints).replace("The body", "The query")
        raise ServiceError(said, "INVALID_REQUEST")


def _query_fields(raw: bytes) -> dict[str, str]:
    pairs: list[tuple[str, str]] | None
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:  # UnicodeDecodeError is one; it quotes the query
        pairs = None
    if pairs is None:
        raise ServiceError("The query string is malformed.", "INVALID_REQUEST")
    if len(dict(pairs)) < len(pairs):
        del pairs  # a traceback may show local variables, and these may hold a key
        raise ServiceError("A query parameter stands twice.", "INVALID_REQUEST")
    return dict(pairs)


async def read_body(scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The whole body when it is JSON of at most BODY_BYTES_MAX; what is longer is not read."""
    _check_content_type(headers.get(b"content-type", b""))
    if int(headers.get(b"content-length", b"0")) > BODY_BYTES_MAX:
        raise _too_large()
    parts, size = list[HiddenBytes](), 0
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            while True:
                part, more = await _part(receive)
                parts.append(part)
                size += len(parts[-1])
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                if not more:
                    return HiddenBytes(b"".join(parts))
    except TimeoutError as error:
        raise ServiceError(
            f"The body did not arrive within {BODY_WAIT_S:g} s.", "INVALID_REQUEST"
        ) from error


async def _part(receive: Receive) -> tuple[HiddenBytes, bool]:
    """What came of the body, and whether more will."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ServiceError("The client went away.", "INVALID_REQUEST")
    return HiddenBytes(message.get("body", b"")), message.get("more_body", False)


def _too_large() -> ServiceError:
    return ServiceError(
        f"The body is larger than {BODY_BYTES_MAX // 1024} KiB.", "REQUEST_TOO_LARGE"
    )


def _check_content_type(value: bytes) -> None:
    kind, _, parameters = value.decode("latin-1").lower().partition(";")
    if kind.strip() != "application/json" or parameters.strip().replace('"', "") not in (
        "",
        "charset=utf-8",
    ):
        raise ServiceError(
            "Send the body as `Content-Type: application/json`, in UTF-8.", "INVALID_REQUEST"
        )


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """The key of `Authorization: Bearer <api key>`."""
    scheme, key = map(HiddenText, _scheme_and_key(headers.get(b"authorization", b"")))
    if scheme.lower() != "bearer" or not key:
        raise ServiceError(
            "Who are you? Send `Authorization: Bearer <api key>`.", "NOT_AUTHENTICATED"
        )
    return key


def _scheme_and_key(header: bytes) -> tuple[str, str]:
    scheme, _, key = header.decode("latin-1").partition(" ")
    return scheme, key.strip()


def idempotency_key(headers: Mapping[bytes, bytes]) -> str:
    """The Idempotency-Key header: 1 to 128 visible ASCII characters."""
    key = headers.get(b"idempotency-key", b"").decode("latin-1")
    if not _KEY.fullmatch(key):
        raise ServiceError(
            "Send an `Idempotency-Key` header of 1 to 128 visible ASCII characters: the same key "
            "with the same body never places a second order.",
            "INVALID_REQUEST",
        )
    return key


def check_path(parameters: Mapping[str, str]) -> None:
    """Refuse ids that nothing of ours can have."""
    if not all(_ID.fullmatch(value) for value in parameters.values()):
        raise ServiceError("There is no such thing.", "NOT_FOUND")

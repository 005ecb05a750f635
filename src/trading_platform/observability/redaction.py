"""The last line of defence: what must never reach a log line is masked, whoever put it there.

The first line is that nobody puts it there: secrets are a type that prints as dots.
"""

import re
from collections.abc import Mapping
from typing import Any

MASK = "•••"
TEXT_MAX = 8192
ITEMS_MAX = 100
DEPTH_MAX = 6

_SECRET_NAMES = re.compile(
    r"(secret|password|passphrase|passwd|authorization|cookie|signature|privatekey|apikey|bearer"
    r"|accesstoken|listenkey|pepper|masterkey)s?$"
)
_OUR_KEYS = re.compile(r"\btp_[a-z]+_[A-Za-z0-9_\-]{6,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}")
_IN_URL = re.compile(r"(?i)\b(signature|apikey|api_key|token|secret|passphrase)=[^&\s'\"]+")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is masked, in any spelling: apiKey, api_key, API-KEY."""
    return bool(_SECRET_NAMES.search(re.sub(r"[^a-z]", "", name.lower())))


def clean_text(text: str) -> str:
    """`text` without anything that looks like a key of ours, a bearer token or a signed query;
    at most TEXT_MAX characters.
    """
    text = _OUR_KEYS.sub(f"tp_{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _IN_URL.sub(rf"\1={MASK}", text)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}... ({len(text)} characters)"


def clean(value: Any, depth: int = 0) -> Any:
    """`value` as plain JSON values with secrets masked; bounded in depth, items and text.

    An object of an unknown type becomes its text, so a Secret stays dots.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if depth >= DEPTH_MAX:
        return "..."
    if isinstance(value, Mapping):
        return {
            str(name): MASK if is_secret_name(str(name)) else clean(item, depth + 1)
            for name, item in list(value.items())[:ITEMS_MAX]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    return clean_text(str(value))

"""API key text: `tp_live_<10 id><32 secret>_<6 checksum>`, base 62.

1. The secret carries 190 bits of randomness; the id only finds the row.
2. The checksum (CRC-32) catches typing errors before any store is asked, and lets secret scanners
   tell a key from noise. It protects nothing.
3. What is stored is HMAC-SHA-256 of the whole text under a pepper kept outside the store: no slow
   hash is needed for a secret nobody can guess.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable

import msgspec

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LEAD = "tp_live_"
PEPPER_BYTES_MIN = 32

_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 10, 32, 6
_SHAPE = re.compile(
    f"{LEAD}([0-9A-Za-z]{{{_ID_LENGTH}}})[0-9A-Za-z]{{{_SECRET_LENGTH}}}"
    f"_([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)

Choose = Callable[[str], str]


class KeyText(msgspec.Struct, frozen=True):
    """A well-formed key. Prints as dots after its id."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        return f"{LEAD}{self.key_id}..."

    __str__ = __repr__


def new_key(choose: Choose = secrets.choice) -> KeyText:
    """A fresh key; `choose` draws one character of an alphabet."""
    body = "".join(choose(ALPHABET) for _ in range(_ID_LENGTH + _SECRET_LENGTH))
    return KeyText(body[:_ID_LENGTH], f"{LEAD}{body}_{_checksum(LEAD + body)}")


def parse(text: str) -> KeyText | None:
    """The key, or None when it has another shape or a wrong checksum."""
    found = _SHAPE.fullmatch(text)
    if found is None or _checksum(text[: -_CHECKSUM_LENGTH - 1]) != found[2]:
        return None
    return KeyText(found[1], text)


def keyed_hash(key: KeyText, pepper: bytes) -> bytes:
    """What may be stored: useless without the pepper."""
    return hmac.new(pepper, key.text.encode(), hashlib.sha256).digest()


def matches(stored: bytes, presented: bytes) -> bool:
    """Whether two keyed hashes are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(stored, presented)


def _checksum(text: str) -> str:
    value, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    return digits

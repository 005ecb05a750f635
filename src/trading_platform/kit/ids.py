"""Identifiers: sortable by creation for our own records, derived for what must be repeatable."""

import hashlib
import secrets
from collections.abc import Callable
from uuid import UUID

NewId = Callable[[str], str]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case


def _base32(value: int, length: int) -> str:
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))


def sortable_id(
    prefix: str, time_ns: int, randomness: Callable[[int], bytes] = secrets.token_bytes
) -> str:
    """`<prefix>-<26 characters>`: 48 bits of milliseconds, then 80 random bits, as in the ULID
    specification.
    """
    milliseconds = time_ns // 1_000_000
    tail = int.from_bytes(randomness(10), "big")
    return f"{prefix}-{_base32((milliseconds << 80) | tail, 26)}"


def derived_uuid(lead: str, *parts: str) -> str:
    """A version-4-shaped UUID that starts with the 8 hex digits `lead` and is a hash of `parts`.

    The same parts always give the same id; 90 bits are left to the hash. Lower case with hyphens,
    36 characters: the only form that both Binance and Coinbase Exchange take as a client order id.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]
    return str(UUID(bytes=bytes.fromhex(lead) + digest[4:], version=4))

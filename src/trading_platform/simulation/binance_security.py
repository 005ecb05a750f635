"""Who is asking: API key, signature over the raw bytes, and time (pure).

rest-api "Request Security" and "Timing security": the payload is query + body with nothing between,
without the signature pair, exactly as sent. HMAC keys sign in hex, Ed25519 and RSA keys in base64.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from urllib.parse import unquote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_params import split_pairs
from trading_platform.simulation.model import SimKey

AHEAD_MS_MAX = 1000
_RECV_WINDOW_MS = 5000.0
_RECV_WINDOW_MS_MAX = 60_000.0
_MICROSECONDS_FROM = 100_000_000_000_000  # a millisecond time stays below this until the year 5138
# What may stand unescaped in a percent-encoded pair; anything else was signed before encoding.
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-_.~!*'()+=&]|%[0-9A-Fa-f]{2})*")


class Security(StrEnum):
    """What an operation demands. KEY: the header only, no signature."""

    NONE = "NONE"
    KEY = "KEY"
    READ = "READ"
    TRADE = "TRADE"

    @property
    def signed(self) -> bool:
        """Whether timestamp and signature are needed."""
        return self in (Security.READ, Security.TRADE)


KeyOf = Callable[[str], SimKey | None]


def known_key(api_key: str | None, key_of: KeyOf) -> SimKey:
    """The key named in the header, or -2014 / -2015."""
    if not api_key or not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", api_key):
        raise errors.bad_key_format()
    key = key_of(api_key)
    if key is None:
        raise errors.bad_key()
    return key


def permit(key: SimKey, security: Security) -> None:
    """-2015 when the key lacks the right."""
    if security.signed and security.value not in key.permissions:
        raise errors.bad_key()


def rest_payload(query: str, body: str) -> tuple[str, str]:
    """(payload, decoded signature) of a signed REST request."""
    if not _ENCODED.fullmatch(query) or not _ENCODED.fullmatch(body):
        raise errors.bad_signature()
    signature, kept = "", []
    for raw in (query, body):
        pairs = split_pairs(raw)
        signature = next((value for name, value in pairs if name == "signature"), signature)
        kept.append("&".join(part for part in raw.split("&") if not part.startswith("signature=")))
    if not signature:
        raise errors.missing("signature")
    return "".join(kept), unquote(signature)


def socket_payloads(params: Mapping[str, str]) -> tuple[str, str]:
    """The two forms a WebSocket API signature may be made over: raw (documented) and urlencoded
    (what the official Python SDK does).
    """
    pairs = sorted((name, value) for name, value in params.items() if name != "signature")
    return "&".join(f"{name}={value}" for name, value in pairs), urlencode(pairs)


def verify(key: SimKey, payload: str, signature: str) -> bool:
    """Whether `signature` is the key's over `payload`."""
    message = payload.encode()
    if key.ed25519_public_pem is None:
        expected = hmac.new(key.secret.encode(), message, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.lower().encode())
    public = load_pem_public_key(key.ed25519_public_pem.encode())
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(public, Ed25519PublicKey):
            public.verify(raw, message)
        elif isinstance(public, RSAPublicKey):
            public.verify(raw, message, PKCS1v15(), SHA256())
        else:
            return False
    except (InvalidSignature, binascii.Error):
        return False
    return True


def check_time(params: Mapping[str, str], now_ms: float) -> None:
    """-1021 when the request is from the future or too old; bounds as documented."""
    timestamp = params.get("timestamp", "")
    if not re.fullmatch(r"[0-9]{1,18}", timestamp, re.ASCII):
        raise errors.missing("timestamp")
    sent_ms = int(timestamp) / (1000 if int(timestamp) >= _MICROSECONDS_FROM else 1)
    if sent_ms >= now_ms + AHEAD_MS_MAX:
        raise errors.BinanceError(
            -1021, "Timestamp for this request was 1000ms ahead of the server's time."
        )
    if now_ms - sent_ms > _recv_window_ms(params):
        raise errors.BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")


def _recv_window_ms(params: Mapping[str, str]) -> float:
    text = params.get("recvWindow")
    if text is None:
        return _RECV_WINDOW_MS
    if not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,3})?", text, re.ASCII):
        raise errors.illegal("recvWindow", r"^[0-9]{1,8}(\.[0-9]{1,3})?$")
    if float(text) > _RECV_WINDOW_MS_MAX:
        raise errors.BinanceError(-1131, "recvWindow must be less than 60000.")
    return float(text)

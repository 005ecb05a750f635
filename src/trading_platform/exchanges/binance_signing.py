"""How Binance wants a request signed (rest-api "Request Security", web-socket-api "SIGNED").

REST: percent-encode first, sign the encoded bytes. WebSocket API: sort by name, sign raw UTF-8.
Pure: opened key material comes in, text goes out.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trading_platform.kit.errors import ServiceError

Sign = Callable[[bytes], str]


def hmac_sign(secret: str, payload: bytes) -> str:
    """Lower-case hex of HMAC-SHA256."""
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


def ed25519_sign(key: Ed25519PrivateKey, payload: bytes) -> str:
    """Base64 of the raw 64-byte signature."""
    return base64.b64encode(key.sign(payload)).decode()


def is_private_key(secret: str) -> bool:
    """Whether the secret is a PEM key rather than an HMAC secret."""
    return "PRIVATE KEY-----" in secret


def read_private_key(pem: str) -> Ed25519PrivateKey:
    """The Ed25519 key of a PKCS#8 PEM; ServiceError INVALID_REQUEST for any other kind."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        # The cause is dropped on purpose: its text may quote the key.
        raise ServiceError(
            "The private key is not readable PEM (PKCS#8, without password).", "INVALID_REQUEST"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ServiceError(
            "Only Ed25519 private keys and HMAC secrets are taken for Binance.", "INVALID_REQUEST"
        )
    return key


def encode(pairs: Sequence[tuple[str, str]]) -> str:
    """`k=v&k=v`, values percent-encoded as UTF-8, in the order given."""
    return urlencode(pairs, quote_via=quote, safe="")


def sign_query(pairs: Sequence[tuple[str, str]], sign: Sign) -> str:
    """The encoded parameters with the signature, itself percent-encoded, at the end."""
    payload = encode(pairs)
    return f"{payload}&signature={quote(sign(payload.encode()), safe='')}"


def sign_params(params: Mapping[str, str | int], sign: Sign) -> dict[str, str | int]:
    """WebSocket API parameters with their signature added, plain."""
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
    return {**params, "signature": sign(payload.encode())}

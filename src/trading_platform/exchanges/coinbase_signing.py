"""How Coinbase Exchange wants a request signed (rest-api/authentication). Pure."""

import base64
import binascii
import hashlib
import hmac

from trading_platform.kit.errors import ServiceError


def sign(secret: str, timestamp: str, method: str, path_and_query: str, body: bytes) -> str:
    """CB-ACCESS-SIGN: base64 of HMAC-SHA256 under the decoded secret.

    `timestamp` is the very text of the header, Unix seconds; `path_and_query` the very bytes of the
    request line.
    """
    try:
        key = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        # The cause is dropped on purpose: it belongs to the secret.
        raise ServiceError(
            "The Coinbase API secret is not base64; paste it exactly as shown.", "INVALID_REQUEST"
        ) from None
    text = f"{timestamp}{method}{path_and_query}".encode() + body
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def timestamp_text(time_ms: int) -> str:
    """Unix seconds with three decimals."""
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"

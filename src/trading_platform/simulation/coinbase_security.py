"""Who signed a request to the simulated Coinbase Exchange (rest-api/authentication). Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from enum import StrEnum

from trading_platform.simulation.model import SimKey

TIMESTAMP_WINDOW_S = 30
LOGIN_PATH = "/users/self/verify"

FindKey = Callable[[str], SimKey | None]


class Permission(StrEnum):
    """What a call needs of its key; VIEW is also given by TRADE."""

    VIEW = "READ"
    TRADE = "TRADE"
    TRANSFER = "WITHDRAW"


class ApiError(Exception):
    """An answer that refuses: HTTP status and the message that goes with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def signature(secret: str, timestamp: str, method: str, path: str, body: bytes) -> str:
    """base64(HMAC-SHA256(base64decode(secret), timestamp + METHOD + path?query + body))."""
    message = f"{timestamp}{method.upper()}{path}".encode() + body
    digest = hmac.new(base64.b64decode(secret), message, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def authenticate_request(
    headers: Mapping[str, str], method: str, path: str, body: bytes, now_s: float, find: FindKey
) -> SimKey:
    """The key that signed the request; ApiError with the exchange's own words otherwise."""
    for name in ("CB-ACCESS-KEY", "CB-ACCESS-SIGN", "CB-ACCESS-TIMESTAMP", "CB-ACCESS-PASSPHRASE"):
        if not headers.get(name):
            raise ApiError(401, f"{name} header is required")
    return authenticate(
        api_key=headers["CB-ACCESS-KEY"],
        passphrase=headers["CB-ACCESS-PASSPHRASE"],
        timestamp=headers["CB-ACCESS-TIMESTAMP"],
        sign=headers["CB-ACCESS-SIGN"],
        message=(method, path, body),
        now_s=now_s,
        find=find,
    )


def authenticate(
    *,
    api_key: str,
    passphrase: str,
    timestamp: str,
    sign: str,
    message: tuple[str, str, bytes],
    now_s: float,
    find: FindKey,
) -> SimKey:
    """The same check for requests and for the feed's login."""
    _check_timestamp(timestamp, now_s)
    key = find(api_key)
    if key is None:
        raise ApiError(401, "Invalid API Key")
    if not hmac.compare_digest(passphrase.encode(), (key.passphrase or "").encode()):
        raise ApiError(401, "Invalid Passphrase")
    if not hmac.compare_digest(sign.encode(), _expected(key.secret, timestamp, message).encode()):
        raise ApiError(401, "invalid signature")
    return key


def _check_timestamp(timestamp: str, now_s: float) -> None:
    try:
        at_s = float(timestamp)
    except ValueError:
        raise ApiError(401, "invalid timestamp") from None
    if not abs(at_s - now_s) <= TIMESTAMP_WINDOW_S:  # also catches NaN
        raise ApiError(401, "request timestamp expired")


def _expected(secret: str, timestamp: str, message: tuple[str, str, bytes]) -> str:
    try:
        return signature(secret, timestamp, *message)
    except binascii.Error:  # the account was opened with a secret that is no base64: never matches
        return ""


def require(key: SimKey, permission: Permission) -> None:
    """403 unless the key may do this."""
    has = permission in key.permissions
    if permission is Permission.VIEW:
        has = has or Permission.TRADE in key.permissions
    if not has:
        raise ApiError(403, "Forbidden")

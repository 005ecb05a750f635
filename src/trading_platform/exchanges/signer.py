"""The only file that opens an exchange secret: a request and a time in, a signed request out.

1. A request is signed only for the host the signer was made for, and only if its method and path
   stand in SIGNABLE. Withdrawals, transfers and everything not named there are refused. The one
   withdrawal path in it asks whether a key may withdraw: only an empty body and no query pass.
2. No secret is put into a message, an error or a URL. (A Coinbase passphrase must travel as a
   header; `SignedRequest` does not print its headers.)
"""

import re
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from trading_platform.exchanges import binance_signing, coinbase_rights, coinbase_signing
from trading_platform.exchanges.dialect import HttpRequest, Security
from trading_platform.exchanges.key_forms import form_problem
from trading_platform.exchanges.rights import Refusal
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenText
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.model import ExchangeCredentials

_UUID = r"[0-9a-fA-F-]{36}"

SIGNABLE: Mapping[ExchangeId, Mapping[str, re.Pattern[str]]] = {
    ExchangeId.BINANCE: {
        "GET": re.compile(
            r"/api/v3/(order|openOrders|allOrders|myTrades|account|rateLimit/order)"
            r"|/sapi/v1/account/apiRestrictions"
        ),
        "POST": re.compile(r"/api/v3/order(/test)?"),
        "DELETE": re.compile(r"/api/v3/(order|openOrders)"),
    },
    ExchangeId.COINBASE: {
        "GET": re.compile(rf"/(accounts|orders|fills|fees|profiles)|/orders/(client:)?{_UUID}"),
        "POST": re.compile(rf"/orders|{coinbase_rights.WITHDRAWAL_PATH}"),
        "DELETE": re.compile(rf"/orders|/orders/(client:)?{_UUID}"),
    },
}

FORM = "application/x-www-form-urlencoded"


PASSPHRASE_HEADER = "CB-ACCESS-PASSPHRASE"  # noqa: S105 - the name of a header
"""The one header that carries a secret itself."""


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what is sent: no byte of it may change any more."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"SignedRequest({self.method} {self.url.partition('?')[0]})"


class Signer(Protocol):
    """Signs for one account at one exchange."""

    def sign(self, request: HttpRequest, time_ms: int) -> SignedRequest:
        """Ready to send; `time_ms` is the exchange's Unix time. Refuses with NOT_PERMITTED."""

    def sign_login(self, time_ms: int) -> Mapping[str, str | int]:
        """The fields that open this account's user stream."""


def unsigned(base_url: str, request: HttpRequest) -> SignedRequest:
    """A public request, ready to send; one that needs a signature is refused."""
    if request.security is not Security.PUBLIC:
        raise ServiceError(f"{request.path} needs a signature.", "INTERNAL")
    return SignedRequest(
        method=request.method,
        url=base_url + _path_and_query(request),
        headers={},
        body=request.body,
    )


def in_process_signer(
    exchange_id: ExchangeId, base_url: str, credentials: ExchangeCredentials
) -> Signer:
    """A signer that holds the opened secret in this process."""
    if exchange_id is ExchangeId.BINANCE:
        return BinanceSigner(base_url, credentials)
    return CoinbaseSigner(base_url, credentials)


def form_problem_of(
    exchange_id: ExchangeId, mode: ExchangeMode, credentials: ExchangeCredentials
) -> Refusal | None:
    """What shows to be wrong with a pasted key, without its texts; None where nothing does."""
    passphrase = credentials.passphrase
    return form_problem(
        exchange_id,
        mode,
        credentials.api_key,
        credentials.api_secret.open(),
        None if passphrase is None else passphrase.open(),
    )


class BinanceSigner:
    """HMAC or Ed25519, told apart by the shape of the secret."""

    def __init__(self, base_url: str, credentials: ExchangeCredentials) -> None:
        self._base_url = _checked_base(base_url)
        self._api_key = credentials.api_key
        self._sign = _binance_sign(HiddenText(credentials.api_secret.open()))

    def sign(self, request: HttpRequest, time_ms: int) -> SignedRequest:
        _check_signable(ExchangeId.BINANCE, request)
        pairs = (*request.query, ("timestamp", str(time_ms)))
        payload = binance_signing.sign_query(pairs, self._sign)
        headers = {"X-MBX-APIKEY": self._api_key}
        url = self._base_url + request.path
        if request.method == "POST":
            headers["Content-Type"] = FORM
            return SignedRequest(method="POST", url=url, headers=headers, body=payload.encode())
        return SignedRequest(method=request.method, url=f"{url}?{payload}", headers=headers)

    def sign_login(self, time_ms: int) -> Mapping[str, str | int]:
        params: Mapping[str, str | int] = {
            "apiKey": self._api_key,
            "recvWindow": 5000,
            "timestamp": time_ms,
        }
        return binance_signing.sign_params(params, self._sign)


class CoinbaseSigner:
    """HMAC with a passphrase beside it."""

    def __init__(self, base_url: str, credentials: ExchangeCredentials) -> None:
        if credentials.passphrase is None:
            raise ServiceError("Coinbase credentials need a passphrase.", "INVALID_REQUEST")
        self._base_url = _checked_base(base_url)
        self._api_key = credentials.api_key
        self._secret = credentials.api_secret
        self._passphrase = credentials.passphrase
        self._signature("0", "GET", "/", b"")  # refuse a bad one early

    def sign(self, request: HttpRequest, time_ms: int) -> SignedRequest:
        _check_signable(ExchangeId.COINBASE, request)
        target = _path_and_query(request)
        timestamp = coinbase_signing.timestamp_text(time_ms)
        headers = {
            "CB-ACCESS-KEY": self._api_key,
            "CB-ACCESS-SIGN": self._signature(timestamp, request.method, target, request.body),
            "CB-ACCESS-TIMESTAMP": timestamp,
            PASSPHRASE_HEADER: self._passphrase.open(),
        }
        if request.body:
            headers["Content-Type"] = "application/json"
        return SignedRequest(
            method=request.method, url=self._base_url + target, headers=headers, body=request.body
        )

    def sign_login(self, time_ms: int) -> Mapping[str, str | int]:
        timestamp = coinbase_signing.timestamp_text(time_ms)
        return {
            "signature": self._signature(timestamp, "GET", "/users/self/verify", b""),
            "key": self._api_key,
            "passphrase": self._passphrase.open(),
            "timestamp": timestamp,
        }

    def _signature(self, timestamp: str, method: str, target: str, body: bytes) -> str:
        secret = HiddenText(self._secret.open())
        return coinbase_signing.sign(secret, timestamp, method, target, body)


def _binance_sign(secret: str) -> Callable[[bytes], str]:
    if not binance_signing.is_private_key(secret):
        return lambda payload: binance_signing.hmac_sign(secret, payload)
    key = binance_signing.read_private_key(secret)
    return lambda payload: binance_signing.ed25519_sign(key, payload)


def _check_signable(exchange_id: ExchangeId, request: HttpRequest) -> None:
    pattern = SIGNABLE[exchange_id].get(request.method)
    if (
        pattern is None
        or not pattern.fullmatch(request.path)
        or (request.path == coinbase_rights.WITHDRAWAL_PATH and not _asks_only(request))
    ):
        raise ServiceError(
            f"{request.method} {request.path[:80]} is not a request that this platform signs.",
            "NOT_PERMITTED",
        )


def _asks_only(request: HttpRequest) -> bool:
    return request.body == coinbase_rights.EMPTY_BODY and not request.query


def _checked_base(base_url: str) -> str:
    parts = urlsplit(base_url)
    loopback = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        raise ServiceError("An exchange address is scheme, host and port only.", "INVALID_REQUEST")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise ServiceError(
            "Signed requests go to https addresses, or http on loopback.", "INVALID_REQUEST"
        )
    return base_url


def _path_and_query(request: HttpRequest) -> str:
    if not request.query:
        return request.path
    return f"{request.path}?{binance_signing.encode(request.query)}"

"""What a Coinbase Exchange key may do. No endpoint tells, so each right is tried harmlessly.

1. Reading: the accounts. 2. Trading: canceling an order that never was: 404 with the right, 403
without. 3. Transfers: a withdrawal with an empty body, which can withdraw nothing: it is refused as
incomplete (400) with the right and as forbidden (403) without. The signer signs no other body.
"""

from collections.abc import Sequence

import msgspec

from trading_platform.exchanges.coinbase_trading import ErrorBody, retry_after_s
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse, Security
from trading_platform.exchanges.probes import Probe
from trading_platform.exchanges.reading import try_read
from trading_platform.exchanges.rights import Facts
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeMode

WITHDRAWAL_PATH = "/withdrawals/crypto"
EMPTY_BODY = b"{}"
_ERROR = msgspec.json.Decoder(ErrorBody)
_ROWS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])


class CoinbaseRights:
    """RightsDialect of Coinbase Exchange."""

    def probes(self, mode: ExchangeMode, fresh_id: str) -> Sequence[Probe]:
        reading = Probe(request=_signed("GET", "/accounts"), read=read_accounts)
        trading = Probe(request=_signed("DELETE", f"/orders/client:{fresh_id}"), read=read_cancel)
        if mode is ExchangeMode.SANDBOX:  # it has no transfer endpoints
            return (reading, trading)
        body = _signed("POST", WITHDRAWAL_PATH, EMPTY_BODY)
        return (reading, trading, Probe(request=body, read=read_withdrawal))

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        return response.status in {400, 401} and "timestamp expired" in _message(response)


def read_accounts(response: HttpResponse) -> Facts:
    """Key, secret and passphrase are right, and the key may read."""
    if response.status == 403 and _message(response):
        return {"read": False}
    if response.status != 200:
        raise _none(response)
    if try_read(_ROWS, response.body) is None:
        raise ServiceError("Coinbase's accounts could not be read.", "EXCHANGE_UNAVAILABLE")
    return {"read": True}


def read_cancel(response: HttpResponse) -> Facts:
    """Only the exchange's own words count, not those of a gateway in front of it."""
    if response.status in {403, 404} and _message(response):
        return {"trade": response.status == 404}
    raise _none(response)


def read_withdrawal(response: HttpResponse) -> Facts:
    """Transfer is one right for withdrawals and transfers."""
    if response.status in {400, 403} and _message(response):
        may = response.status == 400
        return {"withdraw": may, "transfer": may}
    raise _none(response)


def _none(response: HttpResponse) -> ServiceError:
    words = _message(response)[:200]
    if response.status == 429:
        return ServiceError(
            "Coinbase asks us to wait; nothing was stored.",
            "RATE_LIMIT_EXCEEDED",
            metadata={"retryAfter": retry_after_s(response)},
        )
    if response.status == 401 and words:
        return ServiceError(
            f"Coinbase does not take this key ({words}): {_reason(words)}.",
            "CREDENTIAL_REFUSED",
            metadata={"reason": "NOT_TAKEN"},
        )
    what = words or f"HTTP {response.status}"
    return ServiceError(
        f"Coinbase could not be asked about the key: {what}", "EXCHANGE_UNAVAILABLE"
    )


def _reason(words: str) -> str:
    low = words.lower()
    if "passphrase" in low:
        return "the passphrase is not the one of this key"
    if "signature" in low:
        return "the API secret does not belong to the API key"
    if "ip" in low.split():
        return "this server's IP address is not on the key's list"
    return "the API key is unknown or deleted, or the key and the secret were swapped"


def _message(response: HttpResponse) -> str:
    error = try_read(_ERROR, response.body)
    return error.message if error else ""


def _signed(method: str, path: str, body: bytes = b"") -> HttpRequest:
    return HttpRequest(method=method, path=path, body=body, security=Security.SIGNED)

"""What a Binance key may do (wallet "Get API Key Permission", rest-api "Account information").

The spot test network has no wallet endpoints and no withdrawals: there the account proves reading,
and a test order, which never reaches the engine, proves trading.
"""

from collections.abc import Sequence

import msgspec

from trading_platform.exchanges.binance_trading import RECV_WINDOW_MS, ErrorBody, retry_after_s
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse, Security
from trading_platform.exchanges.probes import Probe
from trading_platform.exchanges.reading import read, try_read
from trading_platform.exchanges.rights import IP_RESTRICTED, Facts
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeMode

_KEY_CODES = frozenset({-1022, -2014, -2015})
_NOT_TAKEN = {
    -1022: "the API secret does not belong to the API key",
    -2014: "the API key has a form that Binance does not know",
    -2015: "the API key is unknown or deleted, or may not read, or is not allowed from this "
    "server's IP address, or the key and the secret were swapped",
}


class _Restrictions(msgspec.Struct, frozen=True, rename="camel"):
    """Every field that we rely on may be missing; then it is None and never means "no"."""

    ip_restrict: bool | None = None
    enable_reading: bool | None = None
    enable_withdrawals: bool | None = None
    enable_internal_transfer: bool | None = None
    permits_universal_transfer: bool | None = None
    enable_spot_and_margin_trading: bool | None = None


class _Account(msgspec.Struct, frozen=True, rename="camel"):
    can_trade: bool | None = None


_ERROR = msgspec.json.Decoder(ErrorBody)
_RESTRICTIONS = msgspec.json.Decoder(_Restrictions)
_ACCOUNT = msgspec.json.Decoder(_Account)


class BinanceRights:
    """RightsDialect of Binance spot."""

    def probes(self, mode: ExchangeMode, fresh_id: str) -> Sequence[Probe]:
        account = Probe(request=_signed("GET", "/api/v3/account"), read=read_account)
        if mode is ExchangeMode.SANDBOX:
            return (account, Probe(request=_test_order(fresh_id), read=read_test_order))
        path = "/sapi/v1/account/apiRestrictions"
        return (Probe(request=_signed("GET", path), read=read_restrictions), account)

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        error = try_read(_ERROR, response.body)
        return error is not None and error.code == -1021


def read_restrictions(response: HttpResponse) -> Facts:
    """The rights of the key itself; transfer is both kinds of it."""
    _check(response)
    told = read(_RESTRICTIONS, response, "the key's rights")
    transfers = (told.permits_universal_transfer, told.enable_internal_transfer)
    return {
        "read": told.enable_reading,
        "trade": told.enable_spot_and_margin_trading,
        "withdraw": told.enable_withdrawals,
        "transfer": True if True in transfers else None if None in transfers else False,
        IP_RESTRICTED: told.ip_restrict,
    }


def read_account(response: HttpResponse) -> Facts:
    """Reading works, and whether the account behind the key may trade at all."""
    _check(response)
    return {"read": True, "trade": read(_ACCOUNT, response, "the account").can_trade}


def read_test_order(response: HttpResponse) -> Facts:
    """-2015 after the account could be read is a key that may not trade."""
    error = try_read(_ERROR, response.body)
    if response.status != 200 and error is not None and error.code == -2015:
        return {"trade": False}
    _check(response)
    return {"trade": True}


def _check(response: HttpResponse) -> None:
    if response.status == 200:
        return
    error = try_read(_ERROR, response.body)
    if response.status in {418, 429}:
        wait_s = retry_after_s(response)
        raise ServiceError(
            "Binance asks us to wait; nothing was stored.",
            "RATE_LIMIT_EXCEEDED",
            metadata={"retryAfter": wait_s},
        )
    if error is not None and error.code in _KEY_CODES and response.status < 500:
        raise ServiceError(
            f"Binance does not take this key ({error.code}): {_NOT_TAKEN[error.code]}.",
            "CREDENTIAL_REFUSED",
            metadata={"reason": "NOT_TAKEN"},
        )
    what = f"{error.code} {error.msg}"[:200] if error else f"HTTP {response.status}"
    raise ServiceError(f"Binance could not be asked about the key: {what}", "EXCHANGE_UNAVAILABLE")


def _test_order(fresh_id: str) -> HttpRequest:
    return _signed(
        "POST",
        "/api/v3/order/test",
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("type", "MARKET"),
        ("quoteOrderQty", "50"),
        ("newClientOrderId", fresh_id),
    )


def _signed(method: str, path: str, *query: tuple[str, str]) -> HttpRequest:
    window = ("recvWindow", str(RECV_WINDOW_MS))
    return HttpRequest(method=method, path=path, query=(*query, window), security=Security.SIGNED)

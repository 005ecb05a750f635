"""Every signature is compared with a published or independently computed vector."""

import base64

import pytest

from trading_platform.exchanges import binance_signing, coinbase_signing
from trading_platform.exchanges.dialect import HttpRequest, Security
from trading_platform.exchanges.signer import (
    BinanceSigner,
    CoinbaseSigner,
    in_process_signer,
    unsigned,
)
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials, Secret

HMAC = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    "-----END PRIVATE KEY-----\n"
)
COINBASE_SECRET = base64.b64encode(bytes(range(64))).decode()
FULL_WIDTH = "１２３４５６"  # noqa: RUF001 - that is the documented vector
BASE = "https://api.binance.com"

ORDER = (
    ("symbol", "LTCBTC"),
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("timeInForce", "GTC"),
    ("quantity", "1"),
    ("price", "0.1"),
    ("recvWindow", "5000"),
)
WS_ORDER: dict[str, str | int] = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "recvWindow": 100,
    "timestamp": 1645423376532,
    "apiKey": KEY,
}


def binance(secret: str = HMAC) -> BinanceSigner:
    return BinanceSigner(BASE, ExchangeCredentials(api_key=KEY, api_secret=Secret(secret)))


def coinbase(secret: str = COINBASE_SECRET) -> CoinbaseSigner:
    return CoinbaseSigner(
        "https://api.exchange.coinbase.com",
        ExchangeCredentials(api_key="key", api_secret=Secret(secret), passphrase=Secret("phrase")),
    )


def request(method: str, path: str, query: tuple[tuple[str, str], ...] = ()) -> HttpRequest:
    return HttpRequest(method=method, path=path, query=query, security=Security.SIGNED)


def hmac(payload: bytes) -> str:
    return binance_signing.hmac_sign(HMAC, payload)


def ed25519(payload: bytes) -> str:
    return binance_signing.ed25519_sign(binance_signing.read_private_key(PEM), payload)


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (FULL_WIDTH, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_binance_post_is_encoded_then_signed_and_sent_in_the_body(
    symbol: str, signature: str
) -> None:
    query = (("symbol", symbol), *ORDER[1:])
    signed = binance().sign(request("POST", "/api/v3/order", query), 1499827319559)
    assert signed.url == f"{BASE}/api/v3/order"
    assert signed.body.endswith(f"&timestamp=1499827319559&signature={signature}".encode())
    assert signed.headers["X-MBX-APIKEY"] == KEY
    assert signed.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_binance_get_carries_the_signature_at_the_end_of_the_query() -> None:
    signed = binance().sign(request("GET", "/api/v3/order", ORDER), 1499827319559)
    assert signed.url.startswith(f"{BASE}/api/v3/order?symbol=LTCBTC&")
    assert signed.url.endswith("c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71")
    assert signed.body == b""


def test_binance_ed25519_signature_is_percent_encoded_base64() -> None:
    query = (
        ("symbol", "BTCUSDT"),
        ("side", "SELL"),
        ("type", "LIMIT"),
        ("timeInForce", "GTC"),
        ("quantity", "1"),
        ("price", "0.2"),
        ("timestamp", "1668481559918"),
        ("recvWindow", "5000"),
    )
    assert binance_signing.sign_query(query, ed25519).endswith(
        "&signature=m5loLRxgkb9HyW0wkZ4KNrpck881bx5D0OrKNnPklvk4tlGjEJkhiP9DoyC0sc1lXA%2F"
        "TWugjVPrMb%2FbfNdmdBw%3D%3D"
    )


@pytest.mark.parametrize(
    ("changes", "signature"),
    [
        ({}, "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"),
        (
            {
                "symbol": FULL_WIDTH,
                "side": "BUY",
                "quantity": "1.00000000",
                "price": "0.10000000",
                "recvWindow": 5000,
            },
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_binance_websocket_parameters_are_sorted_and_signed_raw(
    changes: dict[str, str | int], signature: str
) -> None:
    signed = binance_signing.sign_params({**WS_ORDER, **changes}, hmac)
    assert signed["signature"] == signature
    assert signed["symbol"] == {**WS_ORDER, **changes}["symbol"]


def test_binance_websocket_ed25519_is_plain_base64() -> None:
    signed = binance_signing.sign_params({"apiKey": KEY, "timestamp": 1747385641636}, ed25519)
    assert signed["signature"] == (
        "TQSyk9n+Av9M4QHCkqO4FsBAG0ET/hvat1Cz0EPupjCWxqTW3zBjRAd1ENY1xOo9YhU+tb4YFdoM7HpCzUR8Dw=="
    )


def test_binance_login_signs_the_key_the_window_and_the_time() -> None:
    for secret, sign in ((HMAC, hmac), (PEM, ed25519)):
        fields = binance(secret).sign_login(1747385641636)
        payload = f"apiKey={KEY}&recvWindow=5000&timestamp=1747385641636"
        assert fields["signature"] == sign(payload.encode())


@pytest.mark.parametrize(
    ("method", "path", "body", "signature"),
    [
        ("GET", "/accounts", b"", "lGvvBpm2+90FE7hZqwJzPbWnX7PPevkyoHGI0kMpjGk="),
        (
            "GET",
            "/orders?status=open&limit=100",
            b"",
            "KM/qFF2sBGqDk5lvVHd27kgWHbITLAgtM2TB6VoeN8E=",
        ),
        (
            "POST",
            "/orders",
            b'{"product_id":"BTC-USD","side":"buy","type":"limit","price":"100.00","size":"0.01"}',
            "0CGhcq/qRKJcUCiMtzHBfqLp6KFVv8N0EFm+lo6rLD4=",
        ),
        ("GET", "/users/self/verify", b"", "maXKiSsLPYaOmwbHMYPOnAk9dnfBM1tLuI8FmCJJfqM="),
    ],
)
def test_coinbase_signature(method: str, path: str, body: bytes, signature: str) -> None:
    assert coinbase_signing.sign(COINBASE_SECRET, "1700000000.123", method, path, body) == signature


def test_coinbase_request_carries_what_was_signed() -> None:
    query = (("status", "open"), ("limit", "100"))
    signed = coinbase().sign(request("GET", "/orders", query), 1700000000123)
    assert signed.url == "https://api.exchange.coinbase.com/orders?status=open&limit=100"
    assert signed.headers["CB-ACCESS-TIMESTAMP"] == "1700000000.123"
    assert signed.headers["CB-ACCESS-SIGN"] == "KM/qFF2sBGqDk5lvVHd27kgWHbITLAgtM2TB6VoeN8E="
    login = coinbase().sign_login(1700000000123)
    assert login["signature"] == "maXKiSsLPYaOmwbHMYPOnAk9dnfBM1tLuI8FmCJJfqM="


@pytest.mark.parametrize(
    ("exchange_id", "method", "path"),
    [
        (ExchangeId.BINANCE, "POST", "/sapi/v1/capital/withdraw/apply"),
        (ExchangeId.BINANCE, "POST", "/sapi/v1/asset/transfer"),
        (ExchangeId.BINANCE, "PUT", "/api/v3/order"),
        (ExchangeId.BINANCE, "GET", "/api/v3/order/../../../sapi/v1/capital/withdraw/apply"),
        (ExchangeId.BINANCE, "POST", "/api/v3/order@evil.example"),
        (ExchangeId.BINANCE, "POST", "/api/v3/order\n"),
        (ExchangeId.COINBASE, "POST", "/withdrawals/crypto"),
        (ExchangeId.COINBASE, "POST", "/transfers"),
        (ExchangeId.COINBASE, "GET", "/orders/../withdrawals/crypto"),
        (ExchangeId.COINBASE, "POST", "/orders?x=/withdrawals"),
        (ExchangeId.COINBASE, "POST", "//evil.example/orders"),
    ],
)
def test_what_is_not_trading_is_not_signed(exchange_id: ExchangeId, method: str, path: str) -> None:
    signer = binance() if exchange_id is ExchangeId.BINANCE else coinbase()
    with pytest.raises(ServiceError, match="not a request") as caught:
        signer.sign(request(method, path), 1)
    assert caught.value.code == "NOT_PERMITTED"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.binance.com",
        "https://api.binance.com/x",
        "https://a@evil.example",
        "ftp://x",
        "",
    ],
)
def test_a_signer_is_not_made_for_an_unsafe_address(base_url: str) -> None:
    credentials = ExchangeCredentials(api_key=KEY, api_secret=Secret(HMAC))
    with pytest.raises(ServiceError):
        in_process_signer(ExchangeId.BINANCE, base_url, credentials)


def test_bad_secrets_are_refused_without_being_quoted() -> None:
    for make, secret in (
        (binance, "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----"),
        (coinbase, "not base64 !"),
    ):
        with pytest.raises(ServiceError) as caught:
            make(secret)
        assert secret not in str(caught.value)
        assert "bm90" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(ServiceError, match="passphrase"):
        CoinbaseSigner(BASE, ExchangeCredentials(api_key="k", api_secret=Secret(COINBASE_SECRET)))


def test_a_signed_request_does_not_print_its_headers_or_parameters() -> None:
    shown = repr(coinbase().sign(request("GET", "/orders", (("limit", "9"),)), 1))
    assert shown == "SignedRequest(GET https://api.exchange.coinbase.com/orders)"


def test_a_private_request_is_never_sent_unsigned() -> None:
    with pytest.raises(ServiceError):
        unsigned(BASE, request("GET", "/api/v3/account"))

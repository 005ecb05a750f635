"""Signatures, timestamps, passphrases and permissions, in the exchange's own words."""

import pytest

from tests.unit.simulation.coinbase_desks import API_KEY, PASSPHRASE, SECRET, signed_headers
from trading_platform.simulation.coinbase_limits import Buckets, Rate
from trading_platform.simulation.coinbase_security import (
    ApiError,
    Permission,
    authenticate_request,
    require,
    signature,
)
from trading_platform.simulation.model import SimKey

KEY = SimKey(api_key=API_KEY, account_id="1001", secret=SECRET, passphrase=PASSPHRASE)
NOW_S = 1_700_000_000.123
AT = "1700000000.123"


def find(api_key: str) -> SimKey | None:
    return KEY if api_key == API_KEY else None


def check(headers: dict[str, str], now_s: float = NOW_S, body: bytes = b"") -> SimKey:
    return authenticate_request(headers, "GET", "/accounts", body, now_s, find)


def refusal(headers: dict[str, str], now_s: float = NOW_S) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        check(headers, now_s)
    return caught.value.status, caught.value.message


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
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
def test_the_reference_vectors_are_signed_as_given(
    method: str, path: str, body: bytes, expected: str
) -> None:
    assert signature(SECRET, AT, method, path, body) == expected


def test_a_rightly_signed_request_names_its_key() -> None:
    assert check(signed_headers("GET", "/accounts", timestamp=AT)) is KEY


def test_a_changed_path_body_or_secret_breaks_the_signature() -> None:
    other_path = signed_headers("GET", "/accounts?limit=1", timestamp=AT)
    assert refusal(other_path) == (401, "invalid signature")
    other_body = signed_headers("GET", "/accounts", b"{}", timestamp=AT)
    assert refusal(other_body) == (401, "invalid signature")
    other_secret = signed_headers("GET", "/accounts", timestamp=AT, secret="AAAA")
    assert refusal(other_secret) == (401, "invalid signature")


@pytest.mark.parametrize(
    ("now_s", "accepted"),
    [(NOW_S + 30, True), (NOW_S - 30, True), (NOW_S + 30.1, False), (NOW_S - 30.1, False)],
)
def test_a_timestamp_counts_for_thirty_seconds_both_ways(now_s: float, accepted: bool) -> None:
    headers = signed_headers("GET", "/accounts", timestamp=AT)
    if accepted:
        assert check(headers, now_s) is KEY
    else:
        assert refusal(headers, now_s) == (401, "request timestamp expired")


@pytest.mark.parametrize("timestamp", ["nan", "inf", "soon"])
def test_a_timestamp_that_is_no_time_is_refused(timestamp: str) -> None:
    headers = signed_headers("GET", "/accounts", timestamp=timestamp)
    assert refusal(headers)[0] == 401


def test_wrong_key_and_passphrase_are_named() -> None:
    stranger = signed_headers("GET", "/accounts", timestamp=AT, api_key="stranger")
    assert refusal(stranger) == (401, "Invalid API Key")
    wrong = signed_headers("GET", "/accounts", timestamp=AT, passphrase="pass\u00e9")
    assert refusal(wrong) == (401, "Invalid Passphrase")


@pytest.mark.parametrize(
    "name", ["CB-ACCESS-KEY", "CB-ACCESS-SIGN", "CB-ACCESS-TIMESTAMP", "CB-ACCESS-PASSPHRASE"]
)
def test_every_header_is_needed(name: str) -> None:
    headers = signed_headers("GET", "/accounts", timestamp=AT)
    del headers[name]
    assert refusal(headers) == (401, f"{name} header is required")


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ({"READ"}, {Permission.VIEW}),
        ({"TRADE"}, {Permission.VIEW, Permission.TRADE}),
        ({"WITHDRAW"}, {Permission.TRANSFER}),
        ({"READ", "TRADE", "WITHDRAW"}, set(Permission)),
    ],
)
def test_permissions_open_only_what_they_name(
    permissions: set[str], allowed: set[Permission]
) -> None:
    key = SimKey(api_key="k", account_id="1", secret=SECRET, permissions=frozenset(permissions))
    for permission in Permission:
        if permission in allowed:
            require(key, permission)
        else:
            with pytest.raises(ApiError, match="Forbidden"):
                require(key, permission)


def test_a_bucket_spends_its_burst_and_refills_with_time() -> None:
    buckets = Buckets(Rate(10, 15))
    assert [buckets.take("a", 0.0) for _ in range(16)] == [True] * 15 + [False]
    assert buckets.take("b", 0.0)  # another address has its own
    assert [buckets.take("a", 0.5) for _ in range(6)] == [True] * 5 + [False]
    assert not buckets.take("a", 0.55)
    assert buckets.take("a", 0.65)

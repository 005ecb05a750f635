"""Signatures and times, by the vectors of Binance's documentation and our own."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.simulation.venues import API_KEY, SECRET
from trading_platform.simulation.binance_errors import BinanceError
from trading_platform.simulation.binance_security import (
    check_time,
    rest_payload,
    socket_payloads,
    verify,
)
from trading_platform.simulation.model import SimKey

HMAC_KEY = SimKey(api_key=API_KEY, account_id="1", secret=SECRET)
# The public half of the Ed25519 key whose seed is the bytes 00 01 .. 1f.
ED25519_KEY = SimKey(
    api_key=API_KEY,
    account_id="1",
    secret="",
    ed25519_public_pem="-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n"
    "-----END PUBLIC KEY-----\n",
)
DOCUMENTED = (
    "symbol={}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
    "&recvWindow=5000&timestamp=1499827319559"
)
FULL_WIDTH = "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96"


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (FULL_WIDTH, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_documented_rest_vectors_verify_wherever_the_signature_stands(
    symbol: str, signature: str
) -> None:
    pairs = DOCUMENTED.format(symbol)
    head, _, tail = pairs.partition("&quantity")
    for query, body in (
        (f"{pairs}&signature={signature}", ""),
        ("", f"{pairs}&signature={signature}"),
        (f"signature={signature}&{pairs}", ""),
        (head, f"&quantity{tail}&signature={signature}"),
    ):
        payload, sent = rest_payload(query, body)
        assert payload == pairs
        assert verify(HMAC_KEY, payload, sent)
        assert verify(HMAC_KEY, payload, sent.upper())
        assert not verify(HMAC_KEY, payload + "0", sent)


def test_query_and_body_are_joined_with_nothing_between() -> None:
    payload, _ = rest_payload("a=1", "b=2&signature=x")
    assert payload == "a=1b=2"


def test_ed25519_vector_verifies_and_is_case_sensitive() -> None:
    payload = (
        "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2"
        "&timestamp=1668481559918&recvWindow=5000"
    )
    signature = (
        "m5loLRxgkb9HyW0wkZ4KNrpck881bx5D0OrKNnPklvk4tlGjEJkhiP9DoyC0sc1lXA/TWugjVPrMb/bfNdmdBw=="
    )
    assert verify(ED25519_KEY, payload, signature)
    assert not verify(ED25519_KEY, payload, signature.swapcase())
    assert not verify(ED25519_KEY, payload, "not base64!")


def test_socket_signature_covers_sorted_raw_parameters() -> None:
    params = {
        "timestamp": "1645423376532",
        "symbol": "１２３４５６",  # noqa: RUF001 - the documentation's own full-width digits
        "type": "LIMIT",
        "side": "BUY",
        "timeInForce": "GTC",
        "quantity": "1.00000000",
        "price": "0.10000000",
        "recvWindow": "5000",
        "apiKey": API_KEY,
        "signature": "ignored",
    }
    raw, encoded = socket_payloads(params)
    assert verify(HMAC_KEY, raw, "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd")
    assert raw != encoded


@pytest.mark.parametrize("raw", ['symbols=["BTCUSDT"]', "symbol=１", "a=b c"])  # noqa: RUF001
def test_payload_that_was_not_percent_encoded_has_no_valid_signature(raw: str) -> None:
    with pytest.raises(BinanceError) as refused:
        rest_payload(f"{raw}&signature=x", "")
    assert refused.value.code == -1022


NOW_MS = 1_793_356_800_000


@pytest.mark.parametrize(
    ("params", "ok"),
    [
        ({"timestamp": str(NOW_MS + 999)}, True),
        ({"timestamp": str(NOW_MS + 1000)}, False),
        ({"timestamp": str(NOW_MS - 5000)}, True),
        ({"timestamp": str(NOW_MS - 5001)}, False),
        ({"timestamp": str(NOW_MS - 6000), "recvWindow": "6000.346"}, True),
        ({"timestamp": str((NOW_MS - 4000) * 1000)}, True),
        ({"timestamp": str((NOW_MS - 6000) * 1000)}, False),
    ],
)
def test_time_window_has_the_documented_edges(params: dict[str, str], ok: bool) -> None:
    if ok:
        check_time(params, NOW_MS)
        return
    with pytest.raises(BinanceError) as refused:
        check_time(params, NOW_MS)
    assert refused.value.code == -1021


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -1102),
        ({"timestamp": "soon"}, -1102),
        ({"timestamp": str(NOW_MS), "recvWindow": "60001"}, -1131),
        ({"timestamp": str(NOW_MS), "recvWindow": "1e3"}, -1100),
    ],
)
def test_unusable_times_are_refused(params: dict[str, str], code: int) -> None:
    with pytest.raises(BinanceError) as refused:
        check_time(params, NOW_MS)
    assert refused.value.code == code


def test_rsa_key_signs_with_pkcs1_and_sha256() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = SimKey(api_key=API_KEY, account_id="1", secret="", ed25519_public_pem=pem.decode())
    signature = b64encode(private.sign(b"a=1", PKCS1v15(), SHA256())).decode()
    assert verify(key, "a=1", signature)
    assert not verify(key, "a=2", signature)

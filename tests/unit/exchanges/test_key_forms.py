"""A wrongly pasted key is named as such, and no message quotes it."""

import base64

import pytest

from tests.custody import a_key, opened
from trading_platform.exchanges.key_forms import form_problem
from trading_platform.market.instruments import ExchangeId, ExchangeMode

BINANCE, COINBASE = ExchangeId.BINANCE, ExchangeId.COINBASE
LIVE = ExchangeMode.PRODUCTION
KEY, SECRET = "k" * 32 + "K" * 32, "s" * 32 + "S" * 32
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
CB_KEY, CB_PASS = "0123456789abcdef" * 2, "hz9u1x2c3v"
CB_SECRET = base64.b64encode(bytes(range(64))).decode()


def code(exchange_id: ExchangeId, *parts: str | None, mode: ExchangeMode = LIVE) -> str | None:
    key, secret, passphrase = parts
    problem = form_problem(exchange_id, mode, str(key), str(secret), passphrase)
    if problem is None:
        return None
    for part in (key, secret, passphrase):
        if part is not None and part.strip():
            assert part not in problem.message
    return problem.code


@pytest.mark.parametrize("mode", ExchangeMode)
@pytest.mark.parametrize("exchange_id", ExchangeId)
def test_a_key_as_the_exchange_shows_it_passes(exchange_id: ExchangeId, mode: ExchangeMode) -> None:
    key = a_key(exchange_id)
    passphrase = opened(key.passphrase)
    assert code(exchange_id, key.api_key, key.api_secret.open(), passphrase, mode=mode) is None


def test_an_ed25519_key_is_an_api_secret_too() -> None:
    assert code(BINANCE, KEY, PEM, None) is None
    assert code(BINANCE, KEY, PEM.replace("\n", "\r\n"), None) is None


@pytest.mark.parametrize("around", [" {}", "{} ", "{}\n", "\t{}", "{}\r\n", "\u00a0{}", "{}\u2003"])
def test_spaces_around_a_pasted_key_are_named(around: str) -> None:
    assert code(BINANCE, around.format(KEY), SECRET, None) == "SPACES"
    assert code(BINANCE, KEY, around.format(SECRET), None) == "SPACES"
    assert code(COINBASE, CB_KEY, CB_SECRET, around.format(CB_PASS)) == "SPACES"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((KEY[:30] + " " + KEY[30:], SECRET, None), "SPACES"),
        ((f'"{KEY}"', SECRET, None), "QUOTES"),
        ((KEY, f"'{SECRET}'", None), "QUOTES"),
        ((KEY[:-1] + "\u0435", SECRET, None), "STRANGE"),  # a Cyrillic letter
        ((KEY, SECRET[:-1] + "\x00", None), "STRANGE"),
        (("", SECRET, None), "EMPTY"),
        ((KEY, "   ", None), "EMPTY"),
        ((KEY, "s" * 5000, None), "TOO_LONG"),
        ((KEY, KEY, None), "SAME"),
        ((KEY[:-1], SECRET, None), "FORM"),
        ((KEY, SECRET[:-1], None), "FORM"),
        ((KEY, SECRET, "a passphrase"), "SPACES"),
        ((KEY, SECRET, "hz9u1x2c3v"), "PASSPHRASE"),
        ((PEM, KEY, None), "SWAPPED"),
    ],
)
def test_what_cannot_be_a_binance_key_is_named(
    parts: tuple[str | None, ...], expected: str
) -> None:
    assert code(BINANCE, *parts) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((CB_SECRET, CB_KEY, CB_PASS), "SWAPPED"),
        ((CB_KEY, CB_PASS, CB_SECRET), "SWAPPED"),
        ((CB_KEY, CB_SECRET, None), "PASSPHRASE"),
        ((CB_KEY, CB_SECRET[:-1], CB_PASS), "FORM"),
        ((CB_KEY, "short", CB_PASS), "FORM"),
    ],
)
def test_what_cannot_be_a_coinbase_key_is_named(
    parts: tuple[str | None, ...], expected: str
) -> None:
    assert code(COINBASE, *parts) == expected


def test_swapped_simulated_keys_are_named() -> None:
    swapped = (CB_SECRET, "simulated-me", None)
    assert code(BINANCE, *swapped, mode=ExchangeMode.SIMULATED) == "SWAPPED"

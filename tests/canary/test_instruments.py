"""The canary test's own instruments: what they could not see would be worth nothing."""

import base64
import contextlib
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.canary.haystack import leaks
from tests.canary.locals_seen import LocalsSeen
from trading_platform.api.credentials import Credentials
from trading_platform.kit.hidden import HiddenBytes, HiddenText
from trading_platform.secrets.model import (
    AIProviderCredentials,
    DataSourceCredentials,
    ExchangeCredentials,
    Secret,
    SecretBytes,
)
from trading_platform.tenants import keys

CANARY = "canary/0123+secret&with=odd\nletters"
HOLDERS: list[Any] = [
    Secret(CANARY),
    SecretBytes(CANARY.encode()),
    HiddenText(CANARY),
    HiddenBytes(CANARY.encode()),
    ExchangeCredentials(api_key=CANARY, api_secret=Secret(CANARY), passphrase=Secret(CANARY)),
    AIProviderCredentials(api_key=Secret(CANARY)),
    DataSourceCredentials(api_key=Secret(CANARY)),
    Credentials(api_key=CANARY, api_secret=CANARY, passphrase=CANARY),
    keys.KeyText("an-id", CANARY),
]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("raw", CANARY.encode()),
        ("raw", CANARY.encode()[:20]),
        ("base64", base64.b64encode(CANARY.encode())),
        ("base64", base64.b64encode(b"x" + CANARY.encode() + b"y")),
        ("base64", base64.b64encode(b"xy" + CANARY.encode() + b"z")),
        ("base64", base64.urlsafe_b64encode(b"?" + CANARY.encode())),
        ("hex", CANARY.encode().hex().encode()),
        ("hex", CANARY.encode().hex().upper().encode()),
        ("url", quote(CANARY, safe="").encode()),
        ("escaped", repr(CANARY)[18:].encode()),
    ],
)
def test_a_secret_is_found_in_every_form(form: str, shown: bytes) -> None:
    found = leaks({"a log": b"before " + shown + b" after"}, {"it": CANARY})
    assert len(found) == 1
    assert found[0].startswith("it as ")
    assert form in {"raw", "escaped"} or f"as {form}" in found[0]


def test_what_is_no_secret_is_not_found() -> None:
    assert leaks({"a log": b"canary/ 0123 secret"}, {"it": CANARY}) == []


def _fails_with(holder: Any) -> None:
    raise ValueError("something")


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_secret_shows_none_in_a_traceback_with_locals(holder: Any) -> None:
    try:
        _fails_with([holder])
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert leaks({"it": "".join(shown.format()).encode()}, {"canary": CANARY}) == []


@pytest.mark.parametrize(
    "show",
    [repr, lambda holder: repr({"key": (holder,)}), lambda holder: f"{[holder]}"],
    ids=["repr", "inside", "formatted"],
)
@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_secret_prints_as_dots(holder: Any, show: Callable[[Any], str]) -> None:
    assert leaks({"it": show(holder).encode()}, {"canary": CANARY}) == []


@pytest.mark.parametrize("holder", HOLDERS[:2] + HOLDERS[4:7], ids=lambda each: type(each).__name__)
def test_what_keeps_a_secret_goes_into_no_text_json_or_pickle(holder: Any) -> None:
    secrets = {"canary": CANARY}
    assert leaks({"it": f"{holder} {holder!s} {holder!r}".encode()}, secrets) == []
    with pytest.raises(TypeError):
        msgspec.json.encode(holder)
    with pytest.raises(TypeError):
        pickle.dumps(holder)


def test_a_variable_that_holds_a_secret_when_an_error_passes_is_seen() -> None:
    seen = LocalsSeen(root=__file__)
    before = sys.gettrace()
    sys.settrace(seen)
    try:
        _careless(CANARY)
    finally:
        sys.settrace(before)
    assert len(leaks(seen.hay(), {"canary": CANARY})) == 1


def _careless(secret: str) -> None:
    with contextlib.suppress(ValueError):
        int(secret)

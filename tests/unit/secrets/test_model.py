"""Secrets do not leak through any usual way of printing."""

import copy
import json
import pickle
import traceback

import msgspec
import pytest

from trading_platform.secrets.model import DOTS, ExchangeCredentials, Secret

TEXT = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


def test_opening_is_the_only_way_to_the_text() -> None:
    secret = Secret(TEXT)
    assert secret.open() == TEXT
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>80}", f"{secret}"):
        assert TEXT not in shown
        assert DOTS in shown


def test_credentials_print_as_dots() -> None:
    credentials = ExchangeCredentials(
        api_key="key-1", api_secret=Secret(TEXT), passphrase=Secret("pass-word")
    )
    shown = repr(credentials)
    assert "key-1" not in shown  # where a secret may have been pasted by mistake
    assert TEXT not in shown
    assert "pass-word" not in shown


def test_serialisers_refuse_a_secret() -> None:
    secret = Secret(TEXT)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})
    with pytest.raises(TypeError):
        msgspec.json.encode(ExchangeCredentials(api_key="k", api_secret=secret))


def test_a_secret_has_no_dictionary_and_no_hash() -> None:
    secret = Secret(TEXT)
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_equal_secrets_are_equal_and_a_traceback_shows_none() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    try:
        raise ValueError(Secret(TEXT))
    except ValueError:
        assert TEXT not in traceback.format_exc()

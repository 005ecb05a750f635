"""API key text: shape, checksum, keyed hash."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_platform.tenants import keys
from trading_platform.tenants.keys import ALPHABET, KeyText

PEPPER = b"p" * 32


def a_key(seed: int = 1) -> KeyText:
    return keys.new_key(random.Random(seed).choice)


def test_a_key_has_the_documented_shape() -> None:
    assert re.fullmatch(r"tp_live_[0-9A-Za-z]{42}_[0-9A-Za-z]{6}", keys.new_key().text)


def test_a_new_key_parses_to_itself() -> None:
    key = keys.new_key()
    assert keys.parse(key.text) == key


def test_a_thousand_keys_differ_in_id_and_text() -> None:
    made = [keys.new_key() for _ in range(1000)]
    assert len({key.text for key in made}) == len({key.key_id for key in made}) == 1000


@given(seed=st.integers(), place=st.integers(0, 56), replacement=st.sampled_from(ALPHABET + "_ é"))
def test_one_changed_character_is_noticed(seed: int, place: int, replacement: str) -> None:
    text = a_key(seed).text
    changed = text[:place] + replacement + text[place + 1 :]
    assert (keys.parse(changed) is not None) == (changed == text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert keys.parse(text) is None
    assert keys.parse("tp_live_" + text) is None


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}{}", "Bearer {}"])
def test_a_key_with_anything_around_it_is_refused(around: str) -> None:
    text = a_key().text
    assert keys.parse(around.format(text, text)) is None


def test_a_key_prints_without_its_secret() -> None:
    key = a_key()
    for printed in (repr(key), str(key), f"{key}"):
        assert key.key_id in printed
        assert key.text[18:] not in printed
        assert key.text[18:30] not in printed


def test_the_keyed_hash_depends_on_every_character_and_on_the_pepper() -> None:
    key = a_key()
    hashes = {keys.keyed_hash(key, PEPPER), keys.keyed_hash(key, b"q" * 32)}
    for place in range(8, 50):
        text = key.text[:place] + ("1" if key.text[place] == "0" else "0") + key.text[place + 1 :]
        hashes.add(keys.keyed_hash(KeyText(key.key_id, text), PEPPER))
    assert len(hashes) == 2 + 42


def test_the_keyed_hash_stays_the_same_between_releases() -> None:
    known = KeyText("0123456789", "tp_live_0123456789" + "A" * 32 + "_000000")
    assert keys.keyed_hash(known, PEPPER).hex() == (
        "6d26301c0e64f8374702d03029a5314bcd85ed69a8555239cc553175e9590da6"  # by openssl dgst
    )

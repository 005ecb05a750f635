"""Sealed records: only what was sealed ever opens, and only where it belongs."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets import envelope
from trading_platform.secrets.envelope import DataKey, Envelope
from trading_platform.secrets.local_key import LocalMasterKey
from trading_platform.secrets.model import SecretBytes
from trading_platform.secrets.paths import parse, seal_context

NAMES = st.sampled_from(["tenant-1", "tenant-2", "a.b@c"])
PATHS = st.builds(
    "/trading-platform/{}/exchanges/{}/{}".format,
    st.sampled_from(["test", "production"]),
    st.sampled_from(["binance", "coinbase"]),
    NAMES,
)
PLACES = st.tuples(PATHS, st.sampled_from(["1" * 32, "2" * 32]))


def a_key(key_id: str = "key") -> DataKey:
    return DataKey(SecretBytes(os.urandom(32)), os.urandom(60), key_id)


def context(place: tuple[str, str]) -> dict[str, str]:
    return seal_context(parse(place[0]), place[1])


def opened(record: bytes, key: SecretBytes, place: tuple[str, str]) -> bytes | None:
    """What comes out; None when it is refused, as it should be."""
    try:
        return envelope.open_(envelope.read(record), key, context(place)).open()
    except ServiceError as error:
        if error.code != "UNUSABLE_DATA":
            raise
        return None


@given(plain=st.binary(min_size=1, max_size=200), place=PLACES)
def test_what_is_sealed_opens_where_it_belongs(plain: bytes, place: tuple[str, str]) -> None:
    key = a_key()
    record = envelope.seal(SecretBytes(plain), key, context(place), os.urandom(12))
    assert opened(record, key.plain, place) == plain
    assert len(plain) < 8 or plain not in record


@given(plain=st.binary(min_size=1, max_size=50), here=PLACES, there=PLACES)
def test_a_record_opens_in_no_other_place(
    plain: bytes, here: tuple[str, str], there: tuple[str, str]
) -> None:
    key = a_key()
    record = envelope.seal(SecretBytes(plain), key, context(here), os.urandom(12))
    assert opened(record, key.plain, there) == (plain if here == there else None)


@given(
    plain=st.binary(min_size=1, max_size=50),
    where=st.integers(min_value=0),
    bit=st.integers(min_value=0, max_value=7),
)
@settings(max_examples=300)
def test_any_flipped_bit_is_refused(plain: bytes, where: int, bit: int) -> None:
    key, place = a_key(), ("/trading-platform/test/exchanges/binance/t", "1" * 32)
    record = bytearray(envelope.seal(SecretBytes(plain), key, context(place), os.urandom(12)))
    in_key = _range_of(record, msgspec.json.decode(record, type=Envelope).wrapped_key)
    at = where % len(record)
    record[at] ^= 1 << bit
    if at in in_key:
        return  # the wrapped key is authenticated by its provider, in the test below
    assert opened(bytes(record), key.plain, place) is None


def test_every_bit_of_a_whole_record_with_its_wrapped_key_is_guarded(tmp_path: Path) -> None:
    place = ("/trading-platform/test/exchanges/binance/t", "1" * 32)

    async def run() -> int:
        keys = await LocalMasterKey.open(tmp_path / "keys")
        key = await keys.new_data_key(context(place))
        record = envelope.seal(SecretBytes(b"the secret"), key, context(place), os.urandom(12))
        assert await _through(keys, record, place) == b"the secret"
        for at in range(len(record)):
            for bit in range(8):
                changed = bytearray(record)
                changed[at] ^= 1 << bit
                with pytest.raises(ServiceError) as caught:
                    await _through(keys, bytes(changed), place)
                assert caught.value.code == "UNUSABLE_DATA"
        return len(record)

    assert asyncio.run(run()) > 100


@given(cut=st.integers(min_value=0, max_value=400), tail=st.binary(max_size=5))
def test_a_record_that_is_cut_or_longer_is_refused(cut: int, tail: bytes) -> None:
    key, place = a_key(), ("/trading-platform/test/exchanges/binance/t", "1" * 32)
    record = envelope.seal(SecretBytes(b"the secret"), key, context(place), os.urandom(12))
    changed = record[:cut] + tail
    if changed != record:
        assert opened(changed, key.plain, place) is None


def test_no_key_and_nonce_are_ever_used_twice(tmp_path: Path) -> None:
    """A thousand versions as the vault writes them: every key and every nonce is another."""
    from trading_platform.secrets.model import Secret
    from trading_platform.secrets.vault_rows import sealed_row

    name = parse("/trading-platform/test/exchanges/binance/t")

    async def run() -> set[tuple[bytes, bytes]]:
        keys = await LocalMasterKey.open(tmp_path / "keys")
        pairs = set()
        for _ in range(1000):
            key = await keys.new_data_key(seal_context(name, "1" * 32))
            row = sealed_row(name, "1" * 32, Secret("x"), key, 0)
            record = envelope.read(str(row.record.data["record"]).encode())
            pairs.add((key.plain.open(), record.nonce))
        return pairs

    pairs = asyncio.run(run())
    assert len({key for key, _ in pairs}) == len({nonce for _, nonce in pairs}) == 1000


async def _through(keys: LocalMasterKey, record: bytes, place: tuple[str, str]) -> bytes:
    sealed = envelope.read(record)
    key = await keys.unwrap(sealed.wrapped_key, context(place))
    return envelope.open_(sealed, key, context(place)).open()


def _range_of(record: bytearray, wrapped: bytes) -> range:
    text = msgspec.json.encode(wrapped)
    start = bytes(record).index(text)
    return range(start, start + len(text))

"""The local master key: made once, private, told apart from any other, and exchanged in flight."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.unit.secrets.parts import PATH, V1, V2, a_vault, put
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets import keyring
from trading_platform.secrets.keyring import KeyFile, Stretching
from trading_platform.secrets.local_key import FILE, LocalMasterKey
from trading_platform.secrets.model import Secret

CONTEXT = {"path": "here"}
QUICK = Stretching(salt=b"0123456789abcdef", memory_kib=64, iterations=1, lanes=1)


async def refusal(folder: Path, passphrase: str | None = None, needed: str | None = None) -> str:
    with pytest.raises(ServiceError) as caught:
        await LocalMasterKey.open(
            folder, passphrase=Secret(passphrase) if passphrase else None, needed=needed
        )
    assert caught.value.code == "UNUSABLE_DATA"
    return caught.value.message


async def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = await LocalMasterKey.open(tmp_path / "keys")
    second = await LocalMasterKey.open(tmp_path / "keys")
    key = await first.new_data_key(CONTEXT)
    assert await second.unwrap(key.wrapped, CONTEXT) == key.plain
    assert first.key_id == second.key_id
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_wrapped_key_opens_only_in_its_context(tmp_path: Path) -> None:
    keys = await LocalMasterKey.open(tmp_path / "keys")
    key = await keys.new_data_key(CONTEXT)
    for context in ({"path": "there"}, {}, {**CONTEXT, "more": "x"}):
        with pytest.raises(ServiceError):
            await keys.unwrap(key.wrapped, context)
    for wrapped in (b"", b":", key.wrapped[:-1], b"local-00:" + key.wrapped, key.wrapped + b"x"):
        with pytest.raises(ServiceError):
            await keys.unwrap(wrapped, CONTEXT)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
async def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    await LocalMasterKey.open(tmp_path / "keys")
    (tmp_path / "keys" / FILE).chmod(mode)
    assert "can be read by other accounts" in await refusal(tmp_path / "keys")
    (tmp_path / "keys" / FILE).chmod(0o600)
    (tmp_path / "keys").chmod(0o750)
    assert "can be read by other accounts" in await refusal(tmp_path / "keys")


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    await LocalMasterKey.open(tmp_path / "keys")
    (tmp_path / "keys" / FILE).rename(tmp_path / "elsewhere")
    (tmp_path / "keys" / FILE).symlink_to(tmp_path / "elsewhere")
    assert "cannot be read" in await refusal(tmp_path / "keys")


async def test_a_wrong_missing_or_needless_passphrase_is_told_in_a_sentence(tmp_path: Path) -> None:
    await LocalMasterKey.open(tmp_path / "keys", passphrase=Secret("correct horse"))
    opened = await LocalMasterKey.open(tmp_path / "keys", passphrase=Secret("correct horse"))
    assert opened.key_id
    assert "is wrong" in await refusal(tmp_path / "keys", "battery staple")
    assert "needs its passphrase" in await refusal(tmp_path / "keys")
    await LocalMasterKey.open(tmp_path / "other")
    assert "has no passphrase" in await refusal(tmp_path / "other", "correct horse")


async def test_the_file_alone_is_not_the_key_when_there_is_a_passphrase() -> None:
    file, ring = keyring.create(os.urandom, Secret("correct horse"), QUICK)
    without = msgspec.structs.replace(file, stretching=None, sum="")
    forged = keyring._summed(without)  # a checksum is no secret
    with pytest.raises(ServiceError):
        keyring.open_file(keyring.encode(forged), None, "file")
    assert keyring.open_file(keyring.encode(file), Secret("correct horse"), "file")[1] == ring


def test_every_changed_bit_of_the_file_is_named_as_damage() -> None:
    file, ring = keyring.create(os.urandom, None)
    older, _ = keyring.rotated(ring, os.urandom, None)
    content = keyring.encode(older)
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            with pytest.raises(ServiceError, match="is damaged"):
                keyring.open_file(bytes(changed), None, "the file")
    assert isinstance(file, KeyFile)


def test_a_key_file_prints_no_key() -> None:
    file, ring = keyring.create(os.urandom, None)
    shown = repr(file) + repr(ring)
    assert repr(file.machine_key) not in shown
    assert file.machine_key.hex() not in shown
    assert file.key_id in shown


async def test_a_missing_key_is_not_taken_for_a_first_start(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "text", V1)
        key_id = vault.master_key.key_id
    (tmp_path / "keys" / FILE).rename(tmp_path / "backup")
    with pytest.raises(ServiceError, match=f"is missing: .*{key_id}") as caught:
        async with a_vault(tmp_path):
            pass
    assert caught.value.code == "UNUSABLE_DATA"
    assert not (tmp_path / "keys" / FILE).exists()
    (tmp_path / "backup").rename(tmp_path / "keys" / FILE)
    async with a_vault(tmp_path) as (vault, _):
        assert (await vault.store.get(PATH)).payload.open() == "text"


async def test_a_replaced_key_is_named_as_such(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "text", V1)
        key_id = vault.master_key.key_id
    (tmp_path / "keys" / FILE).unlink()
    await LocalMasterKey.open(tmp_path / "keys")
    with pytest.raises(ServiceError, match=f"was replaced: .*{key_id}"):
        async with a_vault(tmp_path):
            pass


async def test_rotation_seals_everything_anew_and_others_notice(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records), a_vault(tmp_path) as (other, _):
        await put(vault.store, "first", V1)
        await put(vault.store, "second", V2)
        before = vault.master_key.key_id
        rows = {
            r.key: r.data for r in (await records.query("exchange-credentials", "tenant-1")).records
        }
        assert await vault.rotate_master_key(None) == 1
        assert vault.master_key.key_id != before
        after = {
            r.key: r.data for r in (await records.query("exchange-credentials", "tenant-1")).records
        }
        assert rows.keys() == after.keys()
        assert all(rows[key] != after[key] for key in rows)
        # A process that opened the vault before goes on reading, and writes under the new key.
        assert (await other.store.get(PATH)).payload.open() == "second"
        await put(other.store, "theirs", V1, path=PATH.replace("tenant-1", "tenant-2"))
        assert other.master_key.key_id == vault.master_key.key_id
        assert (await vault.store.get(PATH, version_id=V1)).payload.open() == "first"
    async with a_vault(tmp_path) as (vault, _):
        assert (await vault.store.get(PATH)).payload.open() == "second"


async def test_a_rotation_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    paths = [PATH.replace("tenant-1", f"tenant-{number}") for number in range(4)]
    async with a_vault(tmp_path) as (vault, _):
        for path in paths:
            await put(vault.store, f"text of {path}", V1, path=path)
        await vault.master_key.rotate(None)
        await vault.store.reseal(paths[0])  # and then the power went
    async with a_vault(tmp_path) as (vault, _):
        for path in paths:
            assert (await vault.store.get(path)).payload.open() == f"text of {path}"
        assert await vault.rotate_master_key(None) == 4
        assert await vault.rotate_master_key(None) == 4
        for path in paths:
            assert (await vault.store.get(path)).payload.open() == f"text of {path}"


async def test_a_rotation_can_set_and_change_and_drop_the_passphrase(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "text", V1)
        await vault.rotate_master_key(Secret("one"))
    with pytest.raises(ServiceError, match="needs its passphrase"):
        async with a_vault(tmp_path):
            pass
    async with a_vault(tmp_path, "one") as (vault, _):
        await vault.rotate_master_key(Secret("two"))
    with pytest.raises(ServiceError, match="is wrong"):
        async with a_vault(tmp_path, "one"):
            pass
    async with a_vault(tmp_path, "two") as (vault, _):
        await vault.rotate_master_key(None)
    async with a_vault(tmp_path) as (vault, _):
        assert (await vault.store.get(PATH)).payload.open() == "text"

"""The vault against whoever can write its database but has not its key."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.secrets.parts import PATH, V1, V2, V3, a_vault, overwrite, put
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.anchor import MemoryAnchor
from trading_platform.secrets.envelope import Context, DataKey
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.model import SecretBytes
from trading_platform.secrets.paths import exchange_path
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.vault import VaultStore
from trading_platform.storage.records import Key, Record
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import EXCHANGE_CREDENTIALS, SECRETS_METADATA

HEAD = Key("tenant-1", PATH)
OTHERS = exchange_path("test", "BINANCE", "tenant-2")
ELSEWHERE = exchange_path("test", "COINBASE", "tenant-1")


def row(version: str, path: str = PATH, tenant: str = "tenant-1") -> Key:
    return Key(tenant, f"{path}#{version}")


async def read(records: SqliteRecords, table: str, key: Key) -> Record:
    found = await records.get(table, key)
    assert found is not None
    return found


async def refusal(store: VaultStore, path: str = PATH, **which: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        await store.get(path, **which)
    return caught.value.code


async def test_nothing_in_the_database_files_shows_the_secret(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "canary-7261", V1)
        contents = await asyncio.to_thread(_contents, tmp_path)
        assert any(PATH.encode() in content for content in contents)
        assert not any(b"canary-7261" in content for content in contents)


@pytest.mark.parametrize("target", [row(V2), row(V1, OTHERS, "tenant-2"), row(V1, ELSEWHERE)])
async def test_a_record_moved_to_another_version_tenant_or_exchange_is_refused(
    tmp_path: Path, target: Key
) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "mine, the first", V1)
        await put(vault.store, "mine, the second", V2)
        await put(vault.store, "of another tenant", V1, path=OTHERS)
        await put(vault.store, "at another exchange", V1, path=ELSEWHERE)
        moved = await read(records, EXCHANGE_CREDENTIALS, row(V1))
        await overwrite(records, EXCHANGE_CREDENTIALS, target, moved.data)
        assert await refusal(vault.store, target.sort.partition("#")[0]) == "UNUSABLE_DATA"


async def test_a_head_of_another_tenant_is_refused(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "mine", V1)
        await put(vault.store, "theirs", V1, path=OTHERS)
        theirs = await read(records, SECRETS_METADATA, Key("tenant-2", OTHERS))
        await overwrite(records, SECRETS_METADATA, HEAD, theirs.data)
        assert await refusal(vault.store) == "UNUSABLE_DATA"
        await overwrite(records, SECRETS_METADATA, HEAD, {**theirs.data, "path": PATH})
        assert await refusal(vault.store) == "UNUSABLE_DATA"


@pytest.mark.parametrize(
    "change",
    [
        {"stages": {"AWSCURRENT": V1, "AWSPREVIOUS": V2}},
        {"stages": {"AWSCURRENT": V1, "AWSPREVIOUS": V2}, "sealed_by": V1},
        {"stages": {"AWSCURRENT": V2}},
        {"stages": {"AWSCURRENT": V2, "AWSPREVIOUS": V1, "OTHER": V1}},
        {"sealed_by": V1},
        {"sealed_by": V3},
        {"counter": 9},
        {"created": {V1: "2020-01-01T00:00:00+00:00", V2: "2020-01-01T00:00:00+00:00"}},
        {"mac": "0" * 64},
        {"mac": ""},
        {"more": 1},
        {"counter": "1"},
    ],
)
async def test_a_changed_head_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "first", V1)
        await put(vault.store, "second", V2)
        head = await read(records, SECRETS_METADATA, HEAD)
        await overwrite(records, SECRETS_METADATA, HEAD, {**head.data, **change})
        assert await refusal(vault.store) == "UNUSABLE_DATA"
        with pytest.raises(ServiceError, match=r"changed|does not open"):
            await put(vault.store, "third", V3)


async def test_every_changed_character_of_a_head_is_refused(tmp_path: Path) -> None:
    """Through SQLite itself, byte by byte over the row's JSON."""
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "first", V1)
        await put(vault.store, "second", V2)
        stored = await asyncio.to_thread(_column, tmp_path / "records.db", HEAD)
        for at in range(len(stored)):
            changed = bytearray(stored)
            changed[at] ^= 1
            await asyncio.to_thread(_set_column, tmp_path / "records.db", HEAD, bytes(changed))
            with pytest.raises(ServiceError) as caught:
                await vault.store.get(PATH)
            assert caught.value.code in ("UNUSABLE_DATA", "STORAGE_UNAVAILABLE"), changed
        await asyncio.to_thread(_set_column, tmp_path / "records.db", HEAD, stored)
        assert (await vault.store.get(PATH)).payload.open() == "second"


async def test_rows_rolled_back_to_an_older_version_are_refused(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "first", V1)
        head = await read(records, SECRETS_METADATA, HEAD)
        record = await read(records, EXCHANGE_CREDENTIALS, row(V1))
        await put(vault.store, "second", V2)
    async with a_vault(tmp_path) as (vault, records):  # also after a restart
        await overwrite(records, SECRETS_METADATA, HEAD, head.data)
        await overwrite(records, EXCHANGE_CREDENTIALS, row(V1), record.data)
        with pytest.raises(ServiceError, match="rolled back"):
            await vault.store.get(PATH)


async def test_shredded_rows_put_back_are_refused(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "first", V1)
        head = await read(records, SECRETS_METADATA, HEAD)
        record = await read(records, EXCHANGE_CREDENTIALS, row(V1))
        await vault.store.shred(PATH)
        assert await refusal(vault.store) == "NOT_FOUND"
        await overwrite(records, SECRETS_METADATA, HEAD, head.data)
        await overwrite(records, EXCHANGE_CREDENTIALS, row(V1), record.data)
        with pytest.raises(ServiceError, match="rolled back"):
            await vault.store.get(PATH)
        await vault.store.shred(PATH)
        await put(vault.store, "anew", V2)
        assert (await vault.store.get(PATH)).payload.open() == "anew"


async def test_shredding_removes_rows_that_do_not_open_too(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        await put(vault.store, "first", V1)
        await overwrite(records, EXCHANGE_CREDENTIALS, row(V3), {"record": "left behind"})
        await overwrite(records, EXCHANGE_CREDENTIALS, row(V1), {"record": "damaged"})
        await vault.store.shred(PATH)
        assert (await records.query(EXCHANGE_CREDENTIALS, "tenant-1")).records == ()
        assert await records.get(SECRETS_METADATA, HEAD) is None


async def test_versions_without_a_label_are_deleted(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        for text, version in (("first", V1), ("second", V2), ("third", V3)):
            await put(vault.store, text, version)
        left = await records.query(EXCHANGE_CREDENTIALS, "tenant-1")
        assert [record.key.sort.partition("#")[2] for record in left.records] == [V2, V3]
        assert await refusal(vault.store, version_id=V1) == "NOT_FOUND"


async def test_readers_are_not_disturbed_while_versions_change(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        await put(vault.store, "text 0", "0" * 32)
        done = False
        seen: list[int] = []

        async def read_on() -> None:
            while not done:
                seen.append(int((await vault.store.get(PATH)).payload.open().split()[1]))

        readers = [asyncio.create_task(read_on()) for _ in range(4)]
        for number in range(1, 16):
            version = f"{number:032}"
            await put(vault.store, f"text {number}", version, Stage.PENDING)
            await vault.store.promote(PATH, version)
            if number % 5 == 0:
                assert await vault.rotate_master_key(None) >= 0
        done = True
        await asyncio.gather(*readers)
        assert len(seen) > 15
        assert (await vault.store.get(PATH)).payload.open() == "text 15"


class CountingKeys:
    """A master key that counts what it is asked."""

    def __init__(self, keys: KeyProvider) -> None:
        self._keys = keys
        self.unwrapped = 0

    @property
    def key_id(self) -> str:
        return self._keys.key_id

    async def new_data_key(self, context: Context) -> DataKey:
        return await self._keys.new_data_key(context)

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes:
        self.unwrapped += 1
        return await self._keys.unwrap(wrapped, context)


async def test_reading_the_current_version_unwraps_one_key(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, records):
        keys = CountingKeys(vault.master_key)
        store = VaultStore(records, keys, ManualClock(), MemoryAnchor())
        await put(store, "first", V1)
        await put(store, "second", V2)
        keys.unwrapped = 0
        assert (await store.get(PATH)).payload.open() == "second"
        assert keys.unwrapped == 1


def _contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


WHERE = "WHERE table_name = ? AND sort = ?"


def _column(file: Path, key: Key) -> bytes:
    connection = sqlite3.connect(file)
    select = f"SELECT data FROM rows {WHERE}"  # noqa: S608 - our own words
    (value,) = connection.execute(select, (SECRETS_METADATA, key.sort)).fetchone()
    connection.close()
    return str(value).encode()


def _set_column(file: Path, key: Key, value: bytes) -> None:
    connection = sqlite3.connect(file)
    update = f"UPDATE rows SET data = CAST(? AS TEXT) {WHERE}"  # noqa: S608 - our own words
    connection.execute(update, (value, SECRETS_METADATA, key.sort))
    connection.commit()
    connection.close()

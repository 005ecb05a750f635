"""Secrets on the move between the vault, KMS envelopes and Secrets Manager, through the commands
that an operator types.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.moto_server import MotoServer
from tests.contracts.test_secret_stores import REGION, kms_key
from tests.contracts.test_secret_stores import moto as moto
from tests.unit.secrets.parts import RememberingAudit
from trading_platform.cli import secret_moves
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.migrate import Digests, Proof, migrate
from trading_platform.secrets.model import Secret
from trading_platform.secrets.opening import open_store
from trading_platform.secrets.paths import ai_provider_path, exchange_path
from trading_platform.secrets.place import parse_place
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretStore
from trading_platform.storage.sqlite import SqliteRecords

CANARY = "canary-9923"


def paths(environment: str) -> list[str]:
    return [
        exchange_path(environment, "BINANCE", "tenant-1"),
        exchange_path(environment, "COINBASE", "tenant-2"),
        ai_provider_path(environment, "openai"),
    ]


async def fill(store: SecretStore, environment: str) -> None:
    for number, path in enumerate(paths(environment)):
        for version, stage in (("1", Stage.CURRENT), ("2", Stage.CURRENT), ("3", Stage.PENDING)):
            text = f"{CANARY} {number} {version}"
            await store.put(path, version * 32, Secret(text), stage=stage)


def at(place: str, data: Path, url: str, act: object) -> object:
    """Do something with the store at a place of a data folder, as a platform would open it."""

    data.mkdir(mode=0o700, exist_ok=True)

    async def run() -> object:
        async with AsyncExitStack() as stack:
            records = await SqliteRecords.open(data / "records.sqlite")
            stack.push_async_callback(records.close)
            where = parse_place(place, region=REGION, endpoint_url=url)
            store = await open_store(where, records, data, SystemClock(), stack)
            return await act(store)  # type: ignore[operator]  # any coroutine function

    return asyncio.run(run())


def move(data: Path, source: str, to: str, url: str, *, shred: bool = False) -> dict[str, Any]:
    return secret_moves.move(data, source, to, REGION, url, None, shred)


@pytest.fixture
def url(moto: MotoServer) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "emulator")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "emulator")
        yield moto.url


def test_secrets_move_from_place_to_place_and_back_and_stay_the_same(
    tmp_path: Path, url: str
) -> None:
    digests = Digests()

    async def proofs(store: SecretStore) -> dict[str, Proof]:
        return {path: await digests.of(store, path) for path in paths("round")}

    data, kms = tmp_path / "data", f"kms:{asyncio.run(kms_key(url))}"
    at("local", data, url, lambda store: fill(store, "round"))
    first = at("local", data, url, proofs)
    for source, to in (
        ("local", kms),
        (kms, "secrets-manager"),
        ("secrets-manager", kms),
        (kms, "local"),
    ):
        moved = move(data, source, to, url)
        assert (moved["secrets"], moved["versions"]) == (3, 9)
        assert at(to, data, url, proofs) == first
    with pytest.raises(ServiceError, match="sealed with local-"):
        at(kms, data, url, proofs)
    files = [file for file in data.rglob("*") if file.is_file()]
    assert not any(CANARY.encode() in file.read_bytes() for file in files)


def test_the_source_is_emptied_only_when_asked_and_proven(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    at("local", data, url, lambda store: fill(store, "emptied"))
    move(data, "local", "secrets-manager", url)
    assert at("local", data, url, lambda store: store.list_paths("")) == sorted(paths("emptied"))
    move(data, "local", "secrets-manager", url, shred=True)
    assert at("local", data, url, lambda store: store.list_paths("")) == []
    kept = at("secrets-manager", data, url, lambda s: s.list_paths("/trading-platform/emptied/"))
    assert kept == sorted(paths("emptied"))


def test_another_secret_in_the_target_is_neither_overwritten_nor_taken_for_the_same(
    tmp_path: Path, url: str
) -> None:
    path = paths("other")[0]

    async def clash(target: SecretStore) -> None:
        await target.put(path, "2" * 32, Secret("somebody else's"), stage=Stage.CURRENT)

        async def run(source: SecretStore) -> str:
            await fill(source, "other")
            with pytest.raises(ServiceError) as caught:
                await migrate(
                    source, target, RememberingAudit(), actor="me", prefix=path, shred_source=True
                )
            assert (await source.get(path)).payload.open() == f"{CANARY} 0 2"
            return caught.value.code

        async with AsyncExitStack() as stack:
            records = await SqliteRecords.open(tmp_path / "other.sqlite")
            stack.push_async_callback(records.close)
            place = parse_place("local")
            store = await open_store(place, records, tmp_path, SystemClock(), stack)
            assert await run(store) == "CONFLICT"
        assert (await target.get(path)).payload.open() == "somebody else's"

    tmp_path.chmod(0o700)
    at("secrets-manager", tmp_path / "data", url, clash)


def test_a_move_needs_an_audit_log(tmp_path: Path, url: str) -> None:
    audit = RememberingAudit()
    audit.broken = True

    async def run(source: SecretStore) -> None:
        await fill(source, "audited")
        with pytest.raises(ServiceError, match="audit log"):
            await migrate(source, source, audit, actor="me")

    at("local", tmp_path / "data", url, run)


def test_the_command_tells_what_it_did_and_no_secret(tmp_path: Path, url: str) -> None:
    data, kms = tmp_path / "data", f"kms:{asyncio.run(kms_key(url))}"
    at("local", data, url, lambda store: fill(store, "command"))
    command = [sys.executable, "-m", "trading_platform", "secrets", "migrate", "--from", "local"]
    options = ["--to", kms, "--region", REGION, "--endpoint-url", url, "--data", str(data)]
    done = subprocess.run([*command, *options, "--json"], capture_output=True, text=True)
    assert json.loads(done.stdout) == {"from": "local", "to": kms, "secrets": 3, "versions": 9}
    assert CANARY not in done.stdout + done.stderr
    done = subprocess.run([*command, *options, "--json"], capture_output=True, text=True)
    assert (done.returncode, "KMS key" in done.stderr) == (4, True)


def test_the_master_key_is_rotated_by_a_command(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    at("local", data, url, lambda store: fill(store, "rotated"))
    before = (data / "keys" / "master-key.json").read_text()
    command = [sys.executable, "-m", "trading_platform", "secrets", "rotate-master-key", "--json"]
    done = subprocess.run(
        [*command, "--data", str(data)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["secrets"] == 3
    assert json.loads(before)["key_id"] != json.loads(done.stdout)["masterKey"]
    found = at("local", data, url, lambda store: store.get(paths("rotated")[0]))
    assert found.payload.open() == f"{CANARY} 0 2"  # type: ignore[attr-defined]  # StoredSecret

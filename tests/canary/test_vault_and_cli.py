"""Master keys, passphrases and API keys where a person hands them in."""

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest

from tests.canary.haystack import leaks
from tests.canary.locals_seen import locals_seen
from tests.processes import run
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.observability.logs import create_log
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.opening import open_local_vault
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants import keys
from trading_platform.tenants.audit import AuditLog

RIGHT, WRONG = "correct-horse-battery-canary", "another-horse-battery-canary"
HELD = "Y2FuYXJ5LWhlbGQtaW4tdGhlLXZhdWx0LTAwMQ=="


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[SqliteRecords]:
    store = await SqliteRecords.open(tmp_path / "records.sqlite")
    yield store
    await store.close()


def files(folder: Path) -> dict[str, bytes]:
    return {f"file {path.name}": path.read_bytes() for path in folder.glob("records*")}


async def test_a_vault_shows_no_passphrase_key_or_secret_however_it_fails(
    records: SqliteRecords, tmp_path: Path
) -> None:
    clock, said, log_text = ManualClock(), list[str](), StringIO()
    log = create_log("canary", stream=log_text, level="DEBUG")
    audit, file = AuditLog(records, clock), tmp_path / "keys" / "master-key.json"
    with locals_seen() as seen:
        vault = await open_local_vault(records, tmp_path, clock, passphrase=Secret(RIGHT))
        manager = SecretsManager(vault.store, audit, clock, environment="local", log=log)
        held = ExchangeCredentials(api_key="a-key", api_secret=Secret(HELD))
        await manager.put_exchange_credentials("t1", ExchangeId.BINANCE, held, actor="ann")
        got = await manager.get_exchange_credentials("t1", ExchangeId.BINANCE)
        assert got.api_secret == held.api_secret
        vault.close()
        whole = file.read_bytes()
        for passphrase, content in (
            (WRONG, whole),
            (None, whole),
            (RIGHT, whole[:-20]),
            (RIGHT, whole.replace(b"machine_key", b"machine_kez")),
            (RIGHT, RIGHT.encode()),
        ):
            file.write_bytes(content)
            given = None if passphrase is None else Secret(passphrase)
            with pytest.raises(ServiceError) as caught:
                await open_local_vault(records, tmp_path, clock, passphrase=given)
            said.append(f"{caught.value!r} {caught.value.message} {caught.value.metadata}")
        file.unlink()
        with pytest.raises(ServiceError) as caught:
            await open_local_vault(records, tmp_path, clock, passphrase=Secret(RIGHT))
        said.append(f"{caught.value!r} {caught.value.metadata}")
    hay = {
        "what was said": "\n".join(said).encode(),
        "log": log_text.getvalue().encode(),
        **files(tmp_path),
        **seen.hay(),
    }
    machine_key = whole.split(b'"machine_key":"')[1].split(b'"')[0]
    secrets: dict[str, str | bytes] = {
        "passphrase": RIGHT,
        "wrong passphrase": WRONG,
        "secret": HELD,
        "key": machine_key,
    }
    found = leaks(hay, secrets)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "arguments",
    [
        ("order", "list"),
        ("kill-switch", "activate", "--reason", "drill"),
        ("credentials", "show", "BINANCE"),
        ("nonsense",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_line_shows_no_key_that_it_was_given(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    key = keys.new_key().text
    file = tmp_path / "key"
    file.write_text(key + "\n")
    file.chmod(0o600)
    nowhere = ("--url", "http://127.0.0.1:9")
    ended = run(*arguments, *nowhere, "--api-key-file", str(file), TRADING_PLATFORM_API_KEY=key)
    assert ended.code != 0
    hay = {"stdout": ended.output.encode(), "stderr": ended.errors.encode()}
    assert leaks(hay, {"key": key[18:]}) == []
    assert ended.errors


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "https://127.0.0.1:9", "nonsense"])
@pytest.mark.parametrize("exchange", ["BINANCE", "COINBASE", "KRAKEN"])
def test_a_secret_piped_into_a_command_that_fails_comes_out_nowhere(
    exchange: str, address: str, tmp_path: Path
) -> None:
    secret, passphrase = (secrets.token_urlsafe(48) for _ in range(2))
    file = tmp_path / "key"
    file.write_text(keys.new_key().text + "\n")
    file.chmod(0o600)
    line = ["credentials", "set", exchange, "--key", "k" * 64, "--url", address]
    ended = subprocess.run(
        [sys.executable, "-m", "trading_platform", *line, "--api-key-file", str(file)],
        input=f"{secret}\n{passphrase}\n".encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    hay = {"stdout": ended.stdout, "stderr": ended.stderr}
    assert leaks(hay, {"secret": secret, "passphrase": passphrase}) == []
    assert ended.stderr

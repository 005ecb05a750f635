"""Real parts for the tests of secrets: SQLite, a key file, an audit log that remembers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.opening import LocalVault, open_local_vault
from trading_platform.secrets.paths import exchange_path
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.vault import VaultStore
from trading_platform.storage.records import Key, Record
from trading_platform.storage.sqlite import SqliteRecords

PATH = exchange_path("test", "BINANCE", "tenant-1")
V1, V2, V3 = (str(number) * 32 for number in (1, 2, 3))


def credentials(secret: str = "the api secret") -> ExchangeCredentials:
    return ExchangeCredentials(api_key="key-1", api_secret=Secret(secret))


@asynccontextmanager
async def a_vault(
    folder: Path, passphrase: str | None = None
) -> AsyncIterator[tuple[LocalVault, SqliteRecords]]:
    """The vault of a data folder, and its records."""
    records = await SqliteRecords.open(folder / "records.db")
    secret = Secret(passphrase) if passphrase else None
    try:
        vault = await open_local_vault(records, folder, ManualClock(), passphrase=secret)
        try:
            yield vault, records
        finally:
            vault.close()
    finally:
        await records.close()


async def put(
    store: VaultStore,
    text: str,
    version: str,
    stage: Stage = Stage.CURRENT,
    path: str = PATH,
) -> None:
    await store.put(path, version, Secret(text), stage=stage)


async def overwrite(
    records: SqliteRecords, table: str, key: Key, data: Mapping[str, Any], **more: Any
) -> None:
    """What somebody does who can write the database."""
    await records.put(table, Record(key=key, data=data, **more), expect=None)


class RememberingAudit:
    """Keeps entries in order; `broken` makes it refuse."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, str]] = []
        self.broken = False

    async def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        target: str,
        details: Mapping[str, str] = {},
    ) -> None:
        if self.broken:
            raise ServiceError("the audit log takes no entry", "STORAGE_UNAVAILABLE")
        self.entries.append((tenant_id, action, target))

"""What a data folder holds, opened: for a platform, or alone for a command beside a running one."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from trading_platform.accounts import Accounts, NoCredentials
from trading_platform.exchanges.credential_rows import CredentialRows
from trading_platform.exchanges.credentials import CredentialService
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.prober import Prober
from trading_platform.exchanges.standing import Standing
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.kit.folder import DataFolder
from trading_platform.kit.process import check_files
from trading_platform.kit.tasks import Supervisor
from trading_platform.secrets.custody import ExchangeCustody
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.opening import open_store
from trading_platform.secrets.store import SecretStore
from trading_platform.settings import secrets_place
from trading_platform.storage.records import Records
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.service import TenantService

RECORDS_FILE = "records.sqlite"
PEPPER_FILE = "api-key-pepper"
ENVIRONMENT = "local"
"""The part of a secret's path that tells deployments apart."""


@contextmanager
def locked(path: Path) -> Iterator[DataFolder]:
    """The folder, claimed for one platform; UNUSABLE_DATA names who has it already."""
    folder = DataFolder(path)
    try:
        folder.lock()
        check_files(path)
        yield folder
    finally:
        folder.close()


async def open_file(data: Path, stack: AsyncExitStack) -> SqliteRecords:
    """The records of a data folder, closed with `stack`."""
    records = await SqliteRecords.open(data / RECORDS_FILE)
    stack.push_async_callback(records.close)
    return records


async def open_secrets(
    records: Records, data: Path, clock: Clock, stack: AsyncExitStack
) -> SecretStore:
    """Where this deployment keeps its secrets, closed with `stack`."""
    return await open_store(secrets_place(), records, data, clock, stack)


def tenants_of(
    records: Records, folder: DataFolder, clock: Clock, audit: AuditLog | None = None
) -> TenantService:
    """The tenants, whose keys are hashed under the folder's own pepper."""
    pepper = folder.private_bytes(PEPPER_FILE, lambda: secrets.token_bytes(32))
    return TenantService(records, pepper, clock, audit)


@asynccontextmanager
async def open_records(data: Path) -> AsyncIterator[Records]:
    """Only the records of a data folder, also while a platform runs on it."""
    folder = DataFolder(data)
    async with AsyncExitStack() as stack:
        stack.callback(folder.close)
        check_files(data)
        yield await open_file(data, stack)


@asynccontextmanager
async def open_tenants(data: Path) -> AsyncIterator[TenantService]:
    """Only the tenants of a data folder, also while a platform runs on it."""
    folder = DataFolder(data)
    async with AsyncExitStack() as stack:
        stack.callback(folder.close)
        check_files(data)
        yield tenants_of(await open_file(data, stack), folder, SystemClock())


@asynccontextmanager
async def open_credentials(data: Path, log: Any) -> AsyncIterator[CredentialService]:
    """Only the credentials of a data folder, to revoke them, also while a platform runs on it:
    that one follows within seconds. No exchange is asked.
    """
    folder, clock = DataFolder(data), SystemClock()
    async with AsyncExitStack() as stack:
        stack.callback(folder.close)
        check_files(data)
        records = await open_file(data, stack)
        audit = AuditLog(records, clock)
        store = await open_secrets(records, data, clock, stack)
        manager = SecretsManager(store, audit, clock, environment=ENVIRONMENT, log=log)
        custody, standing, nobody = ExchangeCustody(manager), Standing(), NoCredentials()
        factory = ExchangeFactory({}, nobody, clock, log)
        accounts = Accounts(factory, Supervisor(log), nobody, custody)
        yield CredentialService(
            CredentialRows(records),
            custody,
            Prober(factory, {}),
            audit,
            accounts,
            standing,
            Bus(),
            clock,
            log,
        )

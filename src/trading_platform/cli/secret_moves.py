"""What the `secrets` commands do with the data folder of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.folder import DataFolder
from trading_platform.opening import RECORDS_FILE
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.local_key import LocalMasterKey
from trading_platform.secrets.migrate import Moved, migrate, reseal_all
from trading_platform.secrets.model import Secret
from trading_platform.secrets.opening import (
    FOLDER,
    EitherKeys,
    open_anchor,
    open_kms,
    open_local_vault,
    open_store,
    write_check,
)
from trading_platform.secrets.place import Place, parse_place
from trading_platform.secrets.vault import VaultStore
from trading_platform.settings import default_data_folder, read_passphrase
from trading_platform.storage.records import Records
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants.audit import AuditLog

ACTOR = "operator"


def move(
    data: Path | None,
    source: str,
    to: str,
    region: str | None,
    endpoint_url: str | None,
    passphrase_file: Path | None,
    shred_source: bool,
) -> dict[str, Any]:
    """Move all secrets; what was moved, as a row."""
    passphrase = read_passphrase(passphrase_file)
    places = [
        parse_place(text, region=region, endpoint_url=endpoint_url, passphrase=passphrase)
        for text in (source, to)
    ]
    if places[0] == places[1]:
        raise ServiceError("the secrets are there already: both places are one", "INVALID_REQUEST")
    moved = asyncio.run(_move(data or default_data_folder(), places[0], places[1], shred_source))
    return {"from": source, "to": to, "secrets": moved.secrets, "versions": moved.versions}


def rotate(
    data: Path | None, now: Path | None, new: Path | None, *, no_passphrase: bool
) -> dict[str, Any]:
    """Rotate the local master key; its new id and how many secrets were sealed, as a row."""
    before = read_passphrase(now)
    after = None if no_passphrase else read_passphrase(new) or before
    return asyncio.run(_rotate(data or default_data_folder(), before, after))


async def _rotate(data: Path, before: Secret | None, after: Secret | None) -> dict[str, Any]:
    clock = SystemClock()
    async with _records(data, alone=False) as records:
        vault = await open_local_vault(records, data, clock, passphrase=before)
        try:
            await AuditLog(records, clock).append(
                "platform",
                actor=ACTOR,
                action="MASTER_KEY_ROTATED",
                target=vault.master_key.key_id,
            )
            done = await vault.rotate_master_key(after)
        finally:
            vault.close()
        return {"masterKey": vault.master_key.key_id, "secrets": done}


async def _move(data: Path, source: Place, to: Place, shred_source: bool) -> Moved:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        records = await stack.enter_async_context(_records(data, alone=True))
        audit = AuditLog(records, clock)
        if "secrets-manager" not in (source.kind, to.kind):
            return await _reseal(records, data, clock, source, to, audit, stack)
        stores = [await open_store(each, records, data, clock, stack) for each in (source, to)]
        return await migrate(stores[0], stores[1], audit, actor=ACTOR, shred_source=shred_source)


async def _reseal(
    records: Records,
    data: Path,
    clock: Clock,
    source: Place,
    to: Place,
    audit: AuditLog,
    stack: AsyncExitStack,
) -> Moved:
    old = await _source_keys(source, records, data, clock, stack)
    new = await _keys(to, data, clock, stack)
    anchor = await open_anchor(data, stack)
    moving = VaultStore(records, EitherKeys(new, old), clock, anchor)
    moved = await reseal_all(moving, VaultStore(records, new, clock, anchor), audit, actor=ACTOR)
    await write_check(records, new)
    return moved


async def _source_keys(
    place: Place, records: Records, data: Path, clock: Clock, stack: AsyncExitStack
) -> KeyProvider:
    if place.kind == "kms":
        return await open_kms(place, clock, stack)
    vault = await open_local_vault(records, data, clock, passphrase=place.passphrase)
    stack.callback(vault.close)
    return vault.master_key


async def _keys(place: Place, data: Path, clock: Clock, stack: AsyncExitStack) -> KeyProvider:
    if place.kind == "kms":
        return await open_kms(place, clock, stack)
    return await LocalMasterKey.open(data / FOLDER, passphrase=place.passphrase)


@asynccontextmanager
async def _records(data: Path, *, alone: bool) -> AsyncIterator[Records]:
    folder = DataFolder(data)
    try:
        if alone:
            folder.lock()
        records = await SqliteRecords.open(data / RECORDS_FILE)
        try:
            yield records
        finally:
            await records.close()
    finally:
        folder.close()

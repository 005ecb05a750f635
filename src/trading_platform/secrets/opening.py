"""Opening the place where secrets are: the right master key for these records, or a sentence that
says why not.

A row in `secrets-metadata` names the master key that the records were sealed with and holds a data
key wrapped under it. So a missing key file is never taken for a first start, and a replaced one, or
a setting that names another place, is told as such.
"""

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.anchor import Anchor, FileAnchor
from trading_platform.secrets.envelope import Context, DataKey
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.kms import KmsKeys
from trading_platform.secrets.local_key import LocalMasterKey
from trading_platform.secrets.model import Secret, SecretBytes
from trading_platform.secrets.place import Place
from trading_platform.secrets.secrets_manager_store import SecretsManagerStore
from trading_platform.secrets.store import SecretStore
from trading_platform.secrets.vault import VaultStore
from trading_platform.storage.records import ABSENT, Key, Record, Records
from trading_platform.storage.tables import SECRETS_METADATA

FOLDER = "keys"
ANCHOR_FILE = "versions.log"
CHECK = Key("vault", "master-key")
_CONTEXT = {"purpose": "check that the master key is the right one"}


class LocalVault:
    """The vault of one data folder, its master key, and what guards it against rollbacks."""

    def __init__(
        self, records: Records, master_key: LocalMasterKey, anchor: FileAnchor, clock: Clock
    ) -> None:
        self._records = records
        self._anchor = anchor
        self.master_key = master_key
        self.store = VaultStore(records, master_key, clock, anchor)

    def close(self) -> None:
        """Let go of the files."""
        self._anchor.close()

    async def rotate_master_key(self, passphrase: Secret | None) -> int:
        """Seal everything under a fresh master key guarded by `passphrase`; how many secrets were.

        May be run again after a crash. Readers go on, in other processes too: those notice the new
        key by themselves, unless its passphrase is another than theirs. The key before stays, for
        unwrapping only, until the next rotation: a process that began a write before this one may
        still finish it.
        """
        await self._reseal_all()
        await self.master_key.forget_older()
        await self.master_key.rotate(passphrase)
        done = await self._reseal_all()
        await write_check(self._records, self.master_key)
        return done

    async def _reseal_all(self) -> int:
        paths = await self.store.list_paths("")
        return sum([await self.store.reseal(path) for path in paths])


class EitherKeys:
    """Two providers while records move from one to the other: all is wrapped by `to`."""

    def __init__(self, to: KeyProvider, source: KeyProvider) -> None:
        self._to = to
        self._source = source

    @property
    def key_id(self) -> str:
        """That of the provider moved to."""
        return self._to.key_id

    async def new_data_key(self, context: Context) -> DataKey:
        """From the provider moved to."""
        return await self._to.new_data_key(context)

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes:
        """By whichever provider wrapped it."""
        try:
            return await self._to.unwrap(wrapped, context)
        except ServiceError as error:
            if error.code != "UNUSABLE_DATA":
                raise
            return await self._source.unwrap(wrapped, context)


async def open_store(
    place: Place, records: Records, data: Path, clock: Clock, resources: AsyncExitStack
) -> SecretStore:
    """The store of a running platform; `resources` closes it."""
    if place.kind == "secrets-manager":
        return await open_secrets_manager(place, clock, resources)
    if place.kind == "local":
        vault = await open_local_vault(records, data, clock, passphrase=place.passphrase)
        resources.callback(vault.close)
        return vault.store
    keys = await open_kms(place, clock, resources)
    row = await records.get(SECRETS_METADATA, CHECK)
    if row is None:
        await write_check(records, keys)
    elif row.data.get("keyId") != keys.key_id:
        raise ServiceError(
            f"the stored secrets were sealed with {row.data.get('keyId')}, not with {keys.key_id}. "
            "Start with the place they are in, or move them with: secrets migrate",
            "UNUSABLE_DATA",
        )
    anchor = await open_anchor(data, resources)
    return VaultStore(records, keys, clock, anchor)


async def open_secrets_manager(
    place: Place, clock: Clock, resources: AsyncExitStack
) -> SecretsManagerStore:
    """AWS Secrets Manager."""
    store = await SecretsManagerStore.open(
        region=place.region,
        clock=clock,
        kms_key_id=place.key_id,
        endpoint_url=place.endpoint_url,
    )
    resources.push_async_callback(store.close)
    return store


async def open_kms(place: Place, clock: Clock, resources: AsyncExitStack) -> KmsKeys:
    """A KMS key."""
    keys = await KmsKeys.open(
        key_id=place.key_id or "",
        region=place.region,
        clock=clock,
        endpoint_url=place.endpoint_url,
    )
    resources.push_async_callback(keys.close)
    return keys


async def open_anchor(data: Path, resources: AsyncExitStack) -> Anchor:
    """What guards the vault of a data folder against rollbacks."""
    folder = data / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    anchor = await asyncio.to_thread(FileAnchor, folder / ANCHOR_FILE)
    resources.callback(anchor.close)
    return anchor


async def open_local_vault(
    records: Records, data: Path, clock: Clock, *, passphrase: Secret | None = None
) -> LocalVault:
    """The vault whose master key lies in `data`/keys, which is made on first start.

    UNUSABLE_DATA: key missing, replaced, damaged or readable by others; wrong passphrase.
    """
    row = await records.get(SECRETS_METADATA, CHECK)
    needed = str(row.data.get("keyId")) if row else None
    if needed is not None and not needed.startswith("local-"):
        raise ServiceError(
            f"the stored secrets were sealed with the KMS key {needed}, not with a local one. "
            "Start with the place they are in, or move them with: secrets migrate",
            "UNUSABLE_DATA",
        )
    folder = data / FOLDER
    master_key = await LocalMasterKey.open(folder, passphrase=passphrase, needed=needed)
    if row is None:
        await write_check(records, master_key)
    else:
        await _check(row, master_key)
    anchor = await asyncio.to_thread(FileAnchor, folder / ANCHOR_FILE)
    return LocalVault(records, master_key, anchor, clock)


async def write_check(records: Records, keys: KeyProvider) -> None:
    """Remember which master key the records belong to."""
    key = await keys.new_data_key(_CONTEXT)
    data = {"keyId": key.key_id, "wrapped": base64.b64encode(key.wrapped).decode()}
    found = await records.get(SECRETS_METADATA, CHECK)
    expect = found.version if found else ABSENT
    await records.put(SECRETS_METADATA, Record(key=CHECK, data=data), expect=expect)


async def _check(row: Record, keys: KeyProvider) -> None:
    try:
        wrapped = base64.b64decode(str(row.data.get("wrapped")), validate=True)
        await keys.unwrap(wrapped, _CONTEXT)
    except (ValueError, ServiceError) as error:
        raise ServiceError(
            f"the master key {keys.key_id} does not open what the stored secrets were sealed with "
            f"({row.data.get('keyId')}): the key or the records were replaced. Restore both from "
            "one backup.",
            "UNUSABLE_DATA",
        ) from error

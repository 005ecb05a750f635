"""Opening the local vault: the right master key for these records, or a sentence that says why not.

A row in `secrets-metadata` names the master key that the records were sealed with and holds a data
key wrapped under it. So a missing key file is never taken for a first start, and a replaced one is
named as such.
"""

import asyncio
import base64
from pathlib import Path

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.anchor import FileAnchor
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.local_key import LocalMasterKey
from trading_platform.secrets.model import Secret
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


async def open_local_vault(
    records: Records, data: Path, clock: Clock, *, passphrase: Secret | None = None
) -> LocalVault:
    """The vault whose master key lies in `data`/keys, which is made on first start.

    UNUSABLE_DATA: key missing, replaced, damaged or readable by others; wrong passphrase.
    """
    row = await records.get(SECRETS_METADATA, CHECK)
    needed = str(row.data.get("keyId")) if row else None
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

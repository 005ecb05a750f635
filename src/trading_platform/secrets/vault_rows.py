"""Reading and writing the vault's rows: nothing is believed before it is checked."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets import envelope
from trading_platform.secrets.anchor import Anchor
from trading_platform.secrets.envelope import NONCE_BYTES, DataKey, Envelope
from trading_platform.secrets.head import Head, check, read, sealed
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.model import Secret, SecretBytes
from trading_platform.secrets.paths import ROOT, SecretName, seal_context
from trading_platform.storage.records import ABSENT, Delete, Key, Put, Record, Records, Write
from trading_platform.storage.tables import EXCHANGE_CREDENTIALS, SECRETS_METADATA

TRIES_MAX = 8
ROWS_MAX = 90
BY_PATH = "by-path"

Answer = TypeVar("Answer")


class Unwrapped(msgspec.Struct, frozen=True):
    """A version's record and its data key in clear."""

    version_id: str
    row_version: int
    envelope: Envelope
    key: SecretBytes


class Known(msgspec.Struct, frozen=True):
    """A checked head, and the version whose data key vouches for it."""

    row_version: int
    head: Head
    voucher: Unwrapped


class Rows:
    """The rows of secrets in `exchange-credentials` and `secrets-metadata`."""

    def __init__(self, records: Records, keys: KeyProvider, anchor: Anchor) -> None:
        self._records = records
        self._keys = keys
        self._anchor = anchor

    async def known(self, name: SecretName) -> Known | None:
        """The head after every check; None when there is no such secret."""
        # Asked first: a change that is committed after this answer only raises the counter.
        highest = await self._highest(name)
        row = await self._records.get(SECRETS_METADATA, _head_key(name))
        if row is None:
            return None
        try:
            head = read(name.path, row.data)
            voucher = await self._unwrap(name, head.sealed_by)
            check(head, voucher.key)
        except ServiceError as error:
            raise await self._moved_or(error, name, row.version) from error
        if head.counter < highest:
            raise _rolled_back(name.path)
        return Known(row.version, head, voucher)

    async def unwrapped(self, name: SecretName, known: Known, version_id: str) -> Unwrapped:
        """One version of a known secret, with its key."""
        if version_id == known.voucher.version_id:
            return known.voucher
        try:
            return await self._unwrap(name, version_id)
        except ServiceError as error:
            raise await self._moved_or(error, name, known.row_version) from error

    async def opened(self, name: SecretName, known: Known, version_id: str) -> Secret:
        """What one version of a known secret holds."""
        found = await self.unwrapped(name, known, version_id)
        context = seal_context(name, version_id)
        try:
            plain = envelope.open_(found.envelope, found.key, context)
        except ServiceError as error:
            raise await self._moved_or(error, name, known.row_version) from error
        return Secret(plain.open().decode())

    async def commit(
        self, name: SecretName, known: Known | None, head: Head, key: SecretBytes, rows: list[Write]
    ) -> None:
        """Write a new head and rows, and delete the versions it no longer names, all or nothing."""
        dropped = set(known.head.created) - set(head.created) if known else set()
        gone = [
            Delete(table=EXCHANGE_CREDENTIALS, key=_row_key(name, version), expect=None)
            for version in dropped
        ]
        put = Put(
            table=SECRETS_METADATA,
            record=_head_record(name, sealed(head, key)),
            expect=known.row_version if known else ABSENT,
        )
        await self._transact(name, [put, *rows, *gone])
        await asyncio.to_thread(self._anchor.note, name.path, head.counter)

    async def remove(self, name: SecretName) -> None:
        """Delete every row of the path, also those that no head names: none may be left to open."""
        page = await self._records.query(
            EXCHANGE_CREDENTIALS,
            name.owner,
            sort_from=f"{name.path}#",
            sort_to=f"{name.path}$",
            limit=ROWS_MAX,
        )
        writes: list[Write] = [
            Delete(table=EXCHANGE_CREDENTIALS, key=record.key, expect=None)
            for record in page.records
        ]
        row = await self._records.get(SECRETS_METADATA, _head_key(name))
        if row is not None:
            writes.append(Delete(table=SECRETS_METADATA, key=row.key, expect=row.version))
        if writes:
            await self._transact(name, writes)
            # The counter goes on: the rows that were deleted are older than what comes next.
            highest = max(await self._highest(name), _counter(row))
            await asyncio.to_thread(self._anchor.note, name.path, highest + 1)

    async def next_counter(self, name: SecretName, known: Known | None) -> int:
        """Higher than any that was ever used for the path."""
        return max(known.head.counter if known else 0, await self._highest(name)) + 1

    async def paths(self, prefix: str) -> list[str]:
        """The paths that begin with `prefix`, in order."""
        found: list[str] = []
        after = None
        while True:
            page = await self._records.query(
                SECRETS_METADATA, ROOT, index=BY_PATH, sort_from=prefix, after=after
            )
            paths = [str(record.data.get("path")) for record in page.records]
            mine = [path for path in paths if path.startswith(prefix)]
            found, after = found + mine, page.after
            if after is None or len(mine) < len(paths):
                return found

    async def _unwrap(self, name: SecretName, version_id: str) -> Unwrapped:
        row = await self._records.get(EXCHANGE_CREDENTIALS, _row_key(name, version_id))
        text = row.data.get("record") if row else None
        if row is None or not isinstance(text, str):
            raise envelope.damaged()
        record = envelope.read(text.encode())
        key = await self._keys.unwrap(record.wrapped_key, seal_context(name, version_id))
        return Unwrapped(version_id, row.version, record, key)

    async def _moved_or(self, error: ServiceError, name: SecretName, seen: int) -> ServiceError:
        """`error`, unless the secret was changed while we read it: then rows of two ages met."""
        if error.code != "UNUSABLE_DATA":
            return error
        now = await self._records.get(SECRETS_METADATA, _head_key(name))
        return error if now is not None and now.version == seen else _moved(name.path)

    async def _transact(self, name: SecretName, writes: Sequence[Write]) -> None:
        try:
            await self._records.transact(writes)
        except ServiceError as error:
            if error.code == "CONFLICT":
                raise _moved(name.path) from error
            raise

    async def _highest(self, name: SecretName) -> int:
        return await asyncio.to_thread(self._anchor.highest, name.path)


async def repeated(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Try again, a bounded number of times, when somebody else changed the secret meanwhile."""
    for _ in range(TRIES_MAX - 1):
        try:
            return await attempt()
        except ServiceError as error:
            if not error.metadata.get("moved"):
                raise
    return await attempt()


def sealed_row(
    name: SecretName, version_id: str, payload: Secret, key: DataKey, expect: int
) -> Put:
    """The write that keeps a version's record."""
    text = envelope.seal(
        SecretBytes(payload.open().encode()),
        key,
        seal_context(name, version_id),
        secrets.token_bytes(NONCE_BYTES),
    ).decode()
    record = Record(key=_row_key(name, version_id), data={"record": text})
    return Put(table=EXCHANGE_CREDENTIALS, record=record, expect=expect)


def created_at(head: Head, version_id: str) -> datetime:
    """When a version was put."""
    return datetime.fromisoformat(head.created[version_id])


def _head_record(name: SecretName, head: Head) -> Record:
    data: Mapping[str, object] = msgspec.to_builtins(head)
    return Record(key=_head_key(name), data=data, indexes={BY_PATH: Key(ROOT, name.path)})


def _head_key(name: SecretName) -> Key:
    return Key(name.owner, name.path)


def _row_key(name: SecretName, version_id: str) -> Key:
    return Key(name.owner, f"{name.path}#{version_id}")


def _counter(row: Record | None) -> int:
    counter = row.data.get("counter") if row else None
    return counter if isinstance(counter, int) else 0


def _moved(path: str) -> ServiceError:
    return ServiceError(
        f"{path} was changed by somebody else meanwhile; try again",
        "CONFLICT",
        metadata={"moved": True},
    )


def _rolled_back(path: str) -> ServiceError:
    return ServiceError(
        f"{path} is older than it was before: its rows were rolled back. Nothing was released. "
        "After a restore from a backup on purpose, store the credential anew.",
        "UNUSABLE_DATA",
        metadata={"path": path},
    )

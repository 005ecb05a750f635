"""Secrets as sealed records in our own tables, under a master key that is not in them.

1. Each version has a data key and a row of its own in `exchange-credentials`; the secret's head, in
   `secrets-metadata`, says which version is which. Both change in one transaction.
2. The head's MAC, its counter against the anchor, and the record's authentication are checked
   before anything is released, and before a change is built on them.
3. What has no label any more is deleted in the same transaction, its data key with it.
"""

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets import stages
from trading_platform.secrets.anchor import Anchor
from trading_platform.secrets.head import Head, describe, next_head
from trading_platform.secrets.keys import KeyProvider
from trading_platform.secrets.model import Secret
from trading_platform.secrets.paths import SecretName, parse, seal_context
from trading_platform.secrets.stages import Labels, Stage
from trading_platform.secrets.store import (
    SecretDescription,
    StoredSecret,
    check_payload,
    check_version_id,
    no_first_version,
    not_found,
    other_payload,
)
from trading_platform.secrets.vault_rows import (
    Known,
    Rows,
    created_at,
    repeated,
    sealed_row,
)
from trading_platform.storage.records import ABSENT, Records, Write


class VaultStore:
    """The SecretStore on Records and a KeyProvider."""

    def __init__(self, records: Records, keys: KeyProvider, clock: Clock, anchor: Anchor) -> None:
        self._rows = Rows(records, keys, anchor)
        self._keys = keys
        self._clock = clock

    async def put(self, path: str, version_id: str, payload: Secret, *, stage: Stage) -> None:
        """Seal and keep a new version."""
        name = parse(path)
        check_payload(payload)
        check_version_id(version_id)
        await repeated(lambda: self._put(name, version_id, payload, stage))

    async def get(
        self, path: str, *, stage: Stage = Stage.CURRENT, version_id: str | None = None
    ) -> StoredSecret:
        """Check and open one version; with a current one, that unwraps one data key."""
        name = parse(path)
        return await repeated(lambda: self._get(name, stage, version_id))

    async def promote(self, path: str, version_id: str) -> None:
        """Make a version current."""
        name = parse(path)
        await repeated(lambda: self._promote(name, version_id))

    async def retire(self, path: str, version_id: str) -> None:
        """Delete a version that is not current."""
        name = parse(path)
        await repeated(lambda: self._retire(name, version_id))

    async def shred(self, path: str) -> None:
        """Delete all versions, without needing to open any."""
        name = parse(path)
        await repeated(lambda: self._rows.remove(name))

    async def describe(self, path: str) -> SecretDescription:
        """What may be shown; the head is checked, which unwraps one data key."""
        name = parse(path)
        return describe((await repeated(lambda: self._known(name))).head)

    async def list_paths(self, prefix: str) -> list[str]:
        """The paths that begin with `prefix`, in order."""
        return await self._rows.paths(prefix)

    async def reseal(self, path: str) -> bool:
        """Seal every version again, with fresh data keys, under the provider's current master key;
        whether anything was left to do. Readers are not disturbed.
        """
        name = parse(path)
        return await repeated(lambda: self._reseal(name))

    async def _put(self, name: SecretName, version_id: str, payload: Secret, stage: Stage) -> None:
        known = await self._rows.known(name)
        if known is not None and version_id in known.head.created:
            if await self._rows.opened(name, known, version_id) != payload:
                raise other_payload(name.path)
            return
        if known is None and stage is not Stage.CURRENT:
            raise no_first_version(name.path)
        labels = stages.placed(known.head.stages if known else {}, version_id, stage)
        head = await self._next(name, known, labels, {version_id: self._clock.now().isoformat()})
        key = await self._keys.new_data_key(seal_context(name, version_id))
        row = sealed_row(name, version_id, payload, key, ABSENT)
        voucher = key.plain
        if known is not None and head.sealed_by != version_id:
            voucher = (await self._rows.unwrapped(name, known, head.sealed_by)).key
        await self._rows.commit(name, known, head, voucher, [row])

    async def _get(self, name: SecretName, stage: Stage, version_id: str | None) -> StoredSecret:
        known = await self._known(name)
        wanted = version_id or known.head.stages.get(stage)
        if wanted is None or wanted not in known.head.created:
            raise not_found(name.path)
        labels = (label for label in Stage if known.head.stages.get(label) == wanted)
        return StoredSecret(
            version_id=wanted,
            payload=await self._rows.opened(name, known, wanted),
            stage=next(labels, None) if version_id else stage,
            created_at=created_at(known.head, wanted),
        )

    async def _promote(self, name: SecretName, version_id: str) -> None:
        known = await self._known(name)
        if version_id not in known.head.created:
            raise not_found(name.path)
        if known.head.stages.get(Stage.CURRENT) == version_id:
            return
        # Opened first: what cannot be read never becomes current.
        await self._rows.opened(name, known, version_id)
        await self._relabel(name, known, stages.switched(known.head.stages, version_id))

    async def _retire(self, name: SecretName, version_id: str) -> None:
        known = await self._known(name)
        if known.head.stages.get(Stage.CURRENT) == version_id:
            raise ServiceError(
                f"this version of {name.path} is the current one; switch to another first, or "
                "delete the secret",
                "CONFLICT",
            )
        if version_id not in known.head.created:
            return
        await self._relabel(name, known, stages.removed(known.head.stages, version_id))

    async def _relabel(self, name: SecretName, known: Known, labels: Labels) -> None:
        head = await self._next(name, known, labels, {})
        voucher = await self._rows.unwrapped(name, known, head.sealed_by)
        await self._rows.commit(name, known, head, voucher.key, [])

    async def _reseal(self, name: SecretName) -> bool:
        known = await self._rows.known(name)
        if known is None:
            return False
        voucher, writes = known.voucher.key, list[Write]()
        for version_id in known.head.created:
            found = await self._rows.unwrapped(name, known, version_id)
            if found.envelope.key_id == self._keys.key_id:
                continue
            payload = await self._rows.opened(name, known, version_id)
            key = await self._keys.new_data_key(seal_context(name, version_id))
            writes.append(sealed_row(name, version_id, payload, key, found.row_version))
            if version_id == known.head.sealed_by:
                voucher = key.plain
        if writes:
            head = await self._next(name, known, known.head.stages, {})
            await self._rows.commit(name, known, head, voucher, writes)
        return bool(writes)

    async def _known(self, name: SecretName) -> Known:
        known = await self._rows.known(name)
        if known is None:
            raise not_found(name.path)
        return known

    async def _next(
        self, name: SecretName, known: Known | None, labels: Labels, born: dict[str, str]
    ) -> Head:
        created = {**(known.head.created if known else {}), **born}
        counter = await self._rows.next_counter(name, known)
        return next_head(name.path, counter, labels, created)

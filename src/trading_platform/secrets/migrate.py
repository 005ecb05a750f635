"""Moving secrets from one store to another, and showing that nothing was lost on the way.

Each version keeps its id and its labels. What arrived is read back and compared by a keyed digest;
nothing is printed, written to disk in clear, or taken from the source before everything is proven.
A move that was interrupted is finished by running it again.
"""

import hmac
import secrets
from collections.abc import Mapping

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.manager import Audit
from trading_platform.secrets.paths import parse
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretStore
from trading_platform.secrets.vault import VaultStore

ORDER = (Stage.PREVIOUS, Stage.CURRENT, Stage.PENDING, Stage.STAGED)
"""Of putting: the current version pushes the one before it to PREVIOUS by itself."""

Proof = Mapping[str, tuple[str, bytes]]
"""Stage -> version id and digest."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved and proven equal."""

    secrets: int
    versions: int


class Digests:
    """Proofs of one run: the digest's key is thrown away with it, so they tell nobody anything."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    async def of(self, store: SecretStore, path: str) -> Proof:
        """Every labelled version of a secret."""
        described = await store.describe(path)
        proof = {}
        for stage in Stage:
            version_id = described.version_at(stage)
            if version_id is not None:
                proof[stage.value] = (version_id, await self._one(store, path, version_id))
        return proof

    async def _one(self, store: SecretStore, path: str, version_id: str) -> bytes:
        found = await store.get(path, version_id=version_id)
        return hmac.digest(self._key, found.payload.open().encode(), "sha256")


async def migrate(
    source: SecretStore,
    target: SecretStore,
    audit: Audit,
    *,
    actor: str,
    prefix: str = "",
    shred_source: bool = False,
) -> Moved:
    """Copy all secrets under `prefix`; with `shred_source`, remove them there after the proof.

    CONFLICT where the target holds something else, or the source changed meanwhile.
    """
    digests, versions = Digests(), 0
    paths = await source.list_paths(prefix)
    for path in paths:
        await _note(audit, path, actor, "copy")
        proof = await digests.of(source, path)
        await _refuse_other(target, path, proof, digests)
        await _copy(source, target, path, proof)
        _equal(path, proof, await digests.of(target, path), await digests.of(source, path))
        versions += len(proof)
    if shred_source:
        for path in paths:
            await _note(audit, path, actor, "remove from the source")
            await source.shred(path)
    return Moved(secrets=len(paths), versions=versions)


async def reseal_all(moving: VaultStore, target: VaultStore, audit: Audit, *, actor: str) -> Moved:
    """Seal the records of one vault under another master key, where they are.

    Two views of the same records: `moving` opens what is under either key and seals under the new
    one; `target` opens only what is under the new one.
    """
    digests, versions = Digests(), 0
    paths = await moving.list_paths("")
    for path in paths:
        await _note(audit, path, actor, "seal under another master key")
        before = await digests.of(moving, path)
        await moving.reseal(path)
        _equal(path, before, await digests.of(target, path))
        versions += len(before)
    return Moved(secrets=len(paths), versions=versions)


async def _refuse_other(target: SecretStore, path: str, proof: Proof, digests: Digests) -> None:
    """CONFLICT before anything is written, if the target holds what the source does not."""
    try:
        there = await digests.of(target, path)
    except ServiceError as error:
        if error.code == "NOT_FOUND":
            return
        raise
    if not set(there.values()) <= set(proof.values()):
        raise _not_the_same(path)


async def _copy(source: SecretStore, target: SecretStore, path: str, proof: Proof) -> None:
    """Put the versions that are missing, so that the labels come out the same."""
    for stage in ORDER:
        if stage.value not in proof:
            continue
        version_id = proof[stage.value][0]
        found = await source.get(path, version_id=version_id)
        as_ = Stage.CURRENT if stage is Stage.PREVIOUS else stage
        await target.put(path, version_id, found.payload, stage=as_)


def _equal(path: str, *proofs: Proof) -> None:
    first, *others = proofs
    for other in others:
        if first != other:
            raise _not_the_same(path)


def _not_the_same(path: str) -> ServiceError:
    return ServiceError(
        f"{path} is not the same on both sides: the target held something else, or it was changed "
        "meanwhile. Nothing was overwritten or removed; look at both, then run it again.",
        "CONFLICT",
        metadata={"path": path},
    )


async def _note(audit: Audit, path: str, actor: str, step: str) -> None:
    await audit.append(
        parse(path).owner,
        actor=actor,
        action="SECRET_MIGRATED",
        target=path,
        details={"step": step},
    )

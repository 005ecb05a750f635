"""The port for where secrets are kept, and what every store promises.

1. `put` of a version that is there already, with the same payload, changes nothing; with another
   payload it is a CONFLICT. `promote`, `retire` and `shred` may be repeated.
2. The first version of a secret is its current one (Secrets Manager knows no other way): another
   stage is a CONFLICT while there is none.
3. A secret never has two current versions, and none is lost by a crash between two calls.
4. Nothing is released that is not exactly what was put under that path and version.
5. Every call ends within bounded time, with what it says in KeyProvider when AWS fails.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import Secret
from trading_platform.secrets.stages import Stage

PAYLOAD_BYTES_MAX = 65_536
"""Secrets Manager's own limit; every store keeps it, so that secrets can move."""

VERSION_ID_CHARACTERS = (32, 64)
"""Shortest and longest version id, as Secrets Manager wants them: a UUID fits."""


class StoredSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One version, released. `stage` is the label it was found under, if it has one."""

    version_id: str
    payload: Secret
    stage: Stage | None
    created_at: datetime


class VersionDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a version."""

    version_id: str
    stages: tuple[Stage, ...]
    created_at: datetime


class SecretDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a secret."""

    path: str
    versions: tuple[VersionDescription, ...]

    def version_at(self, stage: Stage) -> str | None:
        """The version that carries a label."""
        found = (one.version_id for one in self.versions if stage in one.stages)
        return next(found, None)


class SecretStore(Protocol):
    """Keeps versions of secrets under paths (secrets/paths.py)."""

    async def put(self, path: str, version_id: str, payload: Secret, *, stage: Stage) -> None:
        """Keep a new version; at CURRENT the one before becomes PREVIOUS."""

    async def get(
        self, path: str, *, stage: Stage = Stage.CURRENT, version_id: str | None = None
    ) -> StoredSecret:
        """Release one version, by label or by id; NOT_FOUND."""

    async def promote(self, path: str, version_id: str) -> None:
        """Make a version current, the one before it previous; NOT_FOUND."""

    async def retire(self, path: str, version_id: str) -> None:
        """Let go of a version; CONFLICT for the current one."""

    async def shred(self, path: str) -> None:
        """Let go of the secret, all versions."""

    async def describe(self, path: str) -> SecretDescription:
        """What may be shown; NOT_FOUND."""

    async def list_paths(self, prefix: str) -> list[str]:
        """The paths that begin with `prefix`, in order."""


def check_payload(payload: Secret) -> None:
    """REQUEST_TOO_LARGE or INVALID_REQUEST for what no store takes."""
    size = len(payload.open().encode())
    if size > PAYLOAD_BYTES_MAX:
        raise ServiceError(f"a secret has at most {PAYLOAD_BYTES_MAX} bytes", "REQUEST_TOO_LARGE")
    if not size:
        raise ServiceError("a secret is never empty", "INVALID_REQUEST")


def check_version_id(version_id: str) -> None:
    """Refuse an id that Secrets Manager would not take."""
    shortest, longest = VERSION_ID_CHARACTERS
    if not shortest <= len(version_id) <= longest or not version_id.isascii():
        raise ServiceError(
            f"a version id has {shortest} to {longest} characters, such as a UUID",
            "INVALID_REQUEST",
        )


def not_found(path: str) -> ServiceError:
    """There is no such secret or version."""
    return ServiceError(f"no secret is stored at {path}", "NOT_FOUND", metadata={"path": path})


def no_first_version(path: str) -> ServiceError:
    """Nothing is there to be rotated."""
    return ServiceError(
        f"nothing is stored at {path} yet: the first version is stored as the current one",
        "CONFLICT",
    )


def other_payload(path: str) -> ServiceError:
    """A version id that is taken."""
    return ServiceError(
        f"this version of {path} holds something else already; use a new version id", "CONFLICT"
    )

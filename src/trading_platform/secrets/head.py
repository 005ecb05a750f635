"""The row that says which version of a secret is which, in pure code.

It carries a MAC under the data key of the current version (`sealed_by`): who can
write the database but cannot unwrap keys cannot move a label. `counter` grows with every change; a
row whose counter is below the highest one known outside the row was rolled back (anchor.py).
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.envelope import canonical
from trading_platform.secrets.model import SecretBytes
from trading_platform.secrets.stages import Labels, Stage
from trading_platform.secrets.store import SecretDescription, VersionDescription


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret's versions. `created`: version id -> when it was put (ISO 8601, UTC)."""

    path: str
    counter: int
    stages: Labels
    created: Mapping[str, str]
    sealed_by: str
    mac: str = ""


def next_head(path: str, counter: int, stages: Labels, created: Mapping[str, str]) -> Head:
    """The unsealed row after a change: versions without a label are no longer in it."""
    kept = {version: created[version] for version in sorted(set(stages.values()))}
    current = stages[Stage.CURRENT]
    return Head(path=path, counter=counter, stages=dict(stages), created=kept, sealed_by=current)


def sealed(head: Head, data_key: SecretBytes) -> Head:
    """With its MAC; `data_key` is that of the version `sealed_by`."""
    return msgspec.structs.replace(head, mac=_mac(head, data_key))


def check(head: Head, data_key: SecretBytes) -> None:
    """UNUSABLE_DATA unless the row is as we wrote it."""
    if not hmac.compare_digest(_mac(head, data_key).encode(), head.mac.encode()):
        raise _changed(head.path)


def read(path: str, data: Mapping[str, Any]) -> Head:
    """The row of `path` out of the store; not yet checked."""
    try:
        head = msgspec.convert(data, Head)
    except msgspec.ValidationError:
        raise _changed(path) from None
    if head.path != path or head.sealed_by not in head.created:
        raise _changed(path)
    if not set(head.stages.values()) <= set(head.created) or not set(head.stages) <= set(Stage):
        raise _changed(path)
    return head


def describe(head: Head) -> SecretDescription:
    """What may be shown of it."""
    return SecretDescription(
        path=head.path,
        versions=tuple(
            VersionDescription(
                version_id=version,
                stages=tuple(stage for stage in Stage if head.stages.get(stage) == version),
                created_at=datetime.fromisoformat(created),
            )
            for version, created in head.created.items()
        ),
    )


def _mac(head: Head, data_key: SecretBytes) -> str:
    plain = canonical(msgspec.structs.replace(head, mac=""))
    return hmac.digest(data_key.open(), b"trading-platform secret head\x00" + plain, "sha256").hex()


def _changed(path: str) -> ServiceError:
    return ServiceError(
        f"the row that says which version of {path} is current was changed by somebody else. "
        "Nothing was released; restore the row from a backup or store the secret anew.",
        "UNUSABLE_DATA",
        metadata={"path": path},
    )

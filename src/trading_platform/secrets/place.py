"""Where secrets are kept, as an operator writes it: `local`, `kms:<key>` or `secrets-manager`."""

from typing import Literal

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import Secret

REGION_DEFAULT = "us-east-1"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """`local` and `kms` keep sealed records in our own tables; they differ in the master key.

    `key_id` is a KMS key; for `secrets-manager` it guards new secrets and may be left out.
    `passphrase` guards the local master key.
    """

    kind: Literal["local", "kms", "secrets-manager"] = "local"
    key_id: str | None = None
    region: str = REGION_DEFAULT
    endpoint_url: str | None = None
    passphrase: Secret | None = None


def parse_place(
    text: str,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    passphrase: Secret | None = None,
) -> Place:
    """The place that `text` names; INVALID_REQUEST."""
    kind, _, key_id = text.partition(":")
    if kind == "local" and not key_id:
        return Place(passphrase=passphrase)
    region = region or REGION_DEFAULT
    if kind == "kms" and key_id:
        return Place(kind="kms", key_id=key_id, region=region, endpoint_url=endpoint_url)
    if kind == "secrets-manager":
        return Place(
            kind="secrets-manager", key_id=key_id or None, region=region, endpoint_url=endpoint_url
        )
    raise ServiceError(
        f"{text!r} is no place for secrets. Write local, kms:<key id or ARN>, or secrets-manager.",
        "INVALID_REQUEST",
    )

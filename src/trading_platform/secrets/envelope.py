"""Sealing, in pure code: one record format whichever provider wraps the data key.

1. AES-256-GCM. Each credential version has a data key of its own, used for one sealing only, with a
   random 96-bit nonce: no (key, nonce) pair is ever used twice.
2. The additional authenticated data is the canonical JSON of the context (environment, tenant,
   exchange, path, version) and of the record's own format, algorithm and key id. A record that is
   moved to another tenant, exchange, path or version does not open.
3. A record is read only in the exact bytes that we would write: no second spelling of it exists,
   so that any flipped bit is noticed.
"""

from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import SecretBytes

FORMAT = 1
ALGORITHM = "AES-256-GCM"
KEY_BYTES = 32
NONCE_BYTES = 12

Context = Mapping[str, str]


class DataKey(msgspec.Struct, frozen=True):
    """A fresh key: in clear for one sealing, and wrapped as it is stored."""

    plain: SecretBytes
    wrapped: bytes
    key_id: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sealed record. `key_id` names the master key that wrapped the data key."""

    format: int
    algorithm: str
    key_id: str
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


def seal(plaintext: SecretBytes, key: DataKey, context: Context, nonce: bytes) -> bytes:
    """The record to store; `nonce` is NONCE_BYTES of fresh randomness."""
    bound = _bound(context, ALGORITHM, key.key_id)
    sealed = AESGCM(key.plain.open()).encrypt(nonce, plaintext.open(), bound)
    return msgspec.json.encode(
        Envelope(
            format=FORMAT,
            algorithm=ALGORITHM,
            key_id=key.key_id,
            wrapped_key=key.wrapped,
            nonce=nonce,
            ciphertext=sealed,
        )
    )


def read(record: bytes) -> Envelope:
    """The parts of a record; UNUSABLE_DATA unless they are spelled as `seal` spells them."""
    try:
        envelope = msgspec.json.decode(record, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise damaged() from None
    if msgspec.json.encode(envelope) != record:
        raise damaged()
    if (envelope.format, envelope.algorithm) != (FORMAT, ALGORITHM):
        raise ServiceError(
            f"a sealed record has format {envelope.format} ({envelope.algorithm!r}), which this "
            "version does not know. It was changed, or a newer version wrote it.",
            "UNUSABLE_DATA",
        )
    return envelope


def open_(envelope: Envelope, plain_key: SecretBytes, context: Context) -> SecretBytes:
    """What was sealed; UNUSABLE_DATA when anything is not as it was."""
    bound = _bound(context, envelope.algorithm, envelope.key_id)
    try:
        cipher = AESGCM(plain_key.open())
        return SecretBytes(cipher.decrypt(envelope.nonce, envelope.ciphertext, bound))
    except (InvalidTag, ValueError):
        # ValueError: a nonce or key of another length.
        raise damaged() from None


def canonical(value: object) -> bytes:
    """The one JSON spelling of a value: sorted keys, no spaces."""
    return msgspec.json.encode(value, order="sorted")


def damaged() -> ServiceError:
    """A sealed record that does not open."""
    return ServiceError(
        "a sealed secret does not open: its record was changed, or belongs to another tenant, path "
        "or version. Nothing was released; restore the record from a backup or store the secret "
        "anew.",
        "UNUSABLE_DATA",
    )


def _bound(context: Context, algorithm: str, key_id: str) -> bytes:
    return canonical(
        {"context": dict(context), "format": FORMAT, "algorithm": algorithm, "key_id": key_id}
    )

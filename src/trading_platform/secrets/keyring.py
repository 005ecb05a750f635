"""The local master key on disk, in pure code: from its file's content to usable keys and back.

1. The current key is HKDF(machine key, Argon2id(passphrase)): with a passphrase, neither the file
   nor the passphrase alone opens anything.
2. Older keys are kept sealed under the current one, for unwrapping only, until nothing needs them.
3. A key's id is a hash of it: another key cannot pass for it. A file that was changed, a wrong
   passphrase and another key are told apart.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.envelope import KEY_BYTES, NONCE_BYTES, canonical
from trading_platform.secrets.model import Secret, SecretBytes

FORMAT = 1
SALT_BYTES = 16

Randomness = Callable[[int], bytes]


class Stretching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a passphrase becomes a key: Argon2id, RFC 9106's second recommendation by default."""

    salt: bytes
    memory_kib: int = 65_536
    iterations: int = 3
    lanes: int = 4

    def stretch(self, passphrase: Secret) -> SecretBytes:
        """32 bytes; takes about a second, so not on the event loop."""
        derivation = Argon2id(
            salt=self.salt,
            length=KEY_BYTES,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return SecretBytes(derivation.derive(passphrase.open().encode()))


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says. `sum` is a checksum of the rest: it finds damage, not malice."""

    format: int
    key_id: str
    machine_key: bytes
    stretching: Stretching | None
    older: Mapping[str, bytes]
    """Key id -> that key, sealed under the current one."""
    sum: str = ""

    def __repr__(self) -> str:
        return f"KeyFile(key_id={self.key_id!r})"


class Keyring(msgspec.Struct, frozen=True):
    """Keys in clear: the current one and those that only unwrap."""

    key_id: str
    keys: Mapping[str, SecretBytes]


def create(
    randomness: Randomness, passphrase: Secret | None, stretching: Stretching | None = None
) -> tuple[KeyFile, Keyring]:
    """A fresh master key."""
    if passphrase is not None and stretching is None:
        stretching = Stretching(salt=randomness(SALT_BYTES))
    machine_key = randomness(KEY_BYTES)
    key = _combined(machine_key, stretching, passphrase)
    key_id = _id_of(key)
    file = KeyFile(
        format=FORMAT, key_id=key_id, machine_key=machine_key, stretching=stretching, older={}
    )
    return _summed(file), Keyring(key_id, {key_id: key})


def open_file(content: bytes, passphrase: Secret | None, place: str) -> tuple[KeyFile, Keyring]:
    """The keys of a file; UNUSABLE_DATA says whether the file or the passphrase is at fault."""
    file = _read(content, place)
    if file.stretching is None and passphrase is not None:
        raise _refusal(
            f"the master key {place} has no passphrase, but one was given. Give none; "
            "`secrets rotate-master-key` can set one."
        )
    if file.stretching is not None and passphrase is None:
        raise _refusal(f"the master key {place} needs its passphrase, and none was given.")
    key = _combined(file.machine_key, file.stretching, passphrase)
    if not hmac.compare_digest(_id_of(key), file.key_id):
        raise _refusal(f"the passphrase for the master key {place} is wrong. Nothing was opened.")
    older = {key_id: _unsealed(key, key_id, sealed) for key_id, sealed in file.older.items()}
    return file, Keyring(file.key_id, {**older, file.key_id: key})


def rotated(
    ring: Keyring, randomness: Randomness, passphrase: Secret | None
) -> tuple[KeyFile, Keyring]:
    """A fresh current key, under which all the keys so far still unwrap."""
    file, fresh = create(randomness, passphrase)
    key = fresh.keys[fresh.key_id]
    older = {
        key_id: _sealed(key, key_id, old, randomness(NONCE_BYTES))
        for key_id, old in ring.keys.items()
    }
    whole = _summed(msgspec.structs.replace(file, older=older))
    return whole, Keyring(fresh.key_id, {**ring.keys, **fresh.keys})


def without_older(file: KeyFile, ring: Keyring) -> tuple[KeyFile, Keyring]:
    """Only the current key is left."""
    alone = _summed(msgspec.structs.replace(file, older={}))
    return alone, Keyring(ring.key_id, {ring.key_id: ring.keys[ring.key_id]})


def encode(file: KeyFile) -> bytes:
    """The file's content."""
    return canonical(file)


def _read(content: bytes, place: str) -> KeyFile:
    try:
        file = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _damaged(place) from None
    if file.format != FORMAT or file.sum != _sum(file) or encode(file) != content:
        raise _damaged(place)
    return file


def _combined(
    machine_key: bytes, stretching: Stretching | None, passphrase: Secret | None
) -> SecretBytes:
    salt = None
    if stretching is not None and passphrase is not None:
        salt = stretching.stretch(passphrase).open()
    derivation = HKDF(SHA256(), KEY_BYTES, salt, b"trading-platform master key")
    return SecretBytes(derivation.derive(machine_key))


def _id_of(key: SecretBytes) -> str:
    digest = hmac.digest(key.open(), b"trading-platform master key id", "sha256")
    return "local-" + digest[:8].hex()


def _sealed(key: SecretBytes, key_id: str, old: SecretBytes, nonce: bytes) -> bytes:
    return nonce + AESGCM(key.open()).encrypt(nonce, old.open(), key_id.encode())


def _unsealed(key: SecretBytes, key_id: str, sealed: bytes) -> SecretBytes:
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return SecretBytes(AESGCM(key.open()).decrypt(nonce, ciphertext, key_id.encode()))
    except (InvalidTag, ValueError):
        raise _refusal(f"the older master key {key_id} does not open; restore the file.") from None


def _summed(file: KeyFile) -> KeyFile:
    return msgspec.structs.replace(file, sum=_sum(file))


def _sum(file: KeyFile) -> str:
    return hashlib.sha256(canonical(msgspec.structs.replace(file, sum=""))).hexdigest()


def _damaged(place: str) -> ServiceError:
    return _refusal(f"the master key {place} is damaged. Restore the file from a backup.")


def _refusal(message: str) -> ServiceError:
    return ServiceError(message, "UNUSABLE_DATA")

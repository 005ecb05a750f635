"""A master key in a file of this machine, outside the database: mode 0600 in a folder of mode 0700.

Wrapped data keys look like `<key id>:` + nonce + AES-256-GCM ciphertext, bound to their context.
"""

import asyncio
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenBytes
from trading_platform.secrets import keyring
from trading_platform.secrets.envelope import (
    KEY_BYTES,
    NONCE_BYTES,
    Context,
    DataKey,
    canonical,
    damaged,
)
from trading_platform.secrets.keyring import KeyFile, Keyring
from trading_platform.secrets.model import Secret, SecretBytes

FILE = "master-key.json"


class LocalMasterKey:
    """The KeyProvider of one machine. A rotation by another process is noticed when it matters."""

    def __init__(self, path: Path, file: KeyFile, ring: Keyring, passphrase: Secret | None) -> None:
        self._path = path
        self._file = file
        self._ring = ring
        self._passphrase = passphrase
        self._stamp = _stamp(path)

    @classmethod
    async def open(
        cls, folder: Path, *, passphrase: Secret | None = None, needed: str | None = None
    ) -> "LocalMasterKey":
        """The key in `folder`, made on first start.

        `needed` is the id of the key that records were sealed with: then none is made in its place.
        UNUSABLE_DATA for a missing, replaced, damaged or readable file, or a wrong passphrase.
        """
        return await asyncio.to_thread(cls._open, folder, passphrase, needed)

    @classmethod
    def _open(cls, folder: Path, passphrase: Secret | None, needed: str | None) -> "LocalMasterKey":
        path = folder / FILE
        _make_private(folder)
        with _alone(folder):
            if not path.exists():
                if needed is not None:
                    raise _unusable(
                        f"the master key {path} is missing: the stored secrets were sealed with "
                        f"{needed}. Restore the file from its backup."
                    )
                fresh, _ = keyring.create(secrets.token_bytes, passphrase)
                _write_whole(path, keyring.encode(fresh))
            file, ring = keyring.open_file(_read_private(path), passphrase, str(path))
        if needed is not None and needed not in ring.keys:
            raise _unusable(
                f"the master key {path} was replaced: it is {ring.key_id}, but the stored secrets "
                f"were sealed with {needed}. Restore the right file from its backup."
            )
        return cls(path, file, ring, passphrase)

    @property
    def key_id(self) -> str:
        """The key that new data keys are wrapped with."""
        return self._ring.key_id

    async def new_data_key(self, context: Context) -> DataKey:
        """32 random bytes, wrapped under the current key."""
        if await asyncio.to_thread(_stamp, self._path) != self._stamp:
            await self.reload()
        plain, nonce = SecretBytes(secrets.token_bytes(KEY_BYTES)), secrets.token_bytes(NONCE_BYTES)
        key_id = self._ring.key_id
        cipher = AESGCM(self._ring.keys[key_id].open())
        sealed = cipher.encrypt(nonce, plain.open(), _bound(context, key_id))
        return DataKey(plain, key_id.encode() + b":" + nonce + sealed, key_id)

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes:
        """The data key in clear; UNUSABLE_DATA when it is not one of ours for this context."""
        name, _, rest = wrapped.partition(b":")
        key_id = name.decode("ascii", "replace")
        if key_id not in self._ring.keys:
            await self.reload()
        key = self._ring.keys.get(key_id)
        if key is None:
            raise damaged()
        nonce, ciphertext = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        try:
            plain = AESGCM(key.open()).decrypt(nonce, ciphertext, _bound(context, key_id))
        except (InvalidTag, ValueError):
            raise damaged() from None
        return SecretBytes(plain)

    async def reload(self) -> None:
        """Read the file again: another process may have rotated the key."""
        await asyncio.to_thread(self._reload)

    async def rotate(self, passphrase: Secret | None) -> None:
        """Make a fresh current key, guarded by `passphrase`; the ones before only unwrap."""

        def change() -> tuple[KeyFile, Keyring]:
            return keyring.rotated(self._ring, secrets.token_bytes, passphrase)

        await asyncio.to_thread(self._change, change)
        self._passphrase = passphrase

    async def forget_older(self) -> None:
        """Drop the keys that only unwrap; for when no record needs them any more."""
        await asyncio.to_thread(self._change, lambda: keyring.without_older(self._file, self._ring))

    def _reload(self) -> None:
        stamp = _stamp(self._path)
        content = _read_private(self._path)
        self._file, self._ring = keyring.open_file(content, self._passphrase, str(self._path))
        self._stamp = stamp

    def _change(self, change: Callable[[], tuple[KeyFile, Keyring]]) -> None:
        with _alone(self._path.parent):
            self._reload()
            file, ring = change()
            _write_whole(self._path, keyring.encode(file))
            self._file, self._ring, self._stamp = file, ring, _stamp(self._path)


def _stamp(path: Path) -> tuple[int, int]:
    """Tells one content of the file from another: each is a file of its own."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unusable(f"the master key {path} cannot be read: {error.strerror}.") from error
    return found.st_ino, found.st_mtime_ns


def _bound(context: Context, key_id: str) -> bytes:
    return canonical({"context": dict(context), "key_id": key_id})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes or changes keys."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_if_open_to_others(folder, folder.stat())


def _read_private(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(f"the master key {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(handle, "rb") as stream:
        _refuse_if_open_to_others(path, os.fstat(stream.fileno()))
        return HiddenBytes(stream.read(1 << 20))


def _refuse_if_open_to_others(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        raise _unusable(f"{path} belongs to another account. Keys are only read from one's own.")
    if mode & 0o077:
        raise _unusable(
            f"{path} can be read by other accounts (mode {mode:04o}). Treat the keys in it as "
            f"known to them; to go on, take it away with: chmod go= {path}"
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Replace the file in one step that survives power loss."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(message: str) -> ServiceError:
    return ServiceError(message, "UNUSABLE_DATA")

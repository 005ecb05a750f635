"""What an entry of the audit log is, and what makes a sequence of them whole.

1. An entry's hash is SHA-256 over its canonical JSON (keys sorted, no spaces, ASCII) without the
   hash itself, but with the hash of the entry before: whoever changes, drops, inserts or moves one
   entry must rewrite all that follow.
2. The hash needs no key, so anyone can check an export. It also means that whoever may write the
   whole store can rewrite a log from its first entry on: only an earlier export, kept where the
   store's owner cannot reach, shows that (`Verifier(against=...)`).
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from trading_platform.observability.redaction import MASK, clean_text, is_secret_name

PLATFORM_LOG = "platform"
"""The log of what concerns no single tenant."""
GENESIS = "0" * 64
"""What the first entry follows."""
WORDS_MAX = 500
DETAILS_MAX = 20


class AuditAction(StrEnum):
    """What is written down."""

    TENANT_CREATED = "TENANT_CREATED"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    TENANT_RESUMED = "TENANT_RESUMED"
    API_KEY_CREATED = "API_KEY_CREATED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    KILL_SWITCH_ACTIVATED = "KILL_SWITCH_ACTIVATED"
    KILL_SWITCH_RELEASED = "KILL_SWITCH_RELEASED"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that was done, or was about to be: secrets never, their names may be."""

    version: int = 1
    """Of this form; the hash covers exactly the fields of its version."""
    tenant_id: str
    sequence: int
    """From 1, without gaps."""
    at: datetime
    actor: str
    action: str
    target: str
    details: Mapping[str, str]
    previous_hash: str
    hash: str = ""


class Verification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a check of one log found; `hash` is that of its last good entry."""

    tenant_id: str
    ok: bool
    entries: int
    hash: str
    first_bad: int | None = None
    reason: str | None = None


def sealed(entry: AuditEntry) -> AuditEntry:
    """The entry with its words cleaned and bounded, and its hash."""
    clean = msgspec.structs.replace(
        entry,
        actor=_words(entry.actor),
        action=_words(entry.action),
        target=_words(entry.target),
        details=_clean_details(entry.details),
    )
    return msgspec.structs.replace(clean, hash=hash_of(clean))


def hash_of(entry: AuditEntry) -> str:
    """What the entry's hash must be."""
    fields = plain(entry)
    del fields["hash"]
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def line(entry: AuditEntry) -> str:
    """The entry as one line of an export."""
    return _canonical(plain(entry))


def plain(entry: AuditEntry) -> dict[str, Any]:
    """The entry as it is stored."""
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    return fields | {"at": moment(entry.at)}


def moment(at: datetime) -> str:
    """The one way to write an entry's time, since its hash covers it; `at` is UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def read(stored: Mapping[str, Any] | str | bytes) -> AuditEntry:
    """A stored entry or one line of an export; raises msgspec.ValidationError or DecodeError."""
    if isinstance(stored, str | bytes):
        return msgspec.json.decode(stored, type=AuditEntry)
    return msgspec.convert(stored, AuditEntry)


class Verifier:
    """Follows one tenant's entries in their order and stops at the first that is wrong.

    `against`: sequence -> hash of an earlier export, all of which must still be there.
    """

    def __init__(self, tenant_id: str, against: Mapping[int, str] | None = None) -> None:
        self._tenant_id = tenant_id
        self._against = dict(against or {})
        self._first_bad: int | None = None
        self._reason: str | None = None
        self.sequence = 0
        self.hash = GENESIS

    @property
    def failed(self) -> bool:
        """Whether something wrong was found."""
        return self._reason is not None

    def follow(self, entry: AuditEntry) -> None:
        """The next entry."""
        expected = self.sequence + 1
        reason = self._wrong(entry, expected)
        if reason is not None:
            self.fail(expected, reason)
            return
        self.sequence, self.hash = entry.sequence, entry.hash
        self._against.pop(entry.sequence, None)

    def fail(self, sequence: int, reason: str) -> None:
        """Note what is wrong first at `sequence`."""
        if not self.failed:
            self._first_bad, self._reason = sequence, reason

    def ended(self, head: tuple[int, str] | None) -> Verification:
        """What was found, when the log says that it ends with `head`: sequence and hash.

        None when nothing tells where it ends, as in an export.
        """
        if head is not None and head != (self.sequence, self.hash):
            self.fail(min(head[0], self.sequence) + 1, _end(head[0], self.sequence))
        if self._against:
            gone = min(self._against)
            self.fail(gone, f"entry {gone} of the earlier export is no longer there")
        return Verification(
            tenant_id=self._tenant_id,
            ok=not self.failed,
            entries=self.sequence,
            hash=self.hash,
            first_bad=self._first_bad,
            reason=self._reason,
        )

    def _wrong(self, entry: AuditEntry, expected: int) -> str | None:
        if entry.sequence > expected:
            return f"entry {expected} is missing"
        if entry.sequence < expected:
            return f"entry {entry.sequence} stands where {expected} belongs"
        if entry.tenant_id != self._tenant_id:
            return f"entry {expected} is of another log"
        if entry.hash != hash_of(entry):
            return f"entry {expected} was changed after it was written"
        if entry.previous_hash != self.hash:
            return f"entry {expected} does not follow the one before it"
        if self._against.get(expected, entry.hash) != entry.hash:
            return f"entry {expected} is another than in the earlier export"
        return None


def _end(head: int, sequence: int) -> str:
    if head > sequence:
        return f"the log ends after entry {sequence}, but entries up to {head} were written"
    if head < sequence:
        return f"the log holds entry {sequence}, but only {head} were written"
    return f"entry {sequence} is not the one that was written last"


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _clean_details(details: Mapping[str, str]) -> dict[str, str]:
    kept = list(details.items())[:DETAILS_MAX]
    return {_words(name): MASK if is_secret_name(name) else _words(text) for name, text in kept}


def _words(text: str) -> str:
    """Bounded rather than refused: a long word must not keep anyone from revoking a key."""
    text = clean_text(str(text).encode(errors="replace").decode())
    return text if len(text) <= WORDS_MAX else f"{text[:WORDS_MAX]}..."

"""What is kept in custody. A secret prints as dots and opens only on purpose."""

from datetime import datetime
from typing import Never

import msgspec

DOTS = "••••••••"


class Secret:
    """Text that never shows itself: repr, str and format give dots; pickle and JSON refuse."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def open(self) -> str:
        """The text itself. Only what signs or seals may call this."""
        return self._text

    def __repr__(self) -> str:
        return DOTS

    def __str__(self) -> str:
        return DOTS

    def __format__(self, spec: str) -> str:
        return DOTS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    # Unhashable on purpose: a secret is never a key or a member of a set.
    __hash__ = None  # type: ignore[assignment]  # the way Python spells it

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not pickled or copied; open() it where it is needed")


class ExchangeCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's key pair at one exchange. `api_key` names the key and is not itself secret.

    `api_secret` is an HMAC secret, or for Binance an Ed25519 private key as PEM (PKCS#8).
    `passphrase` is Coinbase's third part. `permissions` are what the exchange itself said.
    """

    api_key: str
    api_secret: Secret
    passphrase: Secret | None = None
    sub_account_id: str | None = None
    permissions: frozenset[str] = frozenset()
    created_at: datetime | None = None
    rotated_at: datetime | None = None

"""What is kept in custody. A secret prints as dots and opens only on purpose."""

import hmac
from datetime import datetime
from typing import Never

import msgspec

DOTS = "••••••••"


class _Hidden:
    """What never shows itself: repr, str and format give dots; pickle and JSON refuse."""

    __slots__ = ()

    def __repr__(self) -> str:
        return DOTS

    def __str__(self) -> str:
        return DOTS

    def __format__(self, spec: str) -> str:
        return DOTS

    # Unhashable on purpose: a secret is never a key or a member of a set.
    __hash__ = None  # type: ignore[assignment]  # the way Python spells it

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not pickled or copied; open() it where it is needed")


class Secret(_Hidden):
    """Text that never shows itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def open(self) -> str:
        """The text itself. Only what signs or seals may call this."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(other._text.encode(), self._text.encode())


class SecretBytes(_Hidden):
    """Bytes that never show themselves: a key in clear."""

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes) -> None:
        self._bytes = content

    def open(self) -> bytes:
        """The bytes themselves. Only what seals or unwraps may call this."""
        return self._bytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return False
        return hmac.compare_digest(other._bytes, self._bytes)


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

    def __repr__(self) -> str:
        """Not even the key's name: people paste the secret where the key belongs."""
        return f"ExchangeCredentials({DOTS})"


class AIProviderCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's key at an AI provider. `rate_limit_tier` is the provider's own word for it."""

    api_key: Secret
    organization_id: str | None = None
    project_id: str | None = None
    rate_limit_tier: str = "default"
    created_at: datetime | None = None
    rotated_at: datetime | None = None


class DataSourceCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's key at a data source; `endpoint` where the key decides the address."""

    api_key: Secret
    endpoint: str | None = None
    created_at: datetime | None = None
    rotated_at: datetime | None = None

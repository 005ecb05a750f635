"""Where each secret lives: the logical paths, which are also its names in AWS Secrets Manager."""

import re
from enum import StrEnum

import msgspec

from trading_platform.kit.errors import ServiceError

ROOT = "/trading-platform"
PLATFORM = "platform"
"""Whose secrets those are that belong to no tenant."""

_PART = re.compile(r"[A-Za-z0-9_+=.@-]{1,128}")  # what Secrets Manager takes between two slashes


class SecretKind(StrEnum):
    """What a secret is for, as its path says it."""

    EXCHANGE = "exchanges"
    AI_PROVIDER = "ai-providers"
    DATA_SOURCE = "data-sources"


class SecretName(msgspec.Struct, frozen=True, kw_only=True):
    """A path, taken apart. `provider` is lower case; only exchange secrets have a tenant."""

    environment: str
    kind: SecretKind
    provider: str
    tenant_id: str | None = None

    @property
    def path(self) -> str:
        """The whole path."""
        tail = f"/{self.tenant_id}" if self.tenant_id else ""
        return f"{ROOT}/{self.environment}/{self.kind}/{self.provider}{tail}"

    @property
    def owner(self) -> str:
        """The tenant, or PLATFORM."""
        return self.tenant_id or PLATFORM


def exchange_path(environment: str, exchange_id: str, tenant_id: str) -> str:
    """Where a tenant's key pair at an exchange lives."""
    return f"{ROOT}/{environment}/{SecretKind.EXCHANGE}/{exchange_id.lower()}/{tenant_id}"


def ai_provider_path(environment: str, provider_id: str) -> str:
    """Where the platform's key at an AI provider lives."""
    return f"{ROOT}/{environment}/{SecretKind.AI_PROVIDER}/{provider_id.lower()}"


def data_source_path(environment: str, source_id: str) -> str:
    """Where the platform's key at a data source lives."""
    return f"{ROOT}/{environment}/{SecretKind.DATA_SOURCE}/{source_id.lower()}"


def parse(path: str) -> SecretName:
    """The parts of a path; INVALID_REQUEST for anything that is not one."""
    parts = path.split("/")
    try:
        if f"/{parts[1]}" != ROOT or parts[0]:
            raise ValueError
        environment, kind, provider, *rest = parts[2:]
        name = SecretName(
            environment=environment,
            kind=SecretKind(kind),
            provider=provider,
            tenant_id=rest[0] if rest else None,
        )
        if name.path != path or (name.tenant_id is None) == (name.kind is SecretKind.EXCHANGE):
            raise ValueError
        if provider != provider.lower() or not all(_PART.fullmatch(part) for part in parts[2:]):
            raise ValueError
    except (ValueError, IndexError):
        raise ServiceError(
            f"{path!r} is no path of a secret, such as "
            f"{ROOT}/production/exchanges/binance/<tenant id>.",
            "INVALID_REQUEST",
        ) from None
    return name


def seal_context(name: SecretName, version_id: str) -> dict[str, str]:
    """What a sealed record is bound to. Not secret: AWS writes it to CloudTrail in clear."""
    return {
        "env": name.environment,
        "exchange": name.provider,
        "path": name.path,
        "tenant_id": name.owner,
        "version": version_id,
    }

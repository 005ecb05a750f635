"""Who trades here and who may ask for what."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec


class Tier(StrEnum):
    """What a tenant pays for; limits/tiers.py says what that allows."""

    FREE = "FREE"
    PRO = "PRO"
    ENTERPRISE = "ENTERPRISE"


class TenantStatus(StrEnum):
    """Whether a tenant's keys open anything."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Permission(StrEnum):
    """What an API key may do, within its own tenant."""

    READ = "READ"
    TRADE = "TRADE"
    HALT = "HALT"
    RELEASE = "RELEASE"
    ADMIN = "ADMIN"


INCLUDES: Mapping[Permission, frozenset[Permission]] = {
    Permission.READ: frozenset({Permission.READ}),
    Permission.TRADE: frozenset({Permission.READ, Permission.TRADE}),
    Permission.HALT: frozenset({Permission.READ, Permission.HALT}),
    # Whoever may let trading start again may also stop it.
    Permission.RELEASE: frozenset({Permission.READ, Permission.HALT, Permission.RELEASE}),
    Permission.ADMIN: frozenset(Permission),
}
"""The permission table: what is granted -> all it allows.

READ sees prices, orders and switches; TRADE submits and cancels orders; HALT activates the kill
switch; RELEASE releases it; ADMIN manages keys and credentials.
"""

DEFAULT_PERMISSIONS = frozenset({Permission.TRADE, Permission.HALT})
"""What a key may do unless said otherwise: trade, and stop trading."""


def expand(granted: Iterable[Permission]) -> frozenset[Permission]:
    """All that the granted permissions allow."""
    return frozenset().union(*(INCLUDES[permission] for permission in granted))


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One customer: owns orders, keys, credentials and switches, and sees nothing of others."""

    tenant_id: str
    name: str
    tier: Tier
    status: TenantStatus
    created_at: datetime


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an API key after it was shown once; never the key itself."""

    key_id: str
    tenant_id: str
    name: str
    permissions: frozenset[Permission]
    created_at: datetime
    revoked_at: datetime | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the tenant behind a valid key, and all that the key allows."""

    tenant_id: str
    tier: Tier
    key_id: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        """Whether the key allows it."""
        return permission in self.permissions

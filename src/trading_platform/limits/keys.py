"""Where a tenant's limits and permit live in the cache.

The braces are part of the keys: they make a cluster keep all keys of one tenant together, so that
one script may use them (Valkey, cluster specification, hash tags).
"""

import re

from trading_platform.kit.errors import ServiceError

_TENANT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def _tag(tenant_id: str) -> str:
    if not _TENANT_ID.fullmatch(tenant_id):
        raise ServiceError(
            "A tenant id has 1 to 128 letters, digits and `_.:-`.", "INVALID_REQUEST"
        )
    return "{" + tenant_id + "}"


def requests_key(tenant_id: str) -> str:
    """When the tenant's last requests were spent: a list of microseconds, oldest first."""
    return f"rate-limit:{_tag(tenant_id)}:requests"


def orders_key(tenant_id: str) -> str:
    """The same of orders."""
    return f"rate-limit:{_tag(tenant_id)}:orders"


def connections_key(tenant_id: str) -> str:
    """Leases of open WebSocket connections: a sorted set, lease by expiry in microseconds."""
    return f"rate-limit:{_tag(tenant_id)}:connections"


def mirror_key(tenant_id: str) -> str:
    """A copy of the tenant's kill switch as JSON; it can refuse an order but never allow one."""
    return f"kill-switch:{_tag(tenant_id)}"


def permit_key(tenant_id: str) -> str:
    """`<microseconds>|G|BINANCE|`: by the records as read at or after that server time the tenant
    may trade, except on the exchanges listed; `<microseconds>|R|`: it may not.
    """
    return f"permit:{_tag(tenant_id)}"

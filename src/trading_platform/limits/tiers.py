"""What each tier may use."""

from collections.abc import Mapping

import msgspec

from trading_platform.tenants.model import Tier

WINDOW_US = 60_000_000
"""Requests and orders are counted over any 60 seconds, in microseconds."""


class TierLimits(msgspec.Struct, frozen=True):
    """Bounds for one tenant."""

    requests_per_minute: int
    orders_per_minute: int
    connections: int
    """WebSocket connections open at once."""


TIERS: Mapping[Tier, TierLimits] = {
    Tier.FREE: TierLimits(60, 10, 1),
    Tier.PRO: TierLimits(300, 100, 5),
    Tier.ENTERPRISE: TierLimits(1000, 500, 20),
}

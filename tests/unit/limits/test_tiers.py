from trading_platform.limits.tiers import TIERS, TierLimits
from trading_platform.tenants.model import Tier


def test_tiers_are_those_of_the_requirements() -> None:
    assert {
        Tier.FREE: TierLimits(60, 10, 1),
        Tier.PRO: TierLimits(300, 100, 5),
        Tier.ENTERPRISE: TierLimits(1000, 500, 20),
    } == TIERS


def test_every_tier_has_limits() -> None:
    assert set(TIERS) == set(Tier)

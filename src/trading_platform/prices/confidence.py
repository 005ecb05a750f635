"""How much a price is to be trusted, in [0, 1] (docs/prices.md, "Confidence")."""


def confidence(
    *,
    exchanges: int,
    agreeing_share: float,
    dispersion: float,
    spread: float,
    age: float,
    rate_confidence: float,
) -> float:
    """Parts in (0, 1], multiplied; more of `dispersion`, `spread` or `age` never raises it.

    `dispersion` (largest distance between used sources), `spread` (mean bid-ask) and `age` (oldest
    used source) are given as shares of what the policy allows; each halves the result at 1.
    """
    return (
        (1 - 0.5**exchanges)
        * agreeing_share
        * _halving(dispersion)
        * _halving(spread)
        * _halving(age)
        * (1 + rate_confidence)
        / 2
    )


def _halving(share: float) -> float:
    return 1 - 0.5 * min(1.0, max(0.0, share))

"""Amounts in minor units: mixtures of price points and a log-normal body (domain.md 13.4)."""

from random import Random

PURCHASE_POINTS = (199, 499, 999, 1_499, 1_999, 2_999, 4_999, 9_999)
PURCHASE_POINT_MASS = 0.32
CASH_POINTS = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
CASH_POINT_MASS = 0.70
PROBE_POINTS = PURCHASE_POINTS[:2]
"""What a card tester asks for: the smallest prices, which a victim overlooks."""


def purchase(rng: Random) -> int:
    """PURCHASE: eight price points with mass .32, otherwise lognormal(7.25, .95)."""
    if rng.random() < PURCHASE_POINT_MASS:
        return rng.choice(PURCHASE_POINTS)
    return max(1, round(rng.lognormvariate(7.25, 0.95)))


def cash(rng: Random) -> int:
    """CASH: six note sums with mass .70, otherwise lognormal(8.30, .70)."""
    if rng.random() < CASH_POINT_MASS:
        return rng.choice(CASH_POINTS)
    return max(1, round(rng.lognormvariate(8.30, 0.70)))


def transfer(rng: Random) -> int:
    """TRANSFER: lognormal(8.10, 1.10)."""
    return max(1, round(rng.lognormvariate(8.10, 1.10)))


def upshift(rng: Random, amount_minor: int) -> int:
    """The tactic AMOUNT_UPSHIFT: times lognormal(.15, .30), clipped to 1.05..3."""
    return round(amount_minor * min(3.0, max(1.05, rng.lognormvariate(0.15, 0.30))))

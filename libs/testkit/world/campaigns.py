"""Fraud campaigns: targets, bursts, repeat victims and tactics (domain.md 13.4, 13.6).

Campaigns of one kind follow one another: the number of a campaign is its world time divided by the length of a campaign of
its kind, and its targets are derived from that number. Bursts of all kinds come from one stratified process whose mean makes
the declared fraud share.
"""

from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

from testkit.world.clock import US_PER_DAY, US_PER_S, parse_utc
from testkit.world.config import WorldConfig
from testkit.world.customers import Customers
from testkit.world.identity import EntityIds
from testkit.world.merchants import Merchant, Merchants
from testkit.world.truth import FraudKind


class CampaignShape(msgspec.Struct, frozen=True):
    """How a kind of campaign behaves.

    weight is its part of all bursts; gap_s is the mean distance of two flows in a burst before the tactic BURST_TIMING
    shortens it; victims is how many parties it keeps coming back to.
    """

    kind: FraudKind
    weight: float
    days: int
    burst: tuple[int, int]
    gap_s: float
    victims: int
    shares_device: bool = False
    anonymous_address: bool = False
    upshift: bool = False
    fixed_merchants: int = 0
    always_declined: bool = False
    always_refunded: bool = False
    probes: bool = False
    suppress_clearing: float = 0.0


SHAPES: Final = (
    CampaignShape(
        FraudKind.CARD_TESTING, 0.20, 2, (6, 14), 20, 40,
        shares_device=True, anonymous_address=True, fixed_merchants=2, always_declined=True, probes=True,
    ),
    CampaignShape(
        FraudKind.ATO, 0.26, 14, (2, 5), 120, 8, shares_device=True, anonymous_address=True, upshift=True, suppress_clearing=0.3
    ),
    CampaignShape(FraudKind.REFUND_ABUSE, 0.20, 7, (1, 3), 600, 6, always_refunded=True),
    CampaignShape(FraudKind.MERCHANT_COLLUSION, 0.10, 7, (3, 8), 300, 10, fixed_merchants=1, upshift=True),
    CampaignShape(FraudKind.PROMO_FRAUD, 0.12, 5, (3, 6), 90, 15, shares_device=True, fixed_merchants=1, probes=True),
    CampaignShape(FraudKind.BONUS_ABUSE, 0.12, 5, (2, 5), 90, 20, anonymous_address=True, fixed_merchants=1),
)  # fmt: skip
MEAN_BURST: Final = sum(shape.weight * (shape.burst[0] + shape.burst[1]) / 2 for shape in SHAPES)
_WEIGHT_BOUNDS: Final = list(accumulate(shape.weight for shape in SHAPES))
ATTACKER_DEVICES = 3
ATTACKER_ADDRESSES = 5


class Attack(msgspec.Struct, frozen=True, gc=False):
    """One flow of a campaign: who is hit, where, and with which tactics."""

    shape: CampaignShape
    campaign: int
    party: int
    merchant: int | None
    device_id: str | None
    ip_id: str | None


class Campaigns:
    """The bursts of a world."""

    def __init__(self, config: WorldConfig, customers: Customers, merchants: Merchants) -> None:
        self._start_us = parse_utc(config.start_utc)
        self._customers = customers
        self._merchants = merchants
        self._targets = EntityIds(config.seed, "campaign-targets")
        self.stretch_us = MEAN_BURST / (config.density * config.fraud_share) * US_PER_S if config.fraud_share else None
        """World time per burst, microseconds; None in a world without fraud."""

    def burst_at(self, rng: Random, number: int) -> int:
        """The world time at which the number-th burst starts; the first one comes early, so that a small world has fraud too."""
        assert self.stretch_us is not None
        within = rng.random() * (0.3 if number == 0 else 1.0)
        return self._start_us + int((number + within) * self.stretch_us)

    def burst(self, rng: Random, at_us: int) -> list[tuple[int, Attack]]:
        """The flows of one burst with their arrival times."""
        shape = SHAPES[bisect(_WEIGHT_BOUNDS, rng.random() * _WEIGHT_BOUNDS[-1])]
        campaign = (at_us - self._start_us) // (shape.days * US_PER_DAY)
        key = shape.kind.value << 20 | campaign
        flows = []
        instant_us = at_us
        for _ in range(rng.randint(*shape.burst)):
            flows.append((instant_us, self._attack(rng, shape, campaign, key)))
            instant_us += int(rng.expovariate(1 / shape.gap_s) * rng.uniform(0.2, 0.7) * US_PER_S) + 1
        return flows

    def _attack(self, rng: Random, shape: CampaignShape, campaign: int, key: int) -> Attack:
        victim = int(rng.random() ** 1.5 * shape.victims)  # the first victims are hit most often
        merchant = None
        if shape.fixed_merchants:
            target = self._targets.number(key, -1 - rng.randrange(shape.fixed_merchants))
            merchant = self._merchant(shape, target).index
        return Attack(
            shape=shape,
            campaign=campaign,
            party=self._targets.number(key, victim) % self._customers.size,
            merchant=merchant,
            device_id=self._customers.device_of_attacker(key, rng.randrange(ATTACKER_DEVICES)) if shape.shares_device else None,
            ip_id=self._customers.anonymous_address(key, rng.randrange(ATTACKER_ADDRESSES)) if shape.anonymous_address else None,
        )

    def _merchant(self, shape: CampaignShape, target: int) -> Merchant:
        if shape.kind is FraudKind.MERCHANT_COLLUSION:
            return self._merchants.all[target % len(self._merchants.all)]
        return self._merchants.online(target)

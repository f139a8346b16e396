"""Merchants: a Zipf law with a cap, demand classes, zones, hours and channels (domain.md 13.3-13.6)."""

from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

from testkit.world.clock import US_PER_HOUR
from testkit.world.config import WorldConfig
from testkit.world.identity import EntityIds

VIRTUAL_ONE_IN = 44
"""2.25 % of merchants have no site (domain.md 13.3)."""


class Zone(msgspec.Struct, frozen=True):
    """Where a merchant stands. All zones keep one offset all year, so local time needs no table of transitions."""

    name: str
    tzid: str
    offset_hours: int
    currency: str


ZONES: Final = (
    Zone("NG", "Africa/Lagos", 1, "NGN"),
    Zone("ZA", "Africa/Johannesburg", 2, "ZAR"),
    Zone("SG", "Asia/Singapore", 8, "SGD"),
    Zone("BR", "America/Sao_Paulo", -3, "BRL"),
    Zone("US", "America/Phoenix", -7, "USD"),
)


class DemandClass(msgspec.Struct, frozen=True):
    """A demand class: its share of arrivals, its weight for each local hour (mean 1) and its channels with cumulative weights."""

    name: str
    share: float
    hours: tuple[float, ...]
    channels: tuple[str, ...]
    channel_bounds: tuple[float, ...]


def _demand(name: str, percent: float, hours: str, **channels: float) -> DemandClass:
    """hours has one digit for each local hour, the relative rate of arrivals in it."""
    digits = [int(digit) for digit in hours]
    mean = sum(digits) / 24
    return DemandClass(name, percent / 100, tuple(digit / mean for digit in digits), tuple(channels), tuple(accumulate(channels.values())))


DEMAND_CLASSES: Final = (
    _demand("consumer_daytime", 62.7, "211111234566777766654332", ECOM=0.42, POS=0.46, ATM=0.05, HYBRID=0.07),
    _demand("online_24h", 15.1, "544333344455555555666665", ECOM=1.0),
    _demand("fuel_convenience", 14.2, "222223466666666677665432", POS=0.95, HYBRID=0.05),
    _demand("evening_weekend", 3.5, "421111111223333446788886", ECOM=0.40, POS=0.60),
    _demand("online_bursty", 2.0, "433222333455655556778765", ECOM=1.0),
    _demand("office_hours", 1.2, "111111137888788885211111", BANK_RAIL=0.60, ECOM=0.40),
    _demand("bills_utilities", 0.9, "111111355555555554433211", BANK_RAIL=1.0),
    _demand("travel_hospitality", 0.4, "222112345555555556666543", ECOM=0.60, HYBRID=0.40),
)
"""Shares: domain.md 13.3. The shape of a day is this generator's reading of each name."""

PEAK_HOUR_WEIGHT: Final = max(max(demand.hours) for demand in DEMAND_CLASSES)


class Merchant(msgspec.Struct, frozen=True):
    """One merchant. index is its rank, 0 the largest."""

    index: int
    merchant_id: str
    demand: DemandClass
    zone: Zone
    is_virtual: bool
    sites: int

    def hour_weight(self, instant_us: int) -> float:
        """Relative rate of arrivals at this instant, mean 1 over a local day."""
        return self.demand.hours[(instant_us // US_PER_HOUR + self.zone.offset_hours) % 24]

    def channel(self, rng: Random) -> str:
        """The channel of one arrival: ECOM, POS, ATM, BANK_RAIL or HYBRID (domain.md 13.4)."""
        demand = self.demand
        return demand.channels[bisect(demand.channel_bounds, rng.random() * demand.channel_bounds[-1])]


class Merchants:
    """The fixed pool of merchants with their shares of arrivals."""

    def __init__(self, config: WorldConfig) -> None:
        self.shares = _shares(config)
        self.all = _assign(config, self.shares)
        self._bounds = list(accumulate(self.shares))

    def pick(self, rng: Random) -> Merchant:
        """A merchant by its share of arrivals."""
        return self.all[bisect(self._bounds, rng.random() * self._bounds[-1])]

    def online(self, number: int) -> Merchant:
        """A small merchant that sells only online, the number-th of them: a card tester's choice."""
        online = [merchant for merchant in self.all[len(self.all) // 4 :] if merchant.demand.channels == ("ECOM",)]
        pool = online or self.all
        return pool[number % len(pool)]


def _shares(config: WorldConfig) -> list[float]:
    """Zipf shares; what the cap cuts off goes to the others in proportion."""
    weights = [1 / rank**config.zipf_exponent for rank in range(1, config.merchants + 1)]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    capped = 0
    while shares[capped] > config.merchant_cap:
        rest = sum(shares[capped + 1 :])
        surplus = shares[capped] - config.merchant_cap
        shares[capped] = config.merchant_cap
        shares[capped + 1 :] = [share * (1 + surplus / rest) for share in shares[capped + 1 :]]
        capped += 1
    if config.hot_merchant_share is not None:
        scale = (1 - config.hot_merchant_share) / (1 - shares[0])
        shares = [config.hot_merchant_share, *(share * scale for share in shares[1:])]
    return shares


def _assign(config: WorldConfig, shares: list[float]) -> list[Merchant]:
    """Gives each merchant, largest first, to the demand class that lacks most, so that classes get their declared share.

    A hot merchant is hot at every hour, so that its share holds in a short world too.
    """
    ids = EntityIds(config.seed, "merchant")
    traits = EntityIds(config.seed, "merchant-traits")
    missing = [demand.share for demand in DEMAND_CLASSES]
    merchants = []
    for index, share in enumerate(shares):
        neediest = max(range(len(missing)), key=missing.__getitem__)
        missing[neediest] -= share
        trait = traits.number(index)
        demand = DEMAND_CLASSES[neediest]
        if index == 0 and config.hot_merchant_share is not None:
            demand = msgspec.structs.replace(demand, hours=(1.0,) * 24)
        merchants.append(
            Merchant(
                index=index,
                merchant_id=ids.name(index),
                demand=demand,
                zone=ZONES[trait % len(ZONES)],
                is_virtual=(trait >> 8) % VIRTUAL_ONE_IN == 0,
                sites=1 + (trait >> 16) % 6,
            )
        )
    return merchants

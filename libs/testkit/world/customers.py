"""Customers: parties with accounts, instruments, devices and addresses, all derived by hashing (domain.md 13.6).

Fan-outs of 1.2-2.5: accounts per party 1.6, instruments per account 1.4, devices per party 1.7. A household of two
neighbouring parties shares its home address, and one party in four uses the household's device. Away from home an address
comes from a pool that many share.
"""

from random import Random

import msgspec

from testkit.world.config import WorldConfig
from testkit.world.identity import EntityIds
from testkit.world.merchants import ZONES

HOME_ZONE_SHARE = 0.92
"""Share of arrivals at a merchant of the party's own zone."""
HOME_ADDRESS_SHARE = 0.70
SHARED_ADDRESSES = 400
"""Addresses of mobile networks and public places over all zones; small enough that each is seen from many parties."""
_FEW = (1, 1, 1, 1, 1, 2, 2, 2, 2, 3)
"""Mean 1.6."""
_FEWER = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
"""Mean 1.4."""


class Entities(msgspec.Struct, gc=False):
    """Who and what stands behind one arrival; instrument, device and address can be absent."""

    party: int
    party_id: str
    account_id: str
    instrument_id: str | None
    device_id: str | None
    ip_id: str | None


class Customers:
    """The pool of parties. It holds no party: everything about one is recomputed from its number."""

    def __init__(self, config: WorldConfig) -> None:
        self.size = config.parties
        seed = config.seed
        self._traits = EntityIds(seed, "party-traits")
        self._parties = EntityIds(seed, "party")
        self._accounts = EntityIds(seed, "account")
        self._instruments = EntityIds(seed, "instrument")
        self._devices = EntityIds(seed, "device")
        self._addresses = EntityIds(seed, "ip")

    def pick(self, rng: Random, zone: int) -> int:
        """The number of a party that shops in a zone, mostly one that lives there. Some parties are twice as active as others."""
        home = zone if rng.random() < HOME_ZONE_SHARE else rng.randrange(len(ZONES))
        rank = int(rng.random() ** 1.25 * (self.size // len(ZONES)))
        return rank * len(ZONES) + home

    def entities(self, rng: Random, party: int, channel: str) -> Entities:
        """The account, instrument, device and address that a party uses on a channel.

        A bank transfer has no instrument; a card at a terminal or a cash machine shows neither device nor address.
        """
        trait = self._traits.number(party)
        account = (party << 2) | rng.randrange(_FEW[trait % 10])
        instruments = _FEWER[(trait >> (8 + 8 * (account & 3))) % 10]
        remote = channel not in {"POS", "ATM"}
        return Entities(
            party=party,
            party_id=self._parties.name(party),
            account_id=self._accounts.name(account),
            instrument_id=None if channel == "BANK_RAIL" else self._instruments.name(account, rng.randrange(instruments)),
            device_id=self._device(rng, party, trait) if remote else None,
            ip_id=self._address(rng, party) if remote else None,
        )

    def device_of_attacker(self, campaign: int, number: int) -> str:
        """A device that a campaign uses for many victims."""
        return self._devices.name(-1 - campaign, number)

    def anonymous_address(self, campaign: int, number: int) -> str:
        """An address that hides its user."""
        return self._addresses.name(-1 - campaign, number)

    def _device(self, rng: Random, party: int, trait: int) -> str:
        devices = _FEW[(trait >> 40) % 10]
        number = rng.randrange(devices)
        of_household = number == 0 and (trait >> 48) % 4 == 0
        household = (party // (2 * len(ZONES))) * len(ZONES) + party % len(ZONES)
        return self._devices.name(household, 1 << 32) if of_household else self._devices.name(party, number)

    def _address(self, rng: Random, party: int) -> str:
        zone = party % len(ZONES)
        if rng.random() < HOME_ADDRESS_SHARE:
            return self._addresses.name((party // (2 * len(ZONES))) * len(ZONES) + zone)
        pool = SHARED_ADDRESSES // len(ZONES)
        return self._addresses.name(int(rng.random() ** 2 * pool) * len(ZONES) + zone, 1 << 32)

"""The truth about a flow, kept out of every payload and recomputed from its id (domain.md 13.3-13.4).

A flow id is a keyed 64-bit permutation of (serial number, truth code, campaign number). Whoever holds the seed's key can
invert it, so the truth of any flow is known without keeping a single one in memory; to everyone else the id is 64 uniform
bits.
"""

import hashlib
from enum import Enum
from typing import Final

import msgspec


class FraudKind(Enum):
    """What a flow is in truth; the value is its code inside a flow id."""

    NONE = 0
    CARD_TESTING = 1
    ATO = 2
    REFUND_ABUSE = 3
    MERCHANT_COLLUSION = 4
    PROMO_FRAUD = 5
    BONUS_ABUSE = 6
    FRIENDLY = 7
    """An honest flow that its own customer will dispute."""
    GHOST = 15
    """No flow at all: the id stands in a body that the edge must refuse."""


class TruthLabel(Enum):
    """flow_truth_labels.fraud_label (domain.md 13.1)."""

    LEGIT = "LEGIT"
    FRAUD = "FRAUD"
    ABUSE = "ABUSE"


_ABUSE: Final = frozenset({FraudKind.REFUND_ABUSE, FraudKind.PROMO_FRAUD, FraudKind.BONUS_ABUSE, FraudKind.FRIENDLY})
_LEGIT: Final = frozenset({FraudKind.NONE, FraudKind.GHOST})
_CAMPAIGN_BITS = 20
_KIND_BITS = 4
_SERIAL_BITS = 40
_HALF_BITS = 32
_HALF_MASK = 2**32 - 1
_ROUNDS = 4
"""Four rounds of a Feistel network over a pseudo-random function are a strong pseudo-random permutation (Luby and Rackoff)."""


class Truth(msgspec.Struct, frozen=True, gc=False):
    """What is true of one flow. campaign_id is None outside campaigns."""

    kind: FraudKind
    campaign_id: str | None
    serial: int

    @property
    def label(self) -> TruthLabel:
        """LEGIT, FRAUD or ABUSE (domain.md 13.4)."""
        if self.kind in _LEGIT:
            return TruthLabel.LEGIT
        return TruthLabel.ABUSE if self.kind in _ABUSE else TruthLabel.FRAUD

    @property
    def is_campaign(self) -> bool:
        """Whether the flow counts into the fraud share of the world."""
        return self.campaign_id is not None


class FlowIds:
    """Writes and reads flow ids of one world."""

    __slots__ = ("_round_hashers",)

    def __init__(self, seed: int) -> None:
        key = hashlib.sha256(f"{seed}|flow-id".encode()).digest()
        self._round_hashers = [hashlib.blake2b(bytes([number]), digest_size=4, key=key) for number in range(_ROUNDS)]

    def flow_id(self, serial: int, kind: FraudKind = FraudKind.NONE, campaign: int = 0) -> str:
        """The id of the serial-th flow, decimal text of 64 bits. Raises ValueError if serial or campaign is out of its range."""
        if not 0 <= serial < 2**_SERIAL_BITS or not 0 <= campaign < 2**_CAMPAIGN_BITS:
            raise ValueError("serial has 40 bits and campaign has 20")
        plain = ((serial << _KIND_BITS) | kind.value) << _CAMPAIGN_BITS | campaign
        left, right = plain >> _HALF_BITS, plain & _HALF_MASK
        for hasher in self._round_hashers:
            left, right = right, left ^ _mix(hasher, right)
        return str((left << _HALF_BITS) | right)

    def truth_of(self, flow_id: str) -> Truth:
        """The truth about a flow of this world. Raises ValueError for text that is no flow id of it."""
        number = int(flow_id)
        if not 0 <= number < 2**64:
            raise ValueError(f"not a 64-bit number: {flow_id}")
        left, right = number >> _HALF_BITS, number & _HALF_MASK
        for hasher in reversed(self._round_hashers):
            left, right = right ^ _mix(hasher, left), left
        plain = (left << _HALF_BITS) | right
        campaign = plain & (2**_CAMPAIGN_BITS - 1)
        kind = FraudKind((plain >> _CAMPAIGN_BITS) & (2**_KIND_BITS - 1))
        in_campaign = kind not in _LEGIT and kind is not FraudKind.FRIENDLY
        return Truth(kind, f"{kind.name}-{campaign}" if in_campaign else None, plain >> (_CAMPAIGN_BITS + _KIND_BITS))


def _mix(hasher: "hashlib.blake2b", half: int) -> int:
    keyed = hasher.copy()
    keyed.update(half.to_bytes(4, "big"))
    return int.from_bytes(keyed.digest(), "big")

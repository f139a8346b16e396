"""The world outside after a flow: detections, disputes and chargebacks, long after the fact (domain.md 13.4).

This is how the truth reaches the platform: as signals from outside about an AUTH_REQUEST, at world times, through cases.
What happens to a flow is decided by hashing its id, so the order in which flows are observed changes nothing.
"""

from enum import StrEnum
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Final

import msgspec

from testkit.world.clock import US_PER_DAY, US_PER_HOUR, US_PER_S
from testkit.world.config import WorldConfig
from testkit.world.identity import Identity
from testkit.world.steps import EdgeKind, EdgeSend, Step
from testkit.world.truth import FlowIds, FraudKind


class SignalKind(StrEnum):
    """What the outside says about a flow."""

    DETECTION = "DETECTION"
    """The issuer's own monitoring reports the flow."""
    DISPUTE = "DISPUTE"
    """The customer disputes the flow."""
    CHARGEBACK = "CHARGEBACK"
    """The card scheme books the disputed amount back."""
    DISPUTE_CLOSED = "DISPUTE_CLOSED"
    """The dispute ends without a chargeback."""


class ExternalSignal(msgspec.Struct, frozen=True):
    """One signal.

    external_ref is its name at its source and never changes; about is the AUTH_REQUEST and ts_us its own time; at_us is the world
    time at which the outside speaks. Times are microseconds.
    """

    kind: SignalKind
    external_ref: str
    about: Identity
    flow_id: str
    ts_us: int
    at_us: int


class Odds(msgspec.Struct, frozen=True):
    """Probabilities for one kind of truth: detection, dispute, and chargeback once there is a dispute."""

    detect: float
    dispute: float
    chargeback: float


ODDS: Final[dict[FraudKind, Odds]] = {
    FraudKind.NONE: Odds(0.002, 0.002, 0.10),
    FraudKind.CARD_TESTING: Odds(0.60, 0.08, 0.25),
    FraudKind.ATO: Odds(0.35, 0.45, 0.50),
    FraudKind.REFUND_ABUSE: Odds(0.20, 0.35, 0.25),
    FraudKind.FRIENDLY: Odds(0.10, 0.55, 0.25),
    FraudKind.MERCHANT_COLLUSION: Odds(0.25, 0.12, 0.25),
    FraudKind.PROMO_FRAUD: Odds(0.20, 0.002, 0.10),
    FraudKind.BONUS_ABUSE: Odds(0.20, 0.002, 0.10),
}
"""domain.md 13.4. It gives no numbers for promotions and bonuses: they are found like abuse of refunds and nobody disputes them.
Chargebacks that it leaves open follow the nearest kind."""

QUICK_DETECTION_SHARE = 0.30
QUICK_DETECTION_S = 300.0
DETECTION_CAP_US = 14 * US_PER_DAY
DISPUTE_BOUNDS_US = (US_PER_HOUR, 45 * US_PER_DAY)
CLOSING_BOUNDS_US = (1, 90 * US_PER_DAY)
CHARGEBACK_BOUNDS_US = (US_PER_DAY, 90 * US_PER_DAY)


class Outside:
    """Watches the stream and speaks later.

    It remembers only signals that are still to come. A signal waits at most 45 + 90 days, so their number is bounded by the
    rate of fraud times those delays; in a world shorter than that it grows with the span, about 14 signals in 1,000
    triggers by default.
    """

    def __init__(self, config: WorldConfig) -> None:
        self._truth = FlowIds(config.seed)
        self._seed = config.seed
        self._key = blake2b(f"{config.seed}|outside".encode(), digest_size=32).digest()
        self._heap: list[tuple[int, str, ExternalSignal]] = []

    @property
    def pending(self) -> int:
        """Number of signals still to come."""
        return len(self._heap)

    def observe(self, step: Step) -> None:
        """Takes note of one step of the stream; only valid triggers have consequences."""
        if not isinstance(step, EdgeSend) or not step.is_trigger or step.kind is not EdgeKind.VALID:
            return
        odds = ODDS[self._truth.truth_of(step.flow_id).kind]
        digest = blake2b(step.flow_id.encode(), key=self._key, digest_size=24).digest()
        detect, dispute, chargeback = (int.from_bytes(digest[part : part + 8], "big") / 2**64 for part in (0, 8, 16))
        if detect >= odds.detect and dispute >= odds.dispute:
            return
        rng = Random(f"{self._seed}|outside|{step.flow_id}")  # noqa: S311 - the world is reproducible, not secret
        if detect < odds.detect:
            self._expect(SignalKind.DETECTION, step, step.ts_us + _detection_delay(rng))
        if dispute < odds.dispute:
            disputed_us = step.ts_us + _clip(rng.lognormvariate(11.7, 1.0) * US_PER_S, DISPUTE_BOUNDS_US)
            self._expect(SignalKind.DISPUTE, step, disputed_us)
            if chargeback < odds.chargeback:
                self._expect(SignalKind.CHARGEBACK, step, disputed_us + _chargeback_delay(rng))
            else:
                closed_us = disputed_us + _clip(rng.gammavariate(1.6, 2 * US_PER_DAY), CLOSING_BOUNDS_US)
                self._expect(SignalKind.DISPUTE_CLOSED, step, closed_us)

    def due(self, world_us: int) -> list[ExternalSignal]:
        """The signals up to and including a world time, in order of time; each is given once."""
        signals = []
        while self._heap and self._heap[0][0] <= world_us:
            signals.append(heappop(self._heap)[2])
        return signals

    def rest(self) -> list[ExternalSignal]:
        """All signals that are still to come, in order of time: the fast-forward at the end of a run."""
        signals = [signal for _, _, signal in sorted(self._heap, key=lambda entry: entry[:2])]
        self._heap.clear()
        return signals

    def _expect(self, kind: SignalKind, step: EdgeSend, at_us: int) -> None:
        assert step.identity is not None
        reference = f"{kind.value.lower()}-{blake2b(step.flow_id.encode(), key=self._key, digest_size=8).hexdigest()}"
        signal = ExternalSignal(kind, reference, step.identity, step.flow_id, step.ts_us, at_us)
        heappush(self._heap, (at_us, reference, signal))


def _detection_delay(rng: Random) -> int:
    if rng.random() < QUICK_DETECTION_SHARE:
        return int(QUICK_DETECTION_S * rng.uniform(0.8, 1.2) * US_PER_S)
    return min(DETECTION_CAP_US, int(rng.lognormvariate(10.1, 1.05) * US_PER_S))


def _chargeback_delay(rng: Random) -> int:
    delay = rng.gammavariate(2, 7 * US_PER_DAY) if rng.random() < 0.7 else rng.lognormvariate(13, 0.9) * US_PER_S
    return _clip(delay, CHARGEBACK_BOUNDS_US)


def _clip(delay_us: float, bounds: tuple[int, int]) -> int:
    return min(bounds[1], max(bounds[0], int(delay_us)))

"""What goes wrong at the provider, decided by hashing (seed, key, attempt), so that a run can be repeated."""

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Final


class Fault(Enum):
    """What befalls one attempt."""

    NONE = "none"
    UNAVAILABLE = "unavailable"
    """503 before any effect; the client may try again."""
    LOST_BEFORE = "lost_before"
    """The connection closes without an answer and without an effect."""
    LOST_AFTER = "lost_after"
    """The effect is done and durable, then the connection closes without an answer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A permanent no to a key: HTTP status and provider code. There is no effect, now or later."""

    status: int
    code: str


REFUSALS: Final = (Refusal(409, "INSTRUMENT_CLOSED"), Refusal(409, "ALREADY_REVERSED"), Refusal(422, "ACTION_NOT_SUPPORTED"))


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Declared rates. unavailable, lost_before, lost_after and delayed are per attempt; refused is per key.

    Raises ValueError if a rate is outside 0..1 or the three exclusive ones exceed 1 together.
    """

    seed: int = 0
    unavailable: float = 0.01
    lost_before: float = 0.002
    lost_after: float = 0.003
    delayed: float = 0.02
    delay_ms: int = 500
    """Longest delay of a delayed attempt; delays are uniform up to it."""
    refused: float = 0.002

    def __post_init__(self) -> None:
        rates = (self.unavailable, self.lost_before, self.lost_after, self.delayed, self.refused)
        if any(not 0 <= rate <= 1 for rate in rates) or sum(rates[:3]) > 1 or self.delay_ms < 0:
            raise ValueError("rates are shares in 0..1, the exclusive ones at most 1 together, and delay_ms is not negative")

    def fault(self, key: str, attempt: int) -> Fault:
        """What befalls the attempt-th submit (from 1) of a key."""
        draw = self._draw("fault", key, attempt)
        if draw < self.unavailable:
            return Fault.UNAVAILABLE
        if draw < self.unavailable + self.lost_before:
            return Fault.LOST_BEFORE
        if draw < self.unavailable + self.lost_before + self.lost_after:
            return Fault.LOST_AFTER
        return Fault.NONE

    def delay_s(self, key: str, attempt: int) -> float:
        """How many seconds the provider takes before it looks at this attempt."""
        if self._draw("delayed", key, attempt) >= self.delayed:
            return 0.0
        return self._draw("delay", key, attempt) * self.delay_ms / 1_000

    def refusal(self, key: str) -> Refusal | None:
        """The permanent refusal of a key, the same at every attempt; None if the provider will do it."""
        if self._draw("refused", key, 0) >= self.refused:
            return None
        return REFUSALS[int(self._draw("reason", key, 0) * len(REFUSALS))]

    def _draw(self, what: str, key: str, attempt: int) -> float:
        digest = blake2b(f"{self.seed}|{what}|{attempt}|{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

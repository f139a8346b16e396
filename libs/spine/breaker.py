"""Stops a lane that parks too much: a broken producer or policy must not drain a topic into the parking place (runtime.md, Poison)."""

from collections import deque
from collections.abc import Iterable

from laws.verdicts import Verdict


class Breaker:
    """Opens after `consecutive` poisons in a row, or when more than `ratio` of the last `window` inputs were poison."""

    def __init__(self, consecutive: int, ratio: float, window: int) -> None:
        self._consecutive = consecutive
        self._ratio = ratio
        self._recent: deque[bool] = deque(maxlen=window)
        self._row = 0

    def count(self, verdicts: Iterable[Verdict]) -> str | None:
        """Take the verdicts of one transaction; the reason why the lane must stop, or None."""
        for verdict in verdicts:
            if verdict in (Verdict.DUPLICATE, Verdict.MISMATCH):
                continue  # says nothing about whether this lane can apply what it reads
            poison = verdict is Verdict.POISON
            self._row = self._row + 1 if poison else 0
            self._recent.append(poison)
            if self._row >= self._consecutive:
                return f"{self._row} inputs in a row were poison"
        full = len(self._recent) == self._recent.maxlen
        if full and sum(self._recent) > self._ratio * len(self._recent):
            return f"{sum(self._recent)} of the last {len(self._recent)} inputs were poison"
        return None

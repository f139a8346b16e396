"""How many records a lane takes at once, and how long it rests in between (runtime.md, The transaction)."""

import time

_FIRST_BATCH = 200
_SMALLEST_BATCH = 20
# After a batch that took all there was, a lane rests three times as long as its transaction took, so that the next one is worth its round
# trips: without a rest it would begin again for every few records, and eight services on two cores would do nothing else. Where more
# waits, there is no rest; and never one longer than the group allows, nor shorter than half of that.
_REST = 3.0


class Pace:
    """The pace of one lane, told by how long its own transactions take."""

    def __init__(self, batch_max: int, target_seconds: float, longest_rest: float) -> None:
        self._max = batch_max
        self._target = target_seconds
        self._longest_rest = longest_rest
        self._rest_until = 0.0
        self.size = min(_FIRST_BATCH, batch_max)
        """Records of the next batch, at most."""

    @property
    def rest(self) -> float:
        """Seconds until the next batch may be read."""
        return max(0.0, self._rest_until - time.monotonic())

    def applied(self, records: int, seconds: float, *, more: bool) -> None:
        """A batch of so many records was applied by a transaction that took so long; `more` were there."""
        full = records >= self.size
        if seconds > self._target:
            self.size = max(_SMALLEST_BATCH, int(self.size * max(0.5, self._target / seconds)))
        elif full:
            self.size = min(self._max, int(self.size * 1.25) + 1)
        longest = self._longest_rest
        self._rest_until = 0.0 if more else time.monotonic() + min(longest, max(longest / 2, seconds * _REST))

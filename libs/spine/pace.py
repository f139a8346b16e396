"""How many records a lane takes at once, and how long it rests in between (runtime.md, The transaction)."""

import time

from spine.contention import Contention

# From here on what a transaction costs by itself is little beside its events: 5 ms of CPU in all processes, 120 us an event.
_FIRST_BATCH = 500
# A transaction of so few that still takes too long waits for something that smaller ones would only wait for more often.
_SMALLEST_BATCH = 100
# What a transaction took is judged without the time for which the process waited for a core, at most this share of it: on a busy machine
# smaller batches would only make it busier. So a lane's lock is held three times the target, which is the lock timeout, and no longer.
_FORGIVEN = 0.67
# After a batch that took all there was a lane rests, so that the next one is worth its round trips: without a rest it would begin again for
# every few records, and eight services on two cores would do nothing else. On an idle machine it rests this share of the longest rest that
# its group allows, because nobody else wants the core; on a full one it rests the longest.
_LEAST_REST = 0.2
# Nor shorter than its transaction took: what is slow for another reason than the cores is not begun more often than that.
_REST = 1.0


class Pace:
    """The pace of one lane, told by how long its own transactions take."""

    def __init__(self, batch_max: int, target_seconds: float, longest_rest: float, contention: Contention) -> None:
        self._max = batch_max
        self._target = target_seconds
        self._longest_rest = longest_rest
        self._contention = contention
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
        own = seconds * (1.0 - min(_FORGIVEN, self._contention.share))
        if own > self._target:
            self.size = max(min(_SMALLEST_BATCH, self._max), round(self.size * max(0.5, self._target / own)))
        elif full:
            self.size = min(self._max, self.size * 2)
        self._rest_until = 0.0 if more else time.monotonic() + self._rest_after(seconds)

    def _rest_after(self, seconds: float) -> float:
        longest = self._longest_rest
        share = _LEAST_REST + (1.0 - _LEAST_REST) * self._contention.fullness
        return min(longest, max(longest * share, seconds * _REST))

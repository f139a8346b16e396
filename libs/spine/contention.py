"""How busy the machine is, as this process feels it."""

import time
from pathlib import Path

# Nanoseconds that the process's first thread ran, and that it was ready to run and waited for a core. The event loop is that thread.
_STAT = Path("/proc/self/schedstat")
_LOOK_EVERY = 0.25
# Weight of a newest look: what a single burst of a neighbour says is over within a second or two.
_WEIGHT = 0.3
# A process that waits for a core for this share of its time is on a full machine.
_FULL = 0.4


class Contention:
    """Looks at most four times a second, whoever asks."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._looked_at = time.monotonic()
        self._ran, self._waited = self._look() or (0, 0)
        self._share = 1.0

    @property
    def share(self) -> float:
        """Of the time in which it had work, the share for which it waited for a core: 0 on an idle machine, 1 where nobody says."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            found = self._look()
            if found is None:
                self._share = 1.0
            else:
                ran, waited = found[0] - self._ran, found[1] - self._waited
                self._ran, self._waited = found
                if ran + waited > 0:
                    self._share += _WEIGHT * (waited / (ran + waited) - self._share)
        return self._share

    @property
    def fullness(self) -> float:
        """How full the machine is: from 0, where nobody else wants a core, to 1, where it is full."""
        return min(1.0, self.share / _FULL)

    def _look(self) -> tuple[int, int] | None:
        try:
            ran, waited, _ = self._stat.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            # No such file outside of Linux, and none where a kernel was built without it.
            return None
        return int(ran), int(waited)

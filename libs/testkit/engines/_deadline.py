"""A point in time that a wait may not pass."""

from __future__ import annotations

import time
from collections.abc import Callable

from testkit.engines._errors import EngineError

# Short against every start (0.1 s and more), long against the cost of one look (a file read or a refused connection, under 1 ms).
POLL_SECONDS = 0.01


class DeadlineExceededError(EngineError):
    """What was waited for did not come true in time."""


class Deadline:
    """A budget of seconds, counted on the monotonic clock from construction, and handed down to everything that spends it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._end

    def check(self, what: str) -> None:
        """Raise DeadlineExceededError, naming `what`, once the budget is spent."""
        if self.expired:
            raise DeadlineExceededError(f"{what}: not within {self.seconds:g} s")

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Poll `condition` until it holds; raises DeadlineExceededError, naming `what`, when it does not in time."""
        while not condition():
            self.check(what)
            time.sleep(min(POLL_SECONDS, self.left()))

"""One budget, handed down: what is left of it bounds every wait below (anchors.md, style 4)."""

import time


class DeadlineExceededError(Exception):
    """`what` was not done within its budget of `seconds`."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} was not done within {seconds:g} s")
        self.what = what
        self.seconds = seconds


class Deadline:
    """A point on the monotonic clock. Steps of one job share it, so that their waits can't add up to more than the job may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - time.monotonic())

    @property
    def expired(self) -> bool:
        """True when nothing is left."""
        return self.left == 0.0

    def check(self, what: str) -> None:
        """Raises DeadlineExceededError naming `what` when the budget is spent."""
        if self.expired:
            raise DeadlineExceededError(what, self.seconds)

"""The token bucket in front of the edge (authority.md 5.1.1 item 11; lesson L11)."""

import math
import time
from collections.abc import Callable


class TokenBucket:
    """`per_second` tokens flow in, at most `burst` are kept. One event costs one token.

    It starts full: a process that started empty would refuse the first second of every source that starts with it (L11).
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def admit(self) -> int:
        """0 if a request may pass, and one token is taken; else the whole seconds after which it may come again."""
        self._refill()
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return max(1, math.ceil((1 - self._tokens) / self._per_second))

    def take(self, tokens: float) -> int:
        """As `admit`, for `tokens` tokens: what is there need only be one, the rest is a debt."""
        if wait_s := self.admit():
            return wait_s
        self._tokens -= tokens - 1
        return 0

    def charge(self, tokens: int) -> None:
        """Take tokens for work that was admitted before its size was known. The debt holds back the requests that follow."""
        self._refill()
        self._tokens -= tokens

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now

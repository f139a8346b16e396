"""Even sampling at a declared rate: exact counts at every size, at places that the seed decides."""

from collections.abc import Iterator
from random import Random
from sys import maxsize
from typing import Final

NEVER: Final = maxsize
"""A position that no count of units reaches."""


def strata(seed: str, rate: float, early: int) -> Iterator[int]:
    """Yields the positions (0, 1, 2 ..) of the units that are picked, one in every stretch of 1/rate units.

    After n units the count is n * rate to within one. If a stretch is longer than early units, two picks are drawn forward into
    the first 2 * early units, so that a rare kind occurs in a small world too. A rate of 0 picks nothing.
    """
    if rate <= 0:
        return
    rng = Random(seed)  # noqa: S311 - the world is reproducible, not secret
    stretch = 1 / rate
    start = 0.0
    if stretch > early:
        for begin in (0, early):
            yield begin + int(rng.random() * early)
        start = 2.0 * early
    while True:
        yield int(start + rng.random() * stretch)
        start += stretch

"""What a measurement of the whole spine is told, and which goals stand beside what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# The user's goals (README, What it must do): beside every figure, so that a page can't be read without them.
GOAL_RATE = 3000.0
GOAL_P95_MS = 350
GOAL_P99_MS = 700
GOAL_RECOVERY_S = 180.0


@dataclass(frozen=True)
class SpineOptions:
    """Options of `fp bench spine`. Rates are valid events a second: what the edge must admit."""

    rate: float = GOAL_RATE
    minutes: float = 10.0
    warm_seconds: float = 20.0
    """At half the rate: connections, caches and plans are there before anything counts."""
    burst: float = 0.0
    burst_seconds: float = 60.0
    after_seconds: float = GOAL_RECOVERY_S
    """At the rate again after a burst, to see the platform recover."""
    search: bool = False
    """Find the highest rate that holds first, and measure at that one where it is below `rate`."""
    search_seconds: float = 40.0
    array: int = 100
    seed: int = 42
    workers: dict[str, int] = field(default_factory=dict)
    profile: bool = False
    table: str = "memory"
    """Where the edge keeps its admission rows: memory or dynamodb."""
    drain_seconds: float = 1800.0
    runs: Path = Path("runs/bench_spine")
    keep_bodies: bool = False


class Phase(NamedTuple):
    """A time at one rate."""

    name: str
    rate: float
    seconds: float


def phases(options: SpineOptions) -> list[Phase]:
    """What the driver is told, in order."""
    found = [Phase("warm-up", options.rate / 2, options.warm_seconds), Phase("steady", options.rate, 60 * options.minutes)]
    if options.burst:
        found += [Phase("burst", options.burst, options.burst_seconds), Phase("after", options.rate, options.after_seconds)]
    return found


def events_of(told: list[Phase]) -> int:
    """Valid events that phases send."""
    return int(sum(phase.rate * phase.seconds for phase in told))

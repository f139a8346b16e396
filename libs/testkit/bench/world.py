"""`fp bench world`: what a step of the world costs, and what playing one holds in memory as it grows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from testkit.world import EdgeSend, RunIds, World, WorldConfig

GOAL_PER_S = 30_000.0
"""Ten times the rate that the platform is measured at."""
GOAL_GROWTH = 1.1
_RUN = RunIds("platform_20260105T000000Z", "a" * 32)


class Mark(NamedTuple):
    """Where the stream stood."""

    valid: int
    steps: int
    cpu_s: float
    own_bytes: int
    """Memory of this process without what it shares with others."""
    tracked: int
    """Objects that playing has needed at most: pending happenings and the pool of merchants."""
    triggers: int

    @property
    def us_per_step(self) -> float:
        """CPU microseconds a step, since the beginning."""
        return 1e6 * self.cpu_s / self.steps


def measure(sizes: list[int], say: Callable[[str], None]) -> list[Mark]:
    """Plays one world up to the largest size and looks at each size."""
    stream = World(WorldConfig(seed=1, size=max(sizes)), _RUN).play()
    left = sorted(sizes)
    found: list[Mark] = []
    triggers = 0
    began = time.process_time()
    for steps, step in enumerate(stream, 1):
        triggers += isinstance(step, EdgeSend) and step.is_trigger
        if stream.valid >= left[0]:
            left.pop(0)
            gc.collect()
            found.append(Mark(stream.valid, steps, time.process_time() - began, _own_bytes(), stream.tracked_peak, triggers))
            say(line_of(found[-1]))
            if not left:
                break
    return found


def line_of(mark: Mark) -> str:
    """One mark for the eye."""
    return (
        f"{mark.valid:>11,} valid events: {mark.us_per_step:5.1f} us of CPU a step ({1e6 / mark.us_per_step:,.0f} a second), "
        f"{mark.own_bytes / 1e6:6.1f} MB, {mark.tracked:,} objects at most, {100 * mark.triggers / mark.valid:.2f} triggers in 100"
    )


def verdicts(found: list[Mark]) -> list[tuple[bool, str]]:
    """Whether it is fast enough, and whether it grows from the last size but one to the last."""
    last = found[-1]
    rate = 1e6 / last.us_per_step
    said = [(rate >= GOAL_PER_S, f"{rate:,.0f} steps a second on one core (goal {GOAL_PER_S:,.0f})")]
    if len(found) > 1:
        before = found[-2]
        growth = last.own_bytes / before.own_bytes
        said.append(
            (growth <= GOAL_GROWTH, f"memory at {last.valid:,} events is {growth:.3f} times that at {before.valid:,} (goal {GOAL_GROWTH})")
        )
    return said


def _own_bytes() -> int:
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * 4096

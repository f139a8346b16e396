"""A worker's own clock that jumps: a wall clock that an operator sets, a monotonic clock that skips after the machine stood still.

Only the worker's view changes (`time.time`, `time.monotonic`): the database's clock, by which leases and deadlines go, stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

CLOCK = "TESTKIT_CLOCK"


def clock_jump(after: float, wall: float, monotonic: float) -> dict[str, str]:
    """The environment of a worker whose clocks jump `after` seconds from its start; a monotonic clock never goes back."""
    return {CLOCK: f"{after:g} {wall:g} {max(0.0, monotonic):g}"}


def install_clock(environment: Mapping[str, str]) -> None:
    """Patch this process's clocks as `clock_jump` ordered; without an order nothing changes."""
    if not environment.get(CLOCK):
        return
    after, wall, monotonic = (float(part) for part in environment[CLOCK].split())
    real_time, real_monotonic = time.time, time.monotonic
    jumps_at = real_monotonic() + after

    def jumped_time() -> float:
        return real_time() + (wall if real_monotonic() >= jumps_at else 0.0)

    def jumped_monotonic() -> float:
        now = real_monotonic()
        return now + (monotonic if now >= jumps_at else 0.0)

    time.time, time.monotonic = jumped_time, jumped_monotonic

"""The highest rate at which the backlog stays bounded, by halving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from spine.deadline import Deadline
from testkit.bench.driving import Driving
from testkit.bench.watch import Watch

_STEPS = 6
# A rate holds when what is behind, or not answered yet, at its end is less than this many seconds of it.
_BOUND_SECONDS = 2.0
_SETTLE_SECONDS = 600.0
_WARM_SHARE, _WARM_SECONDS = 10, 10.0


async def highest_rate(
    driving: Driving, watch: Watch, ceiling: float, seconds: float, settled: int, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], float]:
    """Every rate that was tried with what it left, and the highest that held (0 where none did)."""
    tried: list[dict[str, Any]] = []
    # Connections, caches and plans: the first rate must not be judged by a cold start.
    await driving.phase(ceiling / _WARM_SHARE, _WARM_SECONDS)
    await _settled(driving, watch, settled)
    low, high, rate = 0.0, ceiling, ceiling
    for _ in range(_STEPS):
        await driving.phase(rate, seconds)
        look, said = await watch.look(), driving.told[-1]
        left = look.backlog + said["unanswered"]
        held = left <= _BOUND_SECONDS * rate
        tried.append({"rate": round(rate, 1), "backlog": look.backlog, "unanswered": said["unanswered"], "held": held})
        say(f"  {rate:,.0f}/s {'holds' if held else 'does not hold'}: {look.backlog:,} behind, {said['unanswered']:,} unanswered")
        await _settled(driving, watch, settled)
        low, high = (rate, high) if held else (low, rate)
        if held and rate == ceiling:
            break
        rate = (low + high) / 2
    return tried, low


async def _settled(driving: Driving, watch: Watch, backlog: int) -> None:
    deadline = Deadline(_SETTLE_SECONDS)
    while (await watch.look()).backlog > backlog or driving.told[-1]["unanswered"] > 0:
        deadline.check("the platform to catch up between two rates")
        await asyncio.sleep(0.5)

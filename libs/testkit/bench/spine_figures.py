"""What a run of the whole spine comes to: latency over time, recovery, memory, and where the CPU went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from testkit.bench.plan import GOAL_P95_MS
from testkit.bench.usage import spent_between
from testkit.bench.watch import Look
from testkit.run.figures import Decided

WINDOW_S = 10
# A process whose memory grows by less than this share of itself, or by less than these bytes, over the later half of the steady part is
# flat: an allocator moves by as much. In the first half what is kept on purpose fills up (windows, plans, pages of an allocator).
_FLAT_SHARE = 0.025
_FLAT_BYTES = 2 * 1024 * 1024
# Looks below which a straight line through either half says nothing.
_POINTS = 6
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Window(NamedTuple):
    """Latencies (ms) of the decisions that could be made within ten seconds."""

    at: int
    """Epoch seconds."""
    events: int
    p50: int
    p95: int
    p99: int
    max: int


class Memory(NamedTuple):
    """Memory of a process (or of all processes of a name) over the steady part."""

    name: str
    mean_bytes: float
    growth_bytes: float
    """By the straight line through all looks, from the beginning of the part to its end."""
    late_bytes: float
    """The same over the later half of it."""

    @property
    def flat(self) -> bool:
        """Whether it stays where it is."""
        return self.late_bytes <= max(_FLAT_BYTES, _FLAT_SHARE * self.mean_bytes)


def percentiles(waited_ms: NDArray[np.int64]) -> dict[str, int]:
    """p50, p95, p99 and the largest, and how many."""
    ordered = np.sort(waited_ms)
    count = len(ordered)
    found = {name: int(ordered[min(count - 1, int(share * count))]) if count else 0 for name, share in _SHARES.items()}
    return {"events": count, **found}


def between(found: Decided, begin: float, end: float) -> NDArray[np.bool_]:
    """Which decisions could be made within a time (epoch seconds)."""
    return (found.possible_ms >= 1000 * begin) & (found.possible_ms < 1000 * end)


def windows(found: Decided) -> list[Window]:
    """Of decisions with their context, by when they could be made."""
    possible, waited = found.possible_ms[found.ready], found.waited_ms[found.ready]
    if not len(possible):
        return []
    numbers = possible // (1000 * WINDOW_S)
    return [Window(int(number) * WINDOW_S, **percentiles(waited[numbers == number])) for number in np.unique(numbers)]


def recovery(all_windows: Sequence[Window], looks: Sequence[Look], steady: tuple[float, float], after: float) -> float | None:
    """Seconds from a moment until p95 and backlog are back where they were in the steady part, and stay there; None if they never were.

    The p95 is back at the goal, or at the worst window of the steady part where that was above it.
    """
    calm = [window for window in all_windows if steady[0] + WINDOW_S <= window.at < steady[1] - WINDOW_S]
    p95 = max([GOAL_P95_MS, *(window.p95 for window in calm)])
    backlog = max([1, *(look.backlog for look in looks if steady[0] <= look.at < steady[1])])
    bad: list[float] = [window.at + WINDOW_S for window in all_windows if window.at + WINDOW_S > after and window.p95 > p95]
    bad += [look.at for look in looks if look.at > after and look.backlog > backlog]
    ends = max((look.at for look in looks), default=after)
    last = max(bad, default=after)
    return None if last >= ends - WINDOW_S else max(0.0, last - after)


def memories(looks: Sequence[Look], begin: float, end: float) -> list[Memory]:
    """Of every process that has memory, over a time."""
    inside = [look for look in looks if begin <= look.at <= end]
    names = sorted({name for look in inside for name, spent in look.spent.items() if spent.own_bytes})
    return [memory for name in names if (memory := _memory(name, inside)) is not None]


def _memory(name: str, looks: Sequence[Look]) -> Memory | None:
    points = [(look.at, look.spent[name].own_bytes) for look in looks if name in look.spent and look.spent[name].own_bytes]
    if len(points) < _POINTS:
        return None
    at = np.array([point[0] for point in points])
    held = np.array([point[1] for point in points], dtype=float)
    late = at >= (at[0] + at[-1]) / 2
    return Memory(name, float(held.mean()), _growth(at, held), _growth(at[late], held[late]))


def _growth(at: NDArray[np.float64], held: NDArray[np.float64]) -> float:
    return float(np.polyfit(at - at[0], held, 1)[0]) * float(at[-1] - at[0])


def cpu_us_per_event(looks: Sequence[Look], begin: float, end: float, events: int) -> dict[str, float]:
    """CPU microseconds an admitted event by process, over a time."""
    inside = [look for look in looks if begin <= look.at <= end]
    if len(inside) < 2 or not events:
        return {}
    # Looks do not fall on the very ends: what was used between them stands for the same share of the events.
    share = (inside[-1].at - inside[0].at) / (end - begin)
    spent: Mapping[str, float] = spent_between(inside[0].spent, inside[-1].spent)
    return {name: 1e6 * seconds / (events * share) for name, seconds in sorted(spent.items(), key=lambda entry: -entry[1])}


class Pace(NamedTuple):
    """How a service's lanes went through their records, over a time."""

    service: str
    transactions_per_s: float
    records_per_transaction: float
    """Of its topics; a transaction of answers, timers or commands has none."""


def paces(looks: Sequence[Look], begin: float, end: float) -> list[Pace]:
    """Of every service that applied something, over a time."""
    inside = [look for look in looks if begin <= look.at <= end]
    if len(inside) < 2:
        return []
    first, last = inside[0], inside[-1]
    found = []
    for name in sorted(last.transactions):
        transactions, read = last.transactions[name] - first.transactions[name], last.read[name] - first.read[name]
        if transactions:
            found.append(Pace(name, transactions / (last.at - first.at), read / transactions))
    return found


def told_between(told: Sequence[Mapping[str, Any]], begin: float, end: float) -> list[Mapping[str, Any]]:
    """What the driver said within a time."""
    return [said for said in told if begin <= said["at"] <= end]


def admitted_between(told: Sequence[Mapping[str, Any]], begin: float, end: float) -> int:
    """Events admitted within a time, as the driver counted answers; by their rate between the first and the last time it told."""
    inside = told_between(told, begin, end)
    if len(inside) < 2:
        return 0
    first, last = inside[0], inside[-1]
    return round(float(last["admitted"] - first["admitted"]) / float(last["at"] - first["at"]) * (end - begin))

"""What the measurements say: medians over the rounds, ratios within a round, and the goals beside them."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from benchmarks.machine import Spent
from benchmarks.results import Results

# What the spine is built to reach (docs/performance.md): on two cores, with broker and database on the same two.
GOAL_RATE = 10_000


class Ratio(NamedTuple):
    """Our service beside another contender."""

    title: str
    ours: str
    theirs: str
    goal: float


RATIOS = (
    Ratio("our service / floor, one process each", "service", "floor", 0.65),
    Ratio("our service / floor, two processes each", "service_2", "floor_2", 0.65),
    Ratio("our service, best / FastStream, one at a time", "best", "faststream_one", 20),
    Ratio("our service, best / faust agent, one at a time", "best", "faust_one", 10),
    Ratio("our service, best / FastStream, batches", "best", "faststream_batch", 0),
    Ratio("our service, best / faust agent, take()", "best", "faust_take", 0),
)


class Summary(NamedTuple):
    """One contender over all rounds that were exact."""

    name: str
    rates: list[float]
    events: int
    """Of each round."""
    events_per_s: float
    spread: float
    """Largest less smallest rate, as a share of the median."""
    cpu_us: dict[str, float]


def summary(results: Results, name: str) -> Summary | None:
    """Medians of a contender; None where it has no exact drain."""
    drains = [drained for drained in results.drains if drained.contender == name and not drained.wrong]
    if not drains:
        return None
    rates = [drained.events_per_s for drained in drains]
    middle = median(rates)
    groups = sorted({group for drained in drains for group in drained.cpu_us})
    cpu = {group: round(median([drained.cpu_us.get(group, 0.0) for drained in drains]), 1) for group in groups}
    return Summary(name, rates, drains[0].events, middle, (max(rates) - min(rates)) / middle, cpu)


def best_of_ours(results: Results) -> str | None:
    """The faster of our service's two forms."""
    found = [found for name in ("service", "service_2") if (found := summary(results, name)) is not None]
    return max(found, key=lambda one: one.events_per_s).name if found else None


def ratio(results: Results, of: Ratio) -> float | None:
    """Median of the ratios within each round: what slows a whole round down is in both."""
    ours = best_of_ours(results) if of.ours == "best" else of.ours
    pairs = []
    for number in sorted({drained.round for drained in results.drains}):
        mine, theirs = _rate(results, ours, number), _rate(results, of.theirs, number)
        if mine is not None and theirs is not None:
            pairs.append(mine / theirs)
    return median(pairs) if pairs else None


def _rate(results: Results, name: str | None, number: int) -> float | None:
    for drained in results.drains:
        if drained.contender == name and drained.round == number and not drained.wrong:
            return drained.events_per_s
    return None


class Goal(NamedTuple):
    """A goal and what was measured."""

    text: str
    measured: str
    reached: bool


def goals(results: Results) -> list[Goal]:
    """Those of which something was measured."""
    found: list[Goal] = []
    best = best_of_ours(results)
    best_summary = summary(results, best) if best else None
    if best_summary is not None:
        rate = best_summary.events_per_s
        found.append(Goal(f"our service drains at least {GOAL_RATE:,} events/s", f"{rate:,.0f}/s", rate >= GOAL_RATE))
    for of in RATIOS:
        value = ratio(results, of)
        if of.goal and value is not None:
            found.append(Goal(f"{of.title}: at least {of.goal:g}", f"{value:.2f}", value >= of.goal))
    return found


def spents(results: Results) -> list[Spent]:
    """What was spent in each measurement, in their order."""
    return [drained.spent for drained in results.drains] + [found.spent for found in results.latencies]


def line(results: Results) -> dict[str, object]:
    """What is kept of a run in the history."""
    best = best_of_ours(results)
    found = summary(results, best) if best else None
    others = [spent.others for spent in spents(results)]
    return {
        "at": results.at,
        "revision": results.revision,
        "plan": results.plan.name,
        "events_per_s": found.events_per_s if found else None,
        "cpu_us": found.cpu_us if found else None,
        "ratios": {of.title: round(value, 3) for of in RATIOS if (value := ratio(results, of)) is not None},
        "p99_ms": {
            f"{latency.offered_per_s:g}": latency.shares_ms.get("p99") for latency in results.latencies if latency.contender == "service"
        },
        "fabric_per_s": max((fabric.events_per_s for fabric in results.fabric), default=None),
        "fsync_median_ms": median([probe.fsync.median_ms for probe in results.disk]) if results.disk else None,
        "others_cores": round(median(others), 2) if others else None,
        "failures": len(results.failures),
    }

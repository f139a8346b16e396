"""What the measurements say: medians over the rounds, ratios within a round, and the goals beside them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from benchmarks.edge.measure import ARRAY, TABLES, Cost
from benchmarks.edge.producer import Form
from benchmarks.machine import Spent
from benchmarks.results import Results

# What the spine is built to reach (docs/performance.md): on two cores, with broker and database on the same two.
GOAL_RATE = 10_000
# The edge's goals: the 99th percentile of single requests by offered rate, and what an event of an array may cost of a single one.
EDGE_P99_MS = {200: 50.0, 400: 60.0}
EDGE_ARRAY_SHARE = 0.2


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
    return found + _edge_goals(results)


def _edge_goals(results: Results) -> list[Goal]:
    found: list[Goal] = []
    for waited in results.edge_waits:
        if not waited.wrong and (most := EDGE_P99_MS.get(int(waited.offered_per_s))) is not None:
            text = f"edge, rows in {waited.table}, {waited.offered_per_s:g} single requests/s: p99 at most {most:g} ms"
            found.append(Goal(text, f"{waited.shares_ms['p99']:.1f} ms", waited.shares_ms["p99"] <= most))
    for table in TABLES:
        if (share := edge_share(results, table, Form.ARRAY)) is not None:
            text = f"edge, rows in {table}: an event of an array of {ARRAY} costs the edge less than a fifth of a single request"
            found.append(Goal(text, f"{share:.3f}", share < EDGE_ARRAY_SHARE))
    return found


def edge_cost(results: Results, table: str, form: Form) -> Cost | None:
    """What events in one form of request cost; None where that has no figure."""
    return next((cost for cost in results.edge_costs if (cost.table, cost.form) == (table, form) and not cost.wrong), None)


def edge_share(results: Results, table: str, form: Form, *, backends: bool = False) -> float | None:
    """CPU of an event in one form as a share of a single request's: the edge's own, or with broker and emulator."""
    of, single = edge_cost(results, table, form), edge_cost(results, table, Form.SINGLE)
    if of is None or single is None:
        return None
    return (edge_all(of.cpu_us) / edge_all(single.cpu_us)) if backends else of.cpu_us["contender"] / single.cpu_us["contender"]


def edge_all(cpu_us: Mapping[str, float]) -> float:
    """Of everybody but the producer."""
    return sum(us for name, us in cpu_us.items() if name != "benchmark")


def spents(results: Results) -> list[Spent]:
    """What was spent in each measurement, in their order."""
    edge = [waited.spent for waited in results.edge_waits] + [cost.spent for cost in results.edge_costs]
    return [drained.spent for drained in results.drains] + [found.spent for found in results.latencies] + edge


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
        "edge_p99_ms": {f"{waited.table} {waited.offered_per_s:g}": waited.shares_ms["p99"] for waited in results.edge_waits},
        "edge_cpu_us": {f"{cost.table} {cost.form}": cost.cpu_us["contender"] for cost in results.edge_costs},
        "fsync_median_ms": median([probe.fsync.median_ms for probe in results.disk]) if results.disk else None,
        "others_cores": round(median(others), 2) if others else None,
        "failures": len(results.failures),
    }

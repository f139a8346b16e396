"""What a run of the whole spine comes to: the figures of spine.json, and the lines at its end."""

from __future__ import annotations

import resource
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from testkit.bench.course import Course, Played
from testkit.bench.cpu_table import ServiceCost, read_profiles, service_cost
from testkit.bench.plan import GOAL_P95_MS, GOAL_P99_MS, GOAL_RATE, GOAL_RECOVERY_S
from testkit.bench.spine_figures import (
    Window,
    admitted_between,
    between,
    cpu_us_per_event,
    memories,
    paces,
    percentiles,
    recovery,
    told_between,
    windows,
)
from testkit.run.bus_facts import Bus
from testkit.run.equations import Reconciliation
from testkit.run.figures import decided


def summary_of(course: Course, bus: Bus, result: Reconciliation) -> dict[str, Any]:
    """For spine.json and the page. Raises RuntimeError where there was no steady phase."""
    found = decided(bus)
    by_window = windows(found)
    steady = course.of("steady")
    if steady is None:
        raise RuntimeError("there was no steady phase")
    inside = between(found, steady.begin, steady.end)
    admitted = admitted_between(course.told, steady.begin, steady.end)
    seconds = steady.end - steady.begin
    ready = percentiles(found.waited_ms[inside & found.ready])
    held = memories(course.looks, steady.begin, steady.end)
    goals = _goals(course, by_window, ready, admitted / seconds)
    growing = [memory.name for memory in held if not memory.flat and memory.name not in _keeps(course)]
    goals.append(_goal("processes of the platform whose memory grows", 0, len(growing), not growing))
    return {
        "run": course.platform.run.platform_run_id,
        "release_id": course.platform.release_id,
        "verdict": "PASS" if result.holds else "FAIL",
        "goals": goals,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in asdict(course.options).items()},
        "edge_table": course.options.table,
        "mix": {**course.mix._asdict(), "triggers_per_100": round(course.mix.triggers_per_100, 2)},
        "phases": [{**played.phase._asdict(), "begin": played.begin, "end": played.end} for played in course.played],
        "searched": course.searched,
        "overloaded": course.overloaded,
        "counts": result.counts,
        "steady": {
            "seconds": round(seconds, 1),
            "admitted": admitted,
            "admitted_per_s": round(admitted / seconds, 1),
            "latency_ms": ready,
            "without_context_ms": percentiles((found.decided_ms - found.admitted_ms)[inside & ~found.ready]),
            "driver_late_ms": max((said["late_ms"] for said in told_between(course.told, steady.begin, steady.end)), default=0.0),
        },
        "drain_seconds": round(course.drain_seconds, 1),
        "reconciliation": {
            "seconds": round(course.reconcile_seconds, 1),
            "records": bus.records,
            # Linux tells it in kilobytes.
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        },
        "windows": [window._asdict() for window in by_window],
        "admitted": _admitted_series(course),
        "backlog": [
            {"at": look.at, "behind": {name: list(lanes.values()) for name, lanes in look.behind.items()}, "pending": look.pending}
            for look in course.looks
        ],
        "memory": [
            {
                "name": memory.name,
                "mean_mb": round(memory.mean_bytes / 1e6, 1),
                "growth_mb": round(memory.growth_bytes / 1e6, 2),
                "late_mb": round(memory.late_bytes / 1e6, 2),
                "bytes_per_event": round(memory.growth_bytes / max(1, admitted)),
                "flat": memory.flat,
                "keeps": _keeps(course).get(memory.name, ""),
            }
            for memory in held
        ],
        "own_bytes": [
            {"at": look.at, **{name: spent.own_bytes for name, spent in look.spent.items() if spent.own_bytes}} for look in course.looks
        ],
        "cpu_us_per_event": {name: round(us, 2) for name, us in cpu_us_per_event(course.looks, steady.begin, steady.end, admitted).items()},
        "paces": [
            {
                "service": pace.service,
                "transactions_per_s": round(pace.transactions_per_s, 1),
                "records_per_transaction": round(pace.records_per_transaction, 1),
            }
            for pace in paces(course.looks, steady.begin, steady.end)
        ],
        "steps": [_cost(cost) for cost in _step_costs(course, admitted, steady)],
        "driver": {"responses_by_status": course.sent["responses_by_status"], "kinds": course.sent["kinds"], "told": course.told},
    }


def _keeps(course: Course) -> dict[str, str]:
    """Processes that must grow, and why: what they keep is not the platform's state."""
    found = {"driver": "the books of the run", "provider": "every effect, as the outside would"}
    return found | ({"ingress": "the admission rows, which stand in a table elsewhere"} if course.options.table == "memory" else {})


def _goals(course: Course, by_window: list[Window], ready: dict[str, int], per_second: float) -> list[dict[str, Any]]:
    goals = [
        _goal("admitted/s", GOAL_RATE, round(per_second, 1), round(per_second) >= GOAL_RATE * 0.995),
        _goal("p95 ms", GOAL_P95_MS, ready["p95"], ready["events"] > 0 and ready["p95"] <= GOAL_P95_MS),
        _goal("p99 ms", GOAL_P99_MS, ready["p99"], ready["events"] > 0 and ready["p99"] <= GOAL_P99_MS),
    ]
    burst, steady = course.of("burst"), course.of("steady")
    if burst is not None and steady is not None:
        recovered = recovery(by_window, course.looks, (steady.begin, steady.end), burst.end)
        met = recovered is not None and recovered <= GOAL_RECOVERY_S
        goals.append(_goal("s until stable after the burst", GOAL_RECOVERY_S, None if recovered is None else round(recovered, 1), met))
    return goals


def _goal(what: str, goal: float, measured: float | None, met: bool) -> dict[str, Any]:
    return {"what": what, "goal": goal, "measured": measured, "met": met}


def _admitted_series(course: Course) -> list[dict[str, float]]:
    points = [said for said in course.told if "phase_over" not in said]
    return [
        {
            "at": after["at"],
            "per_s": round((after["admitted"] - before["admitted"]) / max(0.001, after["at"] - before["at"]), 1),
            "unanswered": after["unanswered"],
        }
        for before, after in pairwise(points)
    ]


def _step_costs(course: Course, admitted: int, steady: Played) -> list[ServiceCost]:
    if not course.options.profile:
        return []
    # A profile spans the life of its process: it only shares out the CPU that was used in the steady part.
    spent = cpu_us_per_event(course.looks, steady.begin, steady.end, admitted)
    found = []
    for name in course.platform.processes:
        profiles = read_profiles(course.platform.folder, name)
        if profiles and name in spent:
            found.append(service_cost(name, profiles, admitted, cpu_s=spent[name] * admitted / 1e6))
    return found


def _cost(cost: ServiceCost) -> dict[str, Any]:
    return {
        "service": cost.service,
        "us_per_event": round(cost.us_per_event, 2),
        "samples": cost.samples,
        "steps": {step.step: round(step.us_per_event, 2) for step in cost.steps},
        "functions": {step: [(name, round(us, 2)) for name, us in functions[:6]] for step, functions in cost.leaves.items()},
    }


def lines_of(summary: dict[str, Any], result: Reconciliation) -> list[str]:
    """The end of a run in lines."""
    lines = [line for check in result.checks if not check.holds for line in check.lines()]
    lines.append(f"  {len(result.checks)} equations, {sum(check.holds for check in result.checks)} hold")
    steady = summary["steady"]
    latency, apart = steady["latency_ms"], steady["without_context_ms"]
    lines += [
        f"  admitted {steady['admitted_per_s']:,.1f}/s over {steady['seconds']:.0f} s, driver late by {steady['driver_late_ms']:.0f} ms",
        f"  later admission to decision: {', '.join(f'{share} {latency[share]} ms' for share in ('p50', 'p95', 'p99', 'max'))}",
        f"  context waits apart: {apart['events']:,}, p50 {apart['p50']} ms, max {apart['max']} ms",
        "  CPU us an admitted event: " + ", ".join(f"{name} {us:.0f}" for name, us in summary["cpu_us_per_event"].items() if us >= 0.5),
        "  transactions/s of so many records: "
        + ", ".join(
            f"{each['service']} {each['transactions_per_s']:.1f} of {each['records_per_transaction']:.0f}" for each in summary["paces"]
        ),
        f"  in all {sum(summary['cpu_us_per_event'].values()):.0f} us; drained {summary['drain_seconds']} s after the last body",
    ]
    for held in summary["memory"]:
        if not held["flat"]:
            keeps = f" (it keeps {held['keeps']})" if held["keeps"] else ""
            grown = f"by {held['growth_mb']} MB of {held['mean_mb']} MB, {held['late_mb']} MB of it in the later half"
            lines.append(f"  memory grows: {held['name']} {grown}{keeps}")
    for goal in summary["goals"]:
        lines.append(f"  {'met   ' if goal['met'] else 'MISSED'} {goal['what']}: {goal['measured']} (goal {goal['goal']:g})")
    lines.append(f"{summary['verdict']}: {summary['counts']['admitted']:,} admitted, {summary['counts']['decided']:,} decided")
    return lines

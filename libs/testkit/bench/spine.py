"""`fp bench spine`: the whole platform under an open-loop driver, then every event reconciled (docs/performance.md, The whole spine)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from spine.deadline import Deadline
from testkit.bench.bodies import Mix, write_bodies
from testkit.bench.cpu_table import ServiceCost, read_profiles, service_cost
from testkit.bench.driving import Driving
from testkit.bench.plan import GOAL_P95_MS, GOAL_P99_MS, GOAL_RATE, GOAL_RECOVERY_S, Phase, SpineOptions, events_of, phases
from testkit.bench.search import highest_rate
from testkit.bench.spine_figures import (
    Window,
    admitted_between,
    between,
    cpu_us_per_event,
    memories,
    percentiles,
    recovery,
    told_between,
    windows,
)
from testkit.bench.spine_page import write_spine_page
from testkit.bench.watch import Look, Watch
from testkit.run.answers import Answers, Surprise
from testkit.run.bus_facts import Bus, read_bus
from testkit.run.equations import Reconciliation
from testkit.run.figures import decided, latencies
from testkit.run.observe import Observer, Sample
from testkit.run.platform import Platform, PlatformPlan, new_run, raise_platform
from testkit.run.quiesce import Quiescence
from testkit.run.reconcile import Injected, Said, reconcile
from testkit.world import Answer, WorldConfig

# Bodies beyond what the phases need: a driver at the end of its file would send nothing more, and look like a platform at rest.
_SPARE = 1.02
_RUNNER = "testkit.bench.profiled"
# Lag that a platform in order has at a moment; a search waits for it between two rates.
_SETTLED_BACKLOG = 200

Say = Callable[[str], None]


class Played(NamedTuple):
    """A phase, and when it was (epoch seconds)."""

    phase: Phase
    begin: float
    end: float


@dataclass
class Course:
    """What happened, before anything is computed."""

    options: SpineOptions
    platform: Platform
    mix: Mix
    played: list[Played] = field(default_factory=list)
    searched: list[dict[str, Any]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    drain_seconds: float = 0.0

    def of(self, name: str) -> Played | None:
        """A phase by its name."""
        return next((played for played in self.played if played.phase.name == name), None)


async def measure(options: SpineOptions, say: Say) -> bool:
    """One run; True where everything is reconciled. Leaves spine.json and spine.html under `options.runs`."""
    ids = new_run(options.seed)
    folder = (options.runs / ids.platform_run_id.removeprefix("platform_")).resolve()
    folder.mkdir(parents=True)
    bodies = folder / "bodies"
    say(f"run {ids.platform_run_id}: {options.rate:,.0f} admitted/s offered for {options.minutes:g} min; everything goes to {folder}")
    config = WorldConfig(seed=options.seed, size=int(_needed(options) * _SPARE))
    mix = await asyncio.to_thread(write_bodies, bodies, config, ids, _progress(say, config.size))
    say(f"{mix.valid:,} valid events of the world in {mix.bytes / 1e9:.2f} GB, {mix.triggers_per_100:.2f} triggers in 100")
    plan = PlatformPlan(
        seed=options.seed,
        workers=options.workers,
        edge={"FP_IG_TABLE": options.table, "FP_IG_RATE_PROFILE": "measured"},
        runner=_RUNNER if options.profile else None,
    )
    platform = await raise_platform(plan, folder, ids, say)
    course = Course(options, platform, mix)
    try:
        await _play(course, bodies, say)
        say("reading the topics back")
        began = time.monotonic()
        bus = await read_bus(platform.engines.endpoints.kafka_bootstrap, platform.site.prefix)
        result = await reconcile(platform, *_answered(course), Said(), bus)
        say(f"{bus.records:,} records and every table reconciled in {time.monotonic() - began:.0f} s")
    finally:
        # The processes first: what they were profiled by is written when they end.
        await platform.stop()
        if not options.keep_bodies:
            bodies.unlink(missing_ok=True)
    summary = _summary(course, bus, result)
    (folder / "spine.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / "reconciliation.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n", encoding="utf-8")
    write_spine_page(folder / "spine.html", summary, result, latencies(bus))
    for line in told(summary, result):
        say(line)
    say(f"page: {folder / 'spine.html'}")
    return result.holds


def _needed(options: SpineOptions) -> int:
    """Valid events that the file must have."""
    needed = events_of(phases(options))
    # Bisecting sends at most the highest rate for each step.
    return needed + (int(options.rate * options.search_seconds * 7) if options.search else 0)


def _progress(say: Say, size: int) -> Callable[[int], None]:
    said = time.monotonic()

    def progress(valid: int) -> None:
        nonlocal said
        if time.monotonic() - said >= 10:
            said = time.monotonic()
            say(f"  bodies: {valid:,} of {size:,}")

    return progress


async def _play(course: Course, bodies: Path, say: Say) -> None:
    platform, options = course.platform, course.options
    driving = Driving(platform, bodies, options.array)
    observer, quiet = Observer(platform), Quiescence(platform)
    await driving.start()
    watch = Watch(platform, {"driver": [driving.pid]})
    await observer.start()
    await quiet.start()
    await watch.start()
    telling = asyncio.create_task(_tell(watch, driving, say))
    try:
        rate = options.rate
        if options.search:
            course.searched, found = await highest_rate(driving, watch, options.rate, options.search_seconds, _SETTLED_BACKLOG, say)
            rate = min(rate, found)
        for phase in phases(options):
            # A search that found less than was asked for scales everything by it.
            scaled = phase._replace(rate=phase.rate * rate / options.rate)
            say(f"{scaled.name}: {scaled.rate:,.0f} admitted/s offered for {scaled.seconds:g} s")
            begin = time.time()
            await driving.phase(scaled.rate, scaled.seconds)
            course.played.append(Played(scaled, begin, time.time()))
        say("draining")
        began = time.monotonic()
        course.sent = await driving.finish()
        await quiet.reached(lambda: _sample(observer, course), Deadline(options.drain_seconds), "the platform to be quiet")
        course.drain_seconds = time.monotonic() - began
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        course.looks, course.told = watch.looks, driving.told
        for part in (watch, observer, quiet, driving):
            await part.stop()


async def _sample(observer: Observer, course: Course) -> Sample:
    return await observer.look(course.sent["sent"], sum(course.sent["counts"].values()))


async def _tell(watch: Watch, driving: Driving, say: Say) -> None:
    while True:
        await asyncio.sleep(10)
        if not watch.looks or not driving.told:
            continue
        look, said = watch.looks[-1], driving.told[-1]
        behind = ", ".join(f"{name} {sum(lanes.values()):,}" for name, lanes in look.behind.items() if sum(lanes.values()))
        say(
            f"  admitted {said['admitted']:,}, unanswered {said['unanswered']:,}, retries {said['retries']:,}, "
            f"driver late {said['late_ms']:.0f} ms, behind: {behind or 'nobody'}"
        )


def _answered(course: Course) -> tuple[Answers, set[str], Injected]:
    """What the driver found, in the words of the reconciliation."""
    sent = course.sent
    answers = Answers.left_in(course.platform.folder / "driver")
    answers.sent = sent["sent"]
    answers.counts = Counter({Answer(name): count for name, count in sent["counts"].items()})
    answers.sampled = sent["sampled"]
    answers.retries = sent["retries"]
    answers.surprises = [Surprise(*surprise) for surprise in sent["surprises"]]
    injected = Injected(sent["injections_named"], sent["injected"], set(sent["topic_anomalies"]))
    return answers, set(sent["edge_anomalies"]), injected


# --- what it comes to ---


def _summary(course: Course, bus: Bus, result: Reconciliation) -> dict[str, Any]:
    found = decided(bus)
    by_window = windows(found)
    steady = course.of("steady")
    if steady is None:
        raise RuntimeError("there was no steady phase")
    inside = between(found, steady.begin, steady.end)
    admitted = admitted_between(course.told, steady.begin, steady.end)
    seconds = steady.end - steady.begin
    ready = percentiles(found.waited_ms[inside & found.ready])
    goals = _goals(course, by_window, ready, admitted / seconds)
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
                "flat": memory.flat,
            }
            for memory in memories(course.looks, steady.begin, steady.end)
        ],
        "own_bytes": [
            {"at": look.at, **{name: spent.own_bytes for name, spent in look.spent.items() if spent.own_bytes}} for look in course.looks
        ],
        "cpu_us_per_event": {name: round(us, 2) for name, us in cpu_us_per_event(course.looks, steady.begin, steady.end, admitted).items()},
        "steps": [_cost(cost) for cost in _step_costs(course, admitted, steady)],
        "driver": {"responses_by_status": course.sent["responses_by_status"], "kinds": course.sent["kinds"], "told": course.told},
    }


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


def told(summary: dict[str, Any], result: Reconciliation) -> list[str]:
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
        f"  in all {sum(summary['cpu_us_per_event'].values()):.0f} us; drained {summary['drain_seconds']} s after the last body",
    ]
    lines += [f"  memory grows: {m['name']} by {m['growth_mb']} MB of {m['mean_mb']} MB" for m in summary["memory"] if not m["flat"]]
    for goal in summary["goals"]:
        lines.append(f"  {'met   ' if goal['met'] else 'MISSED'} {goal['what']}: {goal['measured']} (goal {goal['goal']:g})")
    lines.append(f"{summary['verdict']}: {summary['counts']['admitted']:,} admitted, {summary['counts']['decided']:,} decided")
    return lines

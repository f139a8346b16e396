"""`fp bench spine`: the whole platform under an open-loop driver, then every event reconciled (docs/performance.md, The whole spine)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spine.deadline import Deadline
from testkit.bench.bodies import write_bodies
from testkit.bench.course import Course, Played
from testkit.bench.driving import Driving
from testkit.bench.plan import SpineOptions, events_of, phases
from testkit.bench.search import highest_rate
from testkit.bench.spine_page import write_spine_page
from testkit.bench.spine_summary import lines_of, summary_of
from testkit.bench.watch import Watch
from testkit.run.answers import Answers, Surprise
from testkit.run.bus_facts import read_bus
from testkit.run.figures import latencies
from testkit.run.observe import Observer, Sample
from testkit.run.platform import PlatformPlan, new_run, raise_platform
from testkit.run.quiesce import Quiescence
from testkit.run.reconcile import Injected, Said, reconcile
from testkit.world import Answer, WorldConfig

# Bodies beyond what the phases need: a driver at the end of its file would send nothing more, and look like a platform at rest.
_SPARE = 1.02
_RUNNER = "testkit.bench.profiled"
# From so many events on the broker's second compiler saves more than it costs.
_BROKER_PAYS = 500_000
# Lag that a platform in order has at a moment; a search waits for it between two rates.
_SETTLED_BACKLOG = 200
# What is this many seconds of the rate behind shows nothing more by going on, and would take an hour to drain.
_HOPELESS_SECONDS = 60.0

Say = Callable[[str], None]


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
        edge={"FP_IG_TABLE": options.table, "FP_IG_RATE_PROFILE": "measured", **_refusals(options, folder)},
        enduring=events_of(phases(options)) > _BROKER_PAYS,
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
        course.reconcile_seconds = time.monotonic() - began
        say(f"{bus.records:,} records and every table reconciled in {course.reconcile_seconds:.0f} s")
    finally:
        # The processes first: what they were profiled by is written when they end.
        await platform.stop()
        if not options.keep_bodies:
            bodies.unlink(missing_ok=True)
    summary = summary_of(course, bus, result)
    (folder / "spine.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / "reconciliation.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n", encoding="utf-8")
    write_spine_page(folder / "spine.html", summary, result, latencies(bus))
    for line in lines_of(summary, result):
        say(line)
    say(f"page: {folder / 'spine.html'}")
    return result.holds


def _refusals(options: SpineOptions, folder: Path) -> dict[str, str]:
    """Where the edge's rows are its own, its refusals are too: else the emulator of the table would be measured with them."""
    return {"FP_IG_QUARANTINE_FILE": str(folder / "quarantine.jsonl")} if options.table == "memory" else {}


def _needed(options: SpineOptions) -> int:
    """Valid events that the file must have."""
    needed = events_of(phases(options))
    # Halving sends at most the highest rate in each of its steps.
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
            if not found:
                raise RuntimeError(f"no rate holds, down to {min(step['rate'] for step in course.searched):,.0f} admitted/s")
            rate = min(rate, found)
        highest = 0.0
        for phase in phases(options):
            # A search that found less than was asked for scales everything by it.
            scaled = phase._replace(rate=phase.rate * rate / options.rate)
            say(f"{scaled.name}: {scaled.rate:,.0f} admitted/s offered for {scaled.seconds:g} s")
            begin = time.time()
            # What a burst leaves behind is there to be made up for: after it more may be behind than the rate itself would allow.
            highest = max(highest, scaled.rate)
            hopeless = partial(_hopeless, watch, driving, highest)
            whole = await driving.phase(scaled.rate, scaled.seconds, hopeless)
            course.played.append(Played(scaled, begin, time.time()))
            if not whole:
                course.overloaded = True
                say(f"{scaled.name}: more than {_HOPELESS_SECONDS:.0f} s of the rate is behind or unanswered: no more is sent")
                break
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


def _hopeless(watch: Watch, driving: Driving, rate: float) -> bool:
    return bool(watch.looks and driving.told and watch.looks[-1].backlog + driving.told[-1]["unanswered"] > _HOPELESS_SECONDS * rate)


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

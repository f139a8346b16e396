"""`fp run`: raise the platform, play the world through it, kill, drain, reconcile, judge."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spine.deadline import Deadline
from testkit.run.answers import Answers
from testkit.run.behind import Behind
from testkit.run.bus_facts import Bus, read_bus
from testkit.run.equations import Reconciliation
from testkit.run.figures import latencies, records_by_topic, slowest_after
from testkit.run.live import Screen
from testkit.run.observe import Observer, Sample
from testkit.run.options import RunOptions
from testkit.run.people import People
from testkit.run.platform import SERVICES, Platform, PlatformPlan, new_run, raise_platform
from testkit.run.proofs import prove
from testkit.run.quiesce import Quiescence
from testkit.run.reconcile import Injected, Said, anomaly_texts, reconcile
from testkit.run.report import write_report
from testkit.run.sender import Sender
from testkit.world import EdgeSend, Manifest, TopicInject, World, WorldConfig

_LOOK_EVERY = 1.0
_PEOPLE_EVERY = 1.0
# A lane of a killed worker waits for its lease; everything else is a matter of seconds.
_DRAIN_SECONDS = 120.0
_RECOVERY_SECONDS = 60.0


@dataclass
class Kill:
    """One SIGKILL and when every lane of the service had a living owner again."""

    process: str
    at_epoch: float
    recovered_epoch: float | None = None


@dataclass
class Run:
    """One run under way."""

    options: RunOptions
    platform: Platform
    screen: Screen
    config: WorldConfig
    answers: Answers = field(default_factory=Answers)
    manifest: Manifest = field(default_factory=Manifest)
    kills: list[Kill] = field(default_factory=list)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    stream_seconds: float = 0.0

    async def play(self) -> tuple[Reconciliation, Bus]:
        """From the first body to the reconciliation."""
        platform = self.platform
        edge = f"http://127.0.0.1:{platform.processes['ingress'][0].port}"
        sender = Sender(edge, platform.api_key, self.answers)
        behind = Behind(platform.engines.endpoints.kafka_bootstrap, platform.site.prefix)
        people = People(platform, self.config)
        observer = Observer(platform)
        quiet = Quiescence(platform)
        parts = (sender, behind, people, observer, quiet)
        for part in parts:
            await part.start()
        try:
            looking = asyncio.create_task(self._look(observer))
            killing = asyncio.create_task(self._kill(observer))
            started = time.monotonic()
            await self._stream(sender, behind, people)
            self.stream_seconds = time.monotonic() - started
            await killing
            looking.cancel()
            await self._drain(observer, quiet, people)
            await platform.end_edge()  # its last receipts are written as it ends
            self.screen.say("reconciling: sets of ids from tables and topics")
            bus = await read_bus(platform.engines.endpoints.kafka_bootstrap, platform.site.prefix)
            injected = Injected(sum(self.manifest.topic.values()), behind.injected, behind.changed)
            said = Said(people.signals, people.assertions)
            return await reconcile(platform, self.answers, anomaly_texts(self.manifest), injected, said, bus), bus
        finally:
            for part in parts:
                await part.stop()

    # --- the stream ---

    async def _stream(self, sender: Sender, behind: Behind, people: People) -> None:
        later: list[TopicInject] = []
        lived = time.monotonic()
        began = time.monotonic()
        world_us = 0
        for step in World(self.config, self.platform.run):
            if self.interrupted.is_set():
                break
            self.manifest.observe(step)
            people.observe(step)
            world_us = max(world_us, step.at_us)
            if isinstance(step, EdgeSend):
                await sender.send(step)
                await self._pace(began)
            else:
                later.append(step)
            if time.monotonic() - lived >= _PEOPLE_EVERY:
                later = await self._inject(later, sender, behind)
                await people.live_until(world_us)
                lived = time.monotonic()
        await sender.settle()
        left = await self._inject(later, sender, behind)
        # An interrupted stream may have named an original that was never sent.
        if left and not self.interrupted.is_set():
            raise RuntimeError(f"{len(left)} injections have no admitted original, the first is {left[0].of}")
        await people.live_until(world_us)

    async def _pace(self, began: float) -> None:
        if self.options.rate <= 0:
            return
        ahead = self.answers.sent / self.options.rate - (time.monotonic() - began)
        if ahead > 0.01:
            await asyncio.sleep(ahead)

    async def _inject(self, steps: list[TopicInject], sender: Sender, behind: Behind) -> list[TopicInject]:
        # Told apart before anything waits: what is admitted meanwhile must not fall between the two.
        ready = [step for step in steps if sender.is_admitted(step.of)]
        later = [step for step in steps if not sender.is_admitted(step.of)]
        await behind.inject([(step, sender.places[step.of]) for step in ready])
        return later

    # --- the kill ---

    async def _kill(self, observer: Observer) -> None:
        for number in range(self.options.kills):
            wanted = self.options.size * (number + 1) / (self.options.kills + 1)
            while len(self.answers.admitted) < wanted:
                if self.interrupted.is_set():
                    return
                await asyncio.sleep(0.05)
            processes = self.platform.processes["decision_fabric"]
            process = processes[number % len(processes)]
            async with self.platform.site.store("decision_fabric") as store:
                victim = await store.fetchval("SELECT worker_id FROM worker WHERE address = $1", f"127.0.0.1:{process.port}")
            process.kill()
            kill = Kill(process.name, time.time())
            self.kills.append(kill)
            self.screen.say(f"SIGKILL of {process.name} at {observer.elapsed:.1f} s; starting it again")
            process.start()
            await self._recovery(kill, victim)

    async def _recovery(self, kill: Kill, victim: str) -> None:
        deadline = Deadline(_RECOVERY_SECONDS)
        async with self.platform.site.store("decision_fabric") as store:
            # The victim's leases look alive until they end; its lanes are owned again when others hold all of them.
            while await store.fetchval("SELECT count(*) FROM lane_lease WHERE owner IS NULL OR owner = $1 OR until <= now()", victim):
                deadline.check("every lane of the decision fabric to have a living owner")
                await asyncio.sleep(0.05)
        kill.recovered_epoch = time.time()
        self.screen.say(f"every lane has a living owner again after {kill.recovered_epoch - kill.at_epoch:.1f} s")

    # --- looking and draining ---

    async def _sample(self, observer: Observer) -> Sample:
        sample = await observer.look(self.answers.sent, sum(self.answers.counts.values()))
        self.screen.show(sample)
        return sample

    async def _look(self, observer: Observer) -> None:
        while True:
            await self._sample(observer)
            await asyncio.sleep(_LOOK_EVERY)

    async def _drain(self, observer: Observer, quiet: Quiescence, people: People) -> None:
        self.screen.say("draining: every lane to the end of its topics, nothing pending, everything published")
        deadline = Deadline(_DRAIN_SECONDS)

        async def look() -> Sample:
            return await self._sample(observer)

        await quiet.reached(look, deadline, "the platform to be quiet after the stream")
        await people.live_out()
        while True:
            await quiet.reached(look, deadline, "the platform to be quiet after the outside has spoken")
            if not await people.work():
                return


async def run(options: RunOptions) -> bool:
    """One run; True for PASS. Writes runs/<platform_run_id>/ and points runs/latest at it."""
    began = time.monotonic()
    ids = new_run(options.seed)
    folder = (options.runs / ids.platform_run_id).resolve()
    folder.mkdir(parents=True)
    with Screen(options.size, quiet=options.quiet) as screen:
        screen.say(f"run {ids.platform_run_id}: seed {options.seed}, {options.size:,} events to admit")
        plan = PlatformPlan(seed=options.seed, workers={"decision_fabric": options.workers}, archive=True)
        platform = await raise_platform(plan, folder, ids, screen.say)
        ready_seconds = time.monotonic() - began
        screen.say(f"platform ready after {ready_seconds:.1f} s")
        current = Run(options, platform, screen, WorldConfig(seed=options.seed, size=options.size))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, current.interrupted.set)
        loop.add_signal_handler(signal.SIGTERM, current.interrupted.set)
        try:
            reconciliation, bus = await current.play()
            screen.say("auditing every certificate, and replaying on shadows")
            await prove(platform, reconciliation, options, screen.say)
            await _certificates(platform, folder)
        finally:
            await platform.stop()
    result = _write(current, reconciliation, bus, folder, ready_seconds, time.monotonic() - began)
    _point(options.runs, folder)
    _tell(screen, result, reconciliation, folder)
    if not platform.owned:
        site = platform.site
        screen.say(f"kept; look again: fp audit --service decision_fabric --prefix {site.prefix} --dsn {site.operator_dsn}")
    return bool(result["verdict"] == "PASS")


async def _certificates(platform: Platform, folder: Path) -> None:
    target = folder / "certificates"
    target.mkdir(exist_ok=True)
    for name in SERVICES:
        async with platform.site.store(name) as store:
            rows = await store.fetch(
                "SELECT lane, lane_seq, epoch, inlet, ranges, refs, counts, encode(inputs_digest, 'hex') AS inputs_digest, "
                "encode(effects_digest, 'hex') AS effects_digest, encode(reads_digest, 'hex') AS reads_digest, "
                "encode(previous, 'hex') AS previous, encode(hash, 'hex') AS hash, applied_at FROM certificate ORDER BY lane, lane_seq"
            )
        lines = (json.dumps(dict(row), default=str) for row in rows)
        (target / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write(
    current: Run, reconciliation: Reconciliation, bus: Bus, folder: Path, ready_seconds: float, total_seconds: float
) -> dict[str, Any]:
    measured = latencies(bus)
    result: dict[str, Any] = {
        "platform_run_id": current.platform.run.platform_run_id,
        "scenario_run_id": current.platform.run.scenario_run_id,
        "verdict": "PASS" if reconciliation.holds else "FAIL",
        "interrupted": current.interrupted.is_set(),
        "seed": current.options.seed,
        "size": current.options.size,
        "release_id": current.platform.release_id,
        "counts": reconciliation.counts,
        "injected": current.manifest.as_dict(),
        "records_by_topic": records_by_topic(bus),
        "ready_seconds": round(ready_seconds, 2),
        "stream_seconds": round(current.stream_seconds, 2),
        "total_seconds": round(total_seconds, 2),
        "admitted_per_second": round(reconciliation.counts["admitted"] / max(current.stream_seconds, 0.001), 1),
        "latency_ms": {
            latency.name: {"events": len(latency.sorted_ms)} | {f"p{share:g}": latency.at(share / 100) for share in (50, 95, 99, 100)}
            for latency in measured
        },
        "kills": [
            {
                "process": kill.process,
                "at_epoch": kill.at_epoch,
                "recovered_epoch": kill.recovered_epoch,
                "slowest_decision_ms": slowest_after(bus, int(kill.at_epoch * 1000)),
            }
            for kill in current.kills
        ],
    }
    (folder / "run.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "reconciliation.json").write_text(json.dumps(reconciliation.as_dict(), indent=2) + "\n", encoding="utf-8")
    write_report(folder / "report.html", result, reconciliation, bus, measured)
    return result


def _point(runs: Path, folder: Path) -> None:
    fresh = runs / ".latest"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(runs / "latest")


def _tell(screen: Screen, result: dict[str, Any], reconciliation: Reconciliation, folder: Path) -> None:
    for check in reconciliation.checks:
        for line in check.lines():
            screen.say(line)
    for name, values in result["latency_ms"].items():
        if values["events"]:
            screen.say(f"  {name}: p50 {values['p50']} ms, p95 {values['p95']} ms, p99 {values['p99']} ms ({values['events']:,})")
    for kill in result["kills"]:
        stood = kill["recovered_epoch"] - kill["at_epoch"] if kill["recovered_epoch"] else None
        screen.say(f"  SIGKILL of {kill['process']}: owners again after {stood:.1f} s, slowest decision {kill['slowest_decision_ms']:,} ms")
    screen.say(
        f"{result['verdict']}: {result['counts']['admitted']:,} admitted, {result['counts']['decided']:,} decided, "
        f"{result['counts']['labels']:,} labels, trace breaks {result['counts']['trace_breaks']}, "
        f"{result['admitted_per_second']:,.0f} admitted/s, {result['total_seconds']:.0f} s in all"
    )
    screen.say(f"report: {folder / 'report.html'}")

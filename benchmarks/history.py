"""How long it takes to recompute a history: drain a world through the decision fabric, then audit it and replay it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from audit.auditor import audit
from audit.offline import declared, offline_settings
from audit.replay import Span, replay
from audit.target import Target
from decision_fabric.app import build
from laws.topics import FLOW_ANCHOR, RTDL, TRAFFIC
from spine.deadline import Deadline
from spine.process import build_runtime, close_runtime
from spine.worker import Worker
from testkit.bench.filling import fill
from testkit.engines import borrowed
from testkit.harness import Site, free_port, new_site
from testkit.world import RunIds

_APPLIED = "SELECT coalesce(sum(next_offset - start_offset), 0) FROM lane_position"

# No drain of the sizes that fit on one machine takes longer; one that does is stuck.
_SECONDS = 3600.0


async def measure(size: int, out: Path) -> dict[str, Any]:
    """Events, certificates, rows and seconds of each part; written to `out` as JSON."""
    with borrowed() as engines:
        site = await new_site(engines.endpoints)
        await site.topics([TRAFFIC, FLOW_ANCHOR, RTDL])
        site.passwords["decision_fabric"] = "bench"
        run = RunIds("platform_20260105T000000Z", "a" * 32)
        await site.install(build(site.settings("decision_fabric")), platform_run_id=run.platform_run_id)
        events = await fill(site, size, run, (TRAFFIC, FLOW_ANCHOR))
        drained = await drain(site, events)
        bus = {"bootstrap_servers": engines.endpoints.kafka_bootstrap}
        target = Target(dsn=site.operator_dsn, schema="decision_fabric", bus=bus, prefix=site.prefix)
        settings = offline_settings()
        started = time.perf_counter()
        audited = await audit(target)
        audit_seconds = time.perf_counter() - started
        started = time.perf_counter()
        replayed = (await replay(target, declared("decision_fabric", settings), settings, Span(lane=0))).report
        replay_seconds = time.perf_counter() - started
    summary = {
        "events": events,
        "drain_seconds": round(drained, 1),
        "audit": {**audited.figures, "findings": audited.found, "seconds": round(audit_seconds, 1)},
        "replay_of_lane_0": {**replayed.figures, "findings": replayed.found, "seconds": round(replay_seconds, 1)},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")  # noqa: ASYNC240  nothing else runs by then
    return summary


async def drain(site: Site, events: int) -> float:
    """Seconds until one worker has applied everything."""
    settings = site.settings("decision_fabric", free_port())
    runtime = await build_runtime(build(settings), settings)
    worker = Worker(runtime)
    started = time.perf_counter()
    running = asyncio.create_task(worker.run())
    deadline = Deadline(_SECONDS)
    async with site.store("decision_fabric") as store:
        while (done := await store.fetchval(_APPLIED)) != events:
            deadline.check(f"{events} events to be applied, {done} are")
            await asyncio.sleep(0.05)
    seconds = time.perf_counter() - started
    worker.stop()
    await running
    await close_runtime(runtime)
    return seconds


def main() -> None:
    """`python -m benchmarks.history [--size N]`."""
    parser = argparse.ArgumentParser(prog="history", description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="events of the world")
    options = parser.parse_args()
    summary = asyncio.run(measure(options.size, Path("runs/history.json")))
    sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    if summary["audit"]["findings"] or summary["replay_of_lane_0"]["findings"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

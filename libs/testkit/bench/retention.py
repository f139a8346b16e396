"""`fp bench retention`: a closed run of millions of identities is dropped while the service works; the longest stall of any event."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audit.offline import declared
from laws.topics import FLOW_ANCHOR, TRAFFIC
from spine.deadline import Deadline
from spine.migrate import close_run, open_run
from spine.retention import drop_run
from testkit.bench.delays import delays
from testkit.bench.draining import RUN, install, standing
from testkit.bench.filling import pour, records
from testkit.bench.inbox_rows import fill_inbox
from testkit.engines import borrowed
from testkit.harness import new_site, worker_process
from testkit.world import RunIds

_SERVICE = "decision_fabric"
_OLD = RunIds("platform_20250105T000000Z", "b" * 32)
_READY_SECONDS = 60.0
_DROP_SECONDS = 120.0
_DRAIN_SECONDS = 120.0
_END_SECONDS = 30.0
_LATE = 200
_AFTER_S = 2.0

_CONSUMED = "SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM lane_position"
_SIZE = "SELECT pg_total_relation_size(to_regclass($1))"
_PARKED = "SELECT count(*) FROM parked WHERE reason = 'CLOSED_RUN' AND platform_run_id = $1"

Say = Callable[[str], None]


@dataclass(frozen=True)
class RetentionOptions:
    """Options of `fp bench retention`."""

    rows: int = 10_000_000
    rate: float = 500.0
    seconds: float = 30.0
    at: float = 10.0
    """Seconds after the first event at which the run is dropped."""
    out: Path = Path("runs/bench_retention")


class Retained(NamedTuple):
    """What came of it."""

    rows: int
    bytes: int
    """Of the partition with its index."""
    rate: float
    drop_s: float
    """From the command to the file being gone."""
    longest_ms: float
    """Longest from a record to its transaction, of records made while the run was being dropped or just after."""
    before_ms: float
    """The same before: what the machine does by itself."""
    p99_ms: float
    late_parked: int
    """Late records of the dropped run that were parked as CLOSED_RUN."""
    late_sent: int


async def measure(options: RetentionOptions, say: Say) -> Retained:
    """One drop under load; retention.json at the end. Raises RuntimeError where a late record was applied."""
    with borrowed() as engines:
        site = await new_site(engines.endpoints)
        await site.topics()
        await install(site, _SERVICE)
        run_no = await open_run(site.operator_dsn, _SERVICE, _OLD.platform_run_id)
        partition = f"inbox_r{run_no}"
        async with site.store(_SERVICE) as store:
            await fill_inbox(store, run_no, options.rows, say)
            size = await store.fetchval(_SIZE, partition)
        await close_run(site.operator_dsn, _SERVICE, _OLD.platform_run_id)
        count = int(options.rate * options.seconds)
        made = list(islice(records(site, count * 2, RUN, (TRAFFIC, FLOW_ANCHOR)), count))
        late = list(islice(records(site, _LATE * 2, _OLD, (TRAFFIC, FLOW_ANCHOR)), _LATE))
        worker = worker_process(site, _SERVICE, _SERVICE, options.out)
        worker.start()
        try:
            await worker.ready(Deadline(_READY_SECONDS))
            pouring = asyncio.create_task(pour(site, made, options.rate))
            began = time.time()
            await asyncio.sleep(options.at)
            moment, started = time.time(), time.monotonic()
            service = declared(_SERVICE, site.settings(_SERVICE))
            bus = {"bootstrap_servers": engines.endpoints.kafka_bootstrap}
            await drop_run(site.operator_dsn, service, _OLD.platform_run_id, bus, site.prefix, Deadline(_DROP_SECONDS))
            took = time.monotonic() - started
            say(f"dropped {options.rows:,} rows, {size / 1e9:.2f} GB, in {took:.2f} s")
            await pouring
            await pour(site, late, options.rate)
            total = await standing(site, _SERVICE)
            deadline = Deadline(_DRAIN_SECONDS)
            async with site.store(_SERVICE) as store:
                while (consumed := await store.fetchval(_CONSUMED)) < total:
                    deadline.check(f"{total:,} events to be applied, {consumed:,} are")
                    await asyncio.sleep(0.1)
                parked = await store.fetchval(_PARKED, _OLD.platform_run_id)
        finally:
            worker.terminate()
            await worker.ended(Deadline(_END_SECONDS))
        sent_ms, delay = await delays(site, _SERVICE, (TRAFFIC, FLOW_ANCHOR))
    during = (sent_ms >= 1000 * moment) & (sent_ms < 1000 * (moment + took + _AFTER_S))
    quiet = (sent_ms >= 1000 * (began + 1)) & (sent_ms < 1000 * moment)
    found = Retained(
        options.rows,
        size,
        options.rate,
        took,
        float(delay[during].max(initial=0.0)),
        float(delay[quiet].max(initial=0.0)),
        float(np.percentile(delay[during], 99)) if during.any() else 0.0,
        parked,
        len(late),
    )
    (options.out / "retention.json").write_text(json.dumps(found._asdict(), indent=2) + "\n", encoding="utf-8")
    if parked != len(late):
        raise RuntimeError(f"{len(late)} late records of the dropped run came, {parked} are parked as CLOSED_RUN")
    return found


def line_of(found: Retained) -> str:
    """For the eye."""
    return (
        f"{found.rows:,} rows ({found.bytes / 1e9:.2f} GB) dropped in {found.drop_s:.2f} s at {found.rate:,.0f} events/s: "
        f"longest delay of any event {found.longest_ms:.0f} ms (before it {found.before_ms:.0f} ms), p99 {found.p99_ms:.0f} ms; "
        f"{found.late_parked} of {found.late_sent} late records parked as CLOSED_RUN"
    )

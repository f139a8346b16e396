"""Latency under offered load: from the instant at which a record was due to the instant at which its output stood on the topic."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.ground import Ground, Seen, open_bus, open_ground
from benchmarks.machine import Meter, Spent
from benchmarks.producer import Plan
from benchmarks.roster import Contender
from benchmarks.workload import PAYMENTS, Expected, Kind, Record, expected, stops_of
from spine.deadline import Deadline
from testkit.engines import EngineSet

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

# Before the schedule begins the contender has done this many records: it is up, connected and has planned its statements.
_FIRST = 1200
# Seconds of the schedule that are not counted: caches fill, and batch sizes settle.
SETTLE = 3.0
# Who is this many seconds of the offered rate behind when the schedule ends, or that much later still not done, could not follow.
_BEHIND = 1.0
_CATCH_UP = 5.0
_START_SECONDS = 30.0


class Latencies(msgspec.Struct, frozen=True):
    """One contender at one offered rate."""

    contender: str
    offered_per_s: float
    seconds: float
    followed: bool
    behind_events: int
    """Records that were not applied, or outputs that were missing, when the schedule ended."""
    shares_ms: dict[str, float]
    """Empty where it could not follow: the figures would only tell how long one waited."""
    curve_ms: list[float]
    """The 0th to 100th percentile, and the 99.9th."""
    cpu_us: dict[str, float]
    spent: Spent
    producer_latest_ms: float
    wrong: list[str]


async def offer(
    engines: EngineSet, contender: Contender, made: Sequence[Record], rate: float, seconds: float, prefix: str, folder: Path
) -> Latencies:
    """Offer a rate for some seconds, after settling. `made` holds enough records for it (see `needed`)."""
    made = made[: needed(rate, seconds)]
    async with open_bus(engines, prefix) as bus, open_ground(engines, contender, bus) as ground:
        await bus.fill(made[:_FIRST])
        stops = stops_of(made, len(made))
        plan = Plan(bus.bootstrap, bus.prefix + PAYMENTS.name, _FIRST, len(made) - _FIRST, rate)
        producer = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.producer",
            msgspec.json.encode(plan).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert producer.stdin is not None and producer.stdout is not None
        try:
            ground.start(stops, folder)
            await producer.stdout.readline()
            await _until_published(ground, _news(made[:_FIRST]), Deadline(_START_SECONDS))
            begin = time.time() + 0.2
            producer.stdin.write(f"{begin}\n".encode())
            await asyncio.sleep(0.2 + SETTLE)
            meter = Meter(engines, ground.site.database, ground.pids, [producer.pid])
            await asyncio.sleep(max(0.0, begin + (len(made) - _FIRST) / rate - time.time()))
            spent = meter.spent()
            wanted = expected(made, stops)
            behind = max(len(wanted.event_ids) - await ground.published(), len(made) - await ground.applied(), 0)
            followed = behind <= rate * _BEHIND and await _catches_up(ground, wanted)
            told = json.loads(await producer.stdout.readline() or b"{}") if followed else {}
        finally:
            if producer.returncode is None and not producer.stdout.at_eof():
                producer.kill()
            await producer.wait()
        if followed:
            await ground.end()
        else:
            ground.kill()
        outputs = await bus.outputs(ground.starts) if followed else []
        wrong = await ground.wrong(wanted, outputs) if followed else []
    waited = _waited(made, outputs, rate, begin) if followed and not wrong else []
    events = rate * spent.seconds
    return Latencies(
        contender.name,
        rate,
        seconds,
        followed,
        behind,
        {name: share_of(waited, share) for name, share in SHARES.items()} if waited else {},
        [share_of(waited, share / 100) for share in range(101)] + [share_of(waited, 0.999)] if waited else [],
        {name: round(used / events * 1e6, 1) for name, used in spent.cpu_s.items()},
        spent,
        told.get("latest_ms", 0.0),
        wrong,
    )


def needed(rate: float, seconds: float) -> int:
    """Records that one measurement takes."""
    return _FIRST + int(rate * (SETTLE + seconds))


def _news(made: Sequence[Record]) -> int:
    return sum(1 for record in made if record.kind is Kind.NEW)


async def _until_published(ground: Ground, wanted: int, deadline: Deadline) -> None:
    while await ground.published() < wanted:
        ground.complain()
        deadline.check(f"{ground.contender.name} to publish its first {wanted} outputs")
        await asyncio.sleep(0.05)


async def _catches_up(ground: Ground, wanted: Expected) -> bool:
    deadline = Deadline(_CATCH_UP)
    while await ground.applied() < wanted.records or await ground.published() < len(wanted.event_ids):
        ground.complain()
        if deadline.expired:
            return False
        await asyncio.sleep(0.05)
    return True


def _waited(made: Sequence[Record], outputs: Sequence[Seen], rate: float, begin: float) -> list[float]:
    """Milliseconds from a payment's instant to its first output, sorted; those after settling."""
    due: Mapping[str, float] = {
        record.event_id: (begin + number / rate) * 1000
        for number, record in enumerate(made[_FIRST:])
        if record.kind is Kind.NEW and number / rate >= SETTLE
    }
    out: dict[str, int] = {}
    for seen in outputs:
        out[seen.parent_event_id] = min(seen.at_ms, out.get(seen.parent_event_id, seen.at_ms))
    return sorted(out[event_id] - at for event_id, at in due.items())


def share_of(ordered: Sequence[float], share: float) -> float:
    """What so large a share of them does not exceed."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

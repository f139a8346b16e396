"""What is measured of the edge: waits at a rate, the cost of an event by the form of its request, and the steps that it is spent on."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from benchmarks.edge.ground import API_KEY, Ground, Producer
from benchmarks.edge.producer import Form, Plan, Told
from benchmarks.latency import SHARES, share_of
from benchmarks.machine import Meter, Spent
from testkit.bench.cpu_table import ServiceCost, service_cost
from testkit.harness import Process

TABLES = ("dynamodb", "memory")
"""Where the rows of an admission are: DynamoDB Local, or the edge's own memory, which shows what the emulator's share is."""

_PROFILER = "testkit.bench.profiled"

ARRAY = 500
"""Events of an array, and lines of a body of NDJSON."""

# Seconds at the rate before anything is counted: connections open, and the emulator's virtual machine compiles.
SETTLE_S = 2.0
# Requests under way where there is no rate. Single ones: half of what the edge works on at once, so that none waits for its turn.
# Arrays: as many as keep it busy while the bus answers.
_AT_ONCE = {Form.SINGLE: 16, Form.ARRAY: 4, Form.LINES: 4}


class Waited(msgspec.Struct, frozen=True):
    """Single requests at one rate."""

    table: str
    offered_per_s: float
    requests: int
    shares_ms: dict[str, float]
    """From the instant at which a request was due to its answer."""
    cpu_us: dict[str, float]
    """An event's, by process."""
    producer_latest_ms: float
    connections: int
    spent: Spent
    wrong: list[str]


class Cost(msgspec.Struct, frozen=True):
    """Requests of one form, so many at once."""

    table: str
    form: Form
    size: int
    events: int
    events_per_s: float
    cpu_us: dict[str, float]
    spent: Spent
    wrong: list[str]


class Steps(msgspec.Struct, frozen=True):
    """What an event's CPU is spent on, in the edge's process: its own clock, shared out by samples."""

    table: str
    form: Form
    events: int
    samples: int
    us: dict[str, float]


async def wait(ground: Ground, table: str, rate: float, seconds: float) -> Waited:
    """Single requests at a rate that waits for nobody."""
    async with ground.edge(table) as edge:
        settle = int(SETTLE_S * rate)
        plan = Plan(edge.port, API_KEY, Form.SINGLE, settle + int(seconds * rate), rate=rate)
        told, spent, wrong = await _sent(ground, edge, plan)
    counted = sorted(told.waited_ms[settle:])
    return Waited(
        table,
        rate,
        len(counted),
        {name: share_of(counted, share) for name, share in SHARES.items()},
        _per_event(spent, plan.requests),
        told.late_ms,
        told.connections,
        spent,
        wrong,
    )


async def cost(ground: Ground, table: str, form: Form, events: int) -> Cost:
    """Requests of a form, as fast as the edge takes them."""
    async with ground.edge(table) as edge:
        plan = await _warmed(ground, edge, form, events)
        told, spent, wrong = await _sent(ground, edge, plan)
    sent = plan.requests * plan.size
    return Cost(table, form, plan.size, sent, round(sent / told.seconds, 1), _per_event(spent, sent), spent, wrong)


async def steps(ground: Ground, table: str, form: Form, events: int, folder: Path) -> Steps:
    """The same under the profiler."""
    out = folder / f"profile-edge-{table}-{form}.json"
    async with ground.edge(table, runner=_PROFILER, profile=out) as edge:
        plan = await _warmed(ground, edge, form, events)
        _, spent, wrong = await _sent(ground, edge, plan)
    if wrong:
        raise RuntimeError("not exact: " + "; ".join(wrong))
    found: ServiceCost = service_cost("ingress", [json.loads(out.read_bytes())], plan.requests * plan.size, cpu_s=spent.cpu_s["contender"])
    return Steps(table, form, found.events, found.samples, {step.step: round(step.us_per_event, 1) for step in found.steps})


async def _warmed(ground: Ground, edge: Process, form: Form, events: int) -> Plan:
    """The plan of a measurement, after requests of its form have opened connections and filled caches."""
    at_once, size = _AT_ONCE[form], 1 if form is Form.SINGLE else ARRAY
    plan = Plan(edge.port, API_KEY, form, max(at_once, events // size), size, at_once=at_once)
    await _sent(ground, edge, msgspec.structs.replace(plan, requests=at_once * (20 if size == 1 else 1)))
    return plan


async def _sent(ground: Ground, edge: Process, plan: Plan) -> tuple[Told, Spent, list[str]]:
    """What a producer saw, what was spent meanwhile, and what is not exact: a fast wrong answer is no rate."""
    before = await ground.appended()
    async with Producer(plan) as producer:
        meter = Meter(ground.engines, "", [edge.pid], [producer.pid])
        told = await producer.run()
        spent = meter.spent()
    sent, appended = plan.requests * plan.size, await ground.appended() - before
    found = {"events admitted": told.admitted, "records on the topic": appended}
    return told, spent, [f"{name}: {is_} instead of {sent}, answers {told.statuses}" for name, is_ in found.items() if is_ != sent]


def _per_event(spent: Spent, events: int) -> dict[str, float]:
    return {name: round(used / events * 1e6, 1) for name, used in spent.cpu_s.items()}

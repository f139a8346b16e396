"""Which step of the runtime a function belongs to (runtime.md, The transaction): the one place where the profiler's table is declared."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import StrEnum
from types import CodeType
from typing import Any, NamedTuple


class CpuStep(StrEnum):
    """What CPU is spent on. The innermost known function of a stack names the step."""

    START = "start"
    """Importing, and building the process."""
    FETCH = "fetch"
    """Reading records: the consumer's client and the lane's intake."""
    DECODE = "decode"
    """From a record's bytes to an event, its payload hash included."""
    JUDGE = "judge"
    """Locking the lane, finding identities, duplicates within the batch."""
    DEDUPE = "dedupe"
    """The inbox statement and what it answers."""
    READ = "read"
    """What handlers read: their declarations and the rows."""
    DECIDE = "decide"
    """The policy."""
    EMIT = "emit"
    """From an effect to the bytes of a record."""
    WRITE = "write"
    """State, outbox and everything else that a transaction writes."""
    LEAVES = "leaves"
    """Digests of the rows written."""
    CLOSE = "close"
    """The certificate and the statement that closes the transaction."""
    COMMIT = "commit"
    """BEGIN and COMMIT, and the connection around them."""
    PUBLISH = "publish"
    """From the outbox to the bus."""
    MARK = "mark"
    """Marking what is published."""
    TIMERS = "timers"
    """Pending rows that came due."""
    TASKS = "tasks"
    """Calls to the outside."""
    COMMAND = "command"
    """Commands from the writer boundary, outside of their transaction."""
    LEASE = "lease"
    """Owning lanes."""
    ADVISE = "advise"
    """Topic identities and advisory offsets."""
    TELEMETRY = "telemetry"
    HTTP = "http"
    """Serving HTTP: parsing, routing, answering."""
    INSPECT = "inspect"
    """The edge: from a body to a judged envelope."""
    STAMP = "stamp"
    """The edge: the record and its trace."""
    ADMIT = "admit"
    """The edge: admission rows, and the way between the other steps."""
    REFUSE = "refuse"
    """The edge: quarantine records and the anomalies of mismatches."""
    ANSWER = "answer"
    """The edge: receipts and the response."""
    APPLY = "apply"
    """The lane's loop around its transactions."""
    BUS_CLIENT = "bus client"
    """The bus client's wire, where neither reading nor publishing can be told apart."""
    STORE_CLIENT = "store client"
    """The store client's wire, outside of a known step; at the edge all of it: signatures and HTTP."""
    GC = "gc"
    LOOP = "loop"
    """The event loop itself: sockets, the store's protocol, callbacks."""
    OTHER = "other"


# Module -> {qualified name -> step}. A function that is renamed must be renamed here: a test says so.
FUNCTIONS: dict[str, dict[str, CpuStep]] = {
    "importlib._bootstrap": {"_find_and_load": CpuStep.START},
    "testkit.bench.profiled": {"Profiler.collected": CpuStep.GC},
    "spine.process": {"build_runtime": CpuStep.START},
    "spine.worker": {
        "Worker._beat": CpuStep.LEASE,
        "Worker._watch_lease": CpuStep.LEASE,
        "Worker._own": CpuStep.LEASE,
        "Worker.run": CpuStep.LEASE,
    },
    "spine.listening": {"listen": CpuStep.LEASE},
    "spine.advising": {"advise": CpuStep.ADVISE},
    "spine.feed": {"Feed.run": CpuStep.FETCH},
    "spine.handovers": {"Handovers.run": CpuStep.LEASE},
    "spine.lane_worker": {
        "LaneWorker._advise_once": CpuStep.ADVISE,
        "LaneWorker._apply_until_drained": CpuStep.APPLY,
        "LaneWorker._apply_timers": CpuStep.TIMERS,
        "LaneWorker.run": CpuStep.LEASE,
    },
    "spine.intake": {"Intake.fetch": CpuStep.FETCH},
    "spine.bus": {"TopicWatch.recent": CpuStep.ADVISE, "TopicWatch.identities": CpuStep.ADVISE, "TopicWatch.advise": CpuStep.ADVISE},
    "spine.inputs": {"Decoder.record": CpuStep.DECODE, "Decoder.command": CpuStep.DECODE, "Decoder.any_event": CpuStep.DECODE},
    "spine.transaction": {
        "Law.apply": CpuStep.COMMIT,
        "_Transaction.run": CpuStep.JUDGE,
        "_Transaction._locked": CpuStep.JUDGE,
        "_Transaction._judge": CpuStep.JUDGE,
        "_Transaction._read": CpuStep.READ,
        "_Transaction._close": CpuStep.CLOSE,
    },
    "spine.share": {
        "Share.take": CpuStep.JUDGE,
        "Share.reads": CpuStep.READ,
        "Share.reads_then": CpuStep.READ,
        "Share.decide": CpuStep.DECIDE,
        "Share.announce": CpuStep.EMIT,
        "Share.close": CpuStep.CLOSE,
        "Share.applied": CpuStep.APPLY,
    },
    "spine.together": {"Together.apply": CpuStep.APPLY, "Together._run": CpuStep.APPLY, "Together._begin": CpuStep.APPLY},
    "spine.judging": {"Judging.judge": CpuStep.JUDGE, "Judging._dedupe": CpuStep.DEDUPE},
    "spine.emission": {"Emitter.row": CpuStep.EMIT},
    "spine.flushing": {"Flushing.effects": CpuStep.WRITE, "Flushing.outbox": CpuStep.WRITE},
    "spine.leaves": {"leaf_of": CpuStep.LEAVES, "LeafShape.leaf": CpuStep.LEAVES},
    "spine.publisher": {"Publisher._publish_some": CpuStep.PUBLISH, "Publisher._mark": CpuStep.MARK, "Publisher.run": CpuStep.PUBLISH},
    "spine.tasks": {
        "TaskRunner.run": CpuStep.TASKS,
        "TaskRunner._call": CpuStep.TASKS,
        "TaskRunner._call_many": CpuStep.TASKS,
        "TaskRunner._begin_some": CpuStep.TASKS,
    },
    "spine.scheduled": {
        "Scheduled.due": CpuStep.TIMERS,
        "Scheduled.answered": CpuStep.TASKS,
    },
    "spine.commands": {"CommandDoor.submit": CpuStep.COMMAND, "CommandDoor._drain": CpuStep.COMMAND},
    "spine.telemetry": {"Telemetry.applied": CpuStep.TELEMETRY},
    "ingress.http_adapter": {"Adapter._handle": CpuStep.HTTP},
    "ingress.inspection": {"inspect": CpuStep.INSPECT, "split": CpuStep.INSPECT},
    "ingress.record": {"Stamp.record": CpuStep.STAMP},
    "ingress.admission": {"Admission.admit": CpuStep.ADMIT},
    "ingress.items": {"Items.all": CpuStep.ADMIT, "Items.one": CpuStep.ADMIT},
    "ingress.admission_store": {"AdmissionStore._claim": CpuStep.ADMIT, "AdmissionStore._admit": CpuStep.ADMIT},
    "ingress.statements": {"insert": CpuStep.ADMIT, "settle": CpuStep.ADMIT},
    "ingress.dynamodb": {"DynamoDB.each": CpuStep.STORE_CLIENT},
    "ingress.aws_json": {"AwsJson.call": CpuStep.STORE_CLIENT},
    "ingress.wire": {"_Connection.data_received": CpuStep.STORE_CLIENT, "_Connection.connection_made": CpuStep.STORE_CLIENT},
    "ingress.refusals": {"Refusals.refuse": CpuStep.REFUSE, "Refusals.mismatch": CpuStep.REFUSE},
    "ingress.bus": {"Bus.publish": CpuStep.PUBLISH, "Bus.publish_all": CpuStep.PUBLISH},
    "ingress.batches": {"Outgoing._send": CpuStep.PUBLISH, "shares_of": CpuStep.PUBLISH},
    "ingress.answers": {"many": CpuStep.ANSWER, "single": CpuStep.ANSWER},
    "ingress.receipt": {"receipt_of": CpuStep.ANSWER},
}

# Where no known function is on the stack: the innermost file under one of these packages, the longest match first.
PACKAGES: dict[str, CpuStep] = {
    "aiokafka/consumer": CpuStep.FETCH,
    "aiokafka/record/default_records": CpuStep.FETCH,
    "aiokafka/producer": CpuStep.PUBLISH,
    "aiokafka": CpuStep.BUS_CLIENT,
    "asyncpg": CpuStep.STORE_CLIENT,
    "uvicorn": CpuStep.HTTP,
    "starlette": CpuStep.HTTP,
    "fastapi": CpuStep.HTTP,
    "aiohttp": CpuStep.HTTP,
    "asyncio": CpuStep.LOOP,
    "uvloop": CpuStep.LOOP,
}


class Named(NamedTuple):
    """One function of the map."""

    module: str
    name: str
    step: CpuStep


def named() -> Iterator[Named]:
    """Every function of the map."""
    for module, functions in FUNCTIONS.items():
        for name, step in functions.items():
            yield Named(module, name, step)


def code_of(module: str, name: str) -> CodeType:
    """The code of a function of the map. Raises AttributeError or ImportError where there is none, TypeError where it is not Python."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    elif isinstance(found, property):
        found = found.fget
    found = inspect.unwrap(found)
    code = getattr(found, "__code__", None)
    if not isinstance(code, CodeType):
        raise TypeError(f"{module}.{name} is no function in Python")
    return code


def missing() -> list[str]:
    """Functions of the map that do not exist (any more): their samples would fall to whoever calls them."""
    lost = []
    for entry in named():
        try:
            code_of(entry.module, entry.name)
        except (AttributeError, ImportError, TypeError):
            lost.append(f"{entry.module}.{entry.name}")
    return lost


_BY_PLACE = {(f"{entry.module.replace('.', '/')}.py", entry.name): entry.step for entry in named()}
# How the interpreter names the file of a module that is frozen into it.
_FROZEN = {"<frozen importlib._bootstrap>": "importlib/_bootstrap.py"}


def step_of(code: CodeType) -> CpuStep | None:
    """The step of a function, told by its file and its name: nothing is imported for it."""
    parts = _FROZEN.get(code.co_filename, code.co_filename).split("/")
    return next((step for depth in (2, 3) if (step := _BY_PLACE.get(("/".join(parts[-depth:]), code.co_qualname)))), None)


def package_step(filename: str) -> CpuStep | None:
    """The step of a file of a package that has one."""
    _, found, inside = filename.rpartition("site-packages/")
    if not found:
        inside = "asyncio" if "/asyncio/" in filename else filename
    best = max((package for package in PACKAGES if inside.startswith(package)), key=len, default=None)
    return PACKAGES[best] if best is not None else None

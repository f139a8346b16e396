"""What a worker in this process does that outlives it, and the named steps between: one chain a flow of control."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from spine import steps
from spine.lane_worker import LaneWorker
from spine.steps import Step

# What runs on a connection; transactions go through execute.
_METHODS = ("execute", "executemany", "fetch", "fetchrow", "fetchval", "fetchmany", "copy_records_to_table", "copy_to_table")
_LOCKING_READ = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?UPDATE\b", re.IGNORECASE)
_WRITE = re.compile(r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE|COPY)\s+(\w+)", re.IGNORECASE)

# A task starts with what the one that made it had done last: a cause in another task is a cause all the same.
_last: ContextVar[int | None] = ContextVar("last", default=None)
_lane: ContextVar[str] = ContextVar("lane", default="worker")


class Happened(NamedTuple):
    """A step, or a durable effect."""

    who: str
    what: str
    step: Step | None
    after: int | None
    """What came before it in the same flow of control."""


class Recording:
    """What happened, in its order."""

    def __init__(self) -> None:
        self.all: list[Happened] = []
        self.lose_next_commit = False
        """The next COMMIT is done, and its answer is lost."""
        self._sent: dict[asyncio.Task[Any] | None, list[asyncio.Future[Any]]] = {}

    def add(self, what: str, step: Step | None = None) -> None:
        """A step or an effect of the flow that calls."""
        acknowledged = [sent for sent in self._sent.get(asyncio.current_task(), ()) if sent.done() and sent.exception() is None]
        if acknowledged:
            # Handed over together, acknowledged by the bus in any order: one effect, with SENT before it.
            mine = self._sent[asyncio.current_task()]
            self._sent[asyncio.current_task()] = [sent for sent in mine if sent not in acknowledged]
            self._append(f"{len(acknowledged)} acknowledged produces", None)
        self._append(what, step)

    def sent(self, acknowledgement: asyncio.Future[Any]) -> None:
        """A batch of records was handed to the producer by the flow that calls."""
        self._sent.setdefault(asyncio.current_task(), []).append(acknowledgement)

    def _append(self, what: str, step: Step | None) -> None:
        self.all.append(Happened(_lane.get(), what, step, _last.get()))
        _last.set(len(self.all) - 1)

    @property
    def effects(self) -> set[str]:
        """Every kind of durable effect that was seen."""
        return {re.sub(r"^\d+ ", "", found.what) for found in self.all if found.step is None}

    def findings(self, *, without: Step | None = None) -> set[str]:
        """Pairs of durable effects with no step between them in one flow; as if a step had not been reported, where one is named."""
        found = set()
        for effect in self.all:
            if effect.step is not None:
                continue
            before = self._before(effect)
            while before is not None and before.step is not None and before.step is without:
                before = self._before(before)
            if before is not None and before.step is None:
                found.add(f"{before.what} -> {effect.what}")
        return found

    def _before(self, happened: Happened) -> Happened | None:
        return None if happened.after is None else self.all[happened.after]


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch, role: str, apart: AIOKafkaProducer) -> Iterator[Recording]:
    """Record the steps and the durable effects of workers in this process whose store knows them as `role`; `apart` is the test's own."""
    recording = Recording()
    steps.install(lambda step: recording.add(step.value, step))
    written: set[int] = set()
    for name in _METHODS:
        monkeypatch.setattr(asyncpg.Connection, name, _observed(getattr(asyncpg.Connection, name), role, written, recording))
    send = AIOKafkaProducer.send_batch

    async def observed_send(producer: AIOKafkaProducer, *arguments: Any, **options: Any) -> asyncio.Future[Any]:
        acknowledgement: asyncio.Future[Any] = await send(producer, *arguments, **options)
        if producer is not apart:
            recording.sent(acknowledgement)
        return acknowledgement

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", observed_send)
    run = LaneWorker.run

    async def named_run(worker: LaneWorker) -> None:
        _lane.set(f"lane {worker.spec.lane}")
        await run(worker)

    monkeypatch.setattr(LaneWorker, "run", named_run)
    try:
        yield recording
    finally:
        steps.install(None)


def _observed(original: Callable[..., Awaitable[Any]], role: str, written: set[int], recording: Recording) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def observed(connection: Any, query: str, *arguments: Any, **options: Any) -> Any:
        found = await original(connection, query, *arguments, **options)
        if connection._params.user != role:
            return found
        key = id(connection)
        if query.startswith("COMMIT"):
            if key in written:
                written.remove(key)
                recording.add("COMMIT")
                if recording.lose_next_commit:
                    recording.lose_next_commit = False
                    connection.terminate()
                    raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT was lost")
        elif query.startswith("ROLLBACK"):
            written.discard(key)
        elif write := _WRITE.search(_LOCKING_READ.sub("", query)):
            if not found or (isinstance(found, str) and found.endswith(" 0")):
                pass  # it found no row to change
            elif connection.is_in_transaction():
                written.add(key)
            else:
                recording.add(f"{write[1].upper()} {write[2]}")
        return found

    return observed

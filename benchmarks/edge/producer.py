"""A producer of the edge, a process of its own: requests over keep-alive connections, at a rate or as fast as so many at once go.

`python -m benchmarks.edge.producer <plan as JSON>`. It makes its requests, says `ready`, begins at a line on standard input and says at
the end what it saw. It has no deadline: a request that waits, waits, and its time counts from the instant at which it was due.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from enum import StrEnum

import msgspec
import uvloop

from benchmarks.edge.events import events
from ingress.wire import Wire

_ADMITTED = b'"status":202'
# What comes while so many wait, waits here for a connection, and its time counts as well. A producer opens no hundred connections at once,
# and a socket that is offered more than its backlog at once resets some.
_CONNECTIONS = 64
# Longer than any measurement: what waits, waits, and its time counts.
_FOR_EVER_S = 3600.0


class Form(StrEnum):
    """How events go into requests."""

    SINGLE = "single"
    ARRAY = "array"
    LINES = "lines"
    """NDJSON."""


class Plan(msgspec.Struct, frozen=True):
    """`requests` requests of `size` events each to a port of this machine."""

    port: int
    api_key: str
    form: Form
    requests: int
    size: int = 1
    rate: float = 0.0
    """Requests a second, due at even distances whatever the answers do; 0: the next goes out when an answer has come."""
    at_once: int = 0
    """Requests under way where there is no rate."""


class Told(msgspec.Struct, frozen=True):
    """What a producer saw."""

    waited_ms: list[float]
    """Of each request, in the order in which they were due."""
    late_ms: float
    """How long after it was due the latest request left."""
    statuses: dict[str, int]
    admitted: int
    """Events whose own answer was 202."""
    seconds: float
    connections: int


class _Producer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._wire = Wire(f"http://127.0.0.1:{plan.port}/v1/ingest/push", _CONNECTIONS)
        kind = "application/x-ndjson" if plan.form is Form.LINES else "application/json"
        self._headers = {"X-IG-Api-Key": plan.api_key, "Content-Type": kind}
        self._statuses: Counter[str] = Counter()
        self._admitted = 0
        self._waited: dict[int, float] = {}
        self._late = 0.0
        made = events(plan.requests * plan.size)
        self._bodies = [_body(plan.form, [next(made) for _ in range(plan.size)]) for _ in range(plan.requests)]

    async def at_rate(self) -> None:
        """Each request when it is due."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.requests):
                due = began + number / self._plan.rate
                if (left := due - time.perf_counter()) > 0:
                    await asyncio.sleep(left)
                self._late = max(self._late, time.perf_counter() - due)
                group.create_task(self._one(number, due))

    async def at_once(self) -> None:
        """So many at once until all are sent."""
        numbers = iter(range(self._plan.requests))

        async def take() -> None:
            for number in numbers:
                await self._one(number, time.perf_counter())

        async with asyncio.TaskGroup() as group:
            for _ in range(self._plan.at_once):
                group.create_task(take())

    async def _one(self, number: int, due: float) -> None:
        status, body = await self._wire.post(self._bodies[number], self._headers, _FOR_EVER_S)
        self._waited[number] = (time.perf_counter() - due) * 1000
        self._statuses[str(status)] += 1
        self._admitted += status == 202 if self._plan.form is Form.SINGLE else body.count(_ADMITTED)

    async def run(self) -> Told:
        """After the line that begins it."""
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        await (self.at_rate() if self._plan.rate else self.at_once())
        waited = [round(self._waited[number], 3) for number in range(self._plan.requests)]
        seconds = time.perf_counter() - began
        return Told(waited, round(self._late * 1000, 3), dict(self._statuses), self._admitted, seconds, self._wire.opened)


def _body(form: Form, made: list[bytes]) -> bytes:
    return b"[" + b",".join(made) + b"]" if form is Form.ARRAY else b"\n".join(made)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(uvloop.run(_Producer(msgspec.json.decode(sys.argv[1], type=Plan)).run())).decode() + "\n")

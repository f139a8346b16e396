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
from typing import cast

import msgspec
import uvloop

from benchmarks.edge.events import events

_ADMITTED = b'"status":202'
# What comes while so many wait, waits here for a connection, and its time counts as well. A producer opens no hundred connections at once,
# and a socket that is offered more than its backlog at once resets some.
_CONNECTIONS = 64


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


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._data = bytearray()
        self._wanted = -1
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none of asyncio's classes

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Status and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._wanted < 0:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._data[:end]).lower()
            self._wanted = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self._data) < self._wanted or self._answer is None:
            return
        status, body = int(self._data[9:12]), bytes(self._data[self._data.find(b"\r\n\r\n") + 4 :])
        self._data.clear()
        self._wanted = -1
        answer, self._answer = self._answer, None
        answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the edge closed a connection under a request"))


class _Producer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._free: list[_Connection] = []
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._connections = 0
        self._statuses: Counter[str] = Counter()
        self._admitted = 0
        self._waited: dict[int, float] = {}
        self._late = 0.0
        made = events(plan.requests * plan.size)
        self._requests = [_request(plan, [next(made) for _ in range(plan.size)]) for _ in range(plan.requests)]

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
        async with self._slots:
            connection = self._free.pop() if self._free else await self._connect()
            status, body = await connection.ask(self._requests[number])
            self._waited[number] = (time.perf_counter() - due) * 1000
            self._free.append(connection)
        self._statuses[str(status)] += 1
        self._admitted += status == 202 if self._plan.form is Form.SINGLE else body.count(_ADMITTED)

    async def _connect(self) -> _Connection:
        self._connections += 1
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._plan.port)
        return connection

    async def run(self) -> Told:
        """After the line that begins it."""
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        await (self.at_rate() if self._plan.rate else self.at_once())
        waited = [round(self._waited[number], 3) for number in range(self._plan.requests)]
        seconds = time.perf_counter() - began
        return Told(waited, round(self._late * 1000, 3), dict(self._statuses), self._admitted, seconds, self._connections)


def _request(plan: Plan, made: list[bytes]) -> bytes:
    kind = "application/x-ndjson" if plan.form is Form.LINES else "application/json"
    body = b"[" + b",".join(made) + b"]" if plan.form is Form.ARRAY else b"\n".join(made)
    head = (
        f"POST /v1/ingest/push HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nX-IG-Api-Key: {plan.api_key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(uvloop.run(_Producer(msgspec.json.decode(sys.argv[1], type=Plan)).run())).decode() + "\n")

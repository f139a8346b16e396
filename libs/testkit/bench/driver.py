"""The open-loop driver, in a process of its own: sends bodies to the edge on a schedule that never waits for an answer.

`python -m testkit.bench.driver --bodies F --url U --out D`, with FP_IG_API_KEY, FP_BENCH_KAFKA and FP_BENCH_PREFIX in the environment.
Each line `<valid events a second> <seconds>` on standard input is a phase; the driver sends at that rate and then waits for the next line.
At the end of standard input it waits until everything has its final answer, writes what it got to the folder, and ends. Once a second it
prints a line of JSON about itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from ingress.wire import Wire, WireError
from spine.deadline import Deadline
from testkit.bench.bodies import Body, Injection, read_bodies
from testkit.run.answers import Answers, Place
from testkit.run.behind import Behind
from testkit.run.sender import MAX_ARRAY_BYTES
from testkit.world import Answer, Credential, EdgeKind, TopicInject

# Connections to the edge: what comes beyond them waits in front of the edge instead of inside it, and counts as waiting all the same. An
# edge that has more in hand than it can publish within its publish timeout no longer knows what is published, and must search the log.
_CONNECTIONS = 8
# Places of admitted events that are remembered for injections: those follow their originals by some two thousand bodies at the most.
_PLACES = 100_000
_SETTLE_SECONDS = 180.0
# Ten times what the edge gives a request: a busy edge must not look like one that is gone.
_ANSWER_SECONDS = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# The longer, the more partitions have something in a round, which is one fetch and one produce request however many they are.
_INJECT_EVERY = 2.0
# Surprises that are told in full; more of them say nothing new.
_SURPRISES = 1000
_DECISIONS = {"ADMIT": Answer.ADMITTED, "DUPLICATE": Answer.DUPLICATE, "QUARANTINE": Answer.QUARANTINED}


class _Ref(msgspec.Struct, gc=False):
    topic: str
    partition: int
    offset: str


class _Receipt(msgspec.Struct, gc=False):
    eb_ref: _Ref


class _Item(msgspec.Struct, gc=False):
    status: int = 0
    decision: str | None = None
    receipt: _Receipt | None = None
    reason_codes: list[str] = []
    quarantine_id: str | None = None


class _Many(msgspec.Struct, gc=False):
    items: list[_Item]


_MANY = msgspec.json.Decoder(_Many)
_ONE = msgspec.json.Decoder(_Item)
_LOST = _Item(status=503)


class Driver:
    """Sends; keeps the books of what was answered."""

    def __init__(self, bodies: Iterator[Body | Injection], url: str, api_key: str, array: int, out: Path, behind: Behind) -> None:
        self._bodies = bodies
        self._wire = Wire(f"{url}/v1/ingest/push", _CONNECTIONS)
        self._api_key = api_key
        self._array_size = array
        self._behind_topic = behind
        self._out = out
        self.answers = Answers.kept_in(out)
        self._requests: set[asyncio.Task[None]] = set()
        self._open: set[str] = set()
        """Event ids of valid bodies without a final answer: a second delivery of one waits for it."""
        self._held: dict[str, list[Body]] = {}
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._injections: list[TopicInject] = []
        self._kinds: Counter[str] = Counter()
        self._anomalies: list[str] = []
        self._injections_named = 0
        self.valid = 0
        self._late_ms = 0.0
        self._answer_ms: list[float] = []
        self._exhausted = False
        self._statuses: Counter[int] = Counter()
        self._failure: BaseException | None = None

    # --- sending ---

    async def phase(self, rate: float, seconds: float) -> None:
        """Send valid events at `rate` for `seconds`; the others of the stream ride along."""
        began, sent = time.monotonic(), 0
        array: list[Body] = []
        size = 0
        for body in self._bodies:
            if isinstance(body, Injection):
                self._injections.append(body.step)
                self._injections_named += 1
                continue
            self.answers.sent += 1
            self._kinds[body.sent.kind] += 1
            if body.anomaly is not None:
                self._anomalies.append(body.anomaly)
            if body.is_valid:
                sent += 1
                self.valid += 1
            if not body.in_array:
                self._send([body])
                continue
            if size + len(body.value) > MAX_ARRAY_BYTES:
                self._begin(array)
                array, size = [], 0
            array.append(body)
            size += len(body.value)
            if len(array) >= self._array_size:
                due = began + sent / rate
                if (ahead := due - time.monotonic()) > 0:
                    await asyncio.sleep(ahead)
                else:
                    # The loop must get its turn all the same, or no answer would ever be read.
                    await asyncio.sleep(0)
                self._late_ms = max(self._late_ms, 1000 * (time.monotonic() - due))
                self._begin(array)
                array, size = [], 0
                if sent >= rate * seconds:
                    return
        self._begin(array)
        self._exhausted = True

    def _begin(self, bodies: list[Body]) -> None:
        """One request; second deliveries whose original has no final answer yet are held back."""
        ready = []
        for body in bodies:
            identity = body.sent.identity
            if identity is not None:
                if body.sent.kind is EdgeKind.VALID:
                    self._open.add(identity.event_id)
                elif identity.event_id in self._open:
                    self._held.setdefault(identity.event_id, []).append(body)
                    continue
            ready.append(body)
        if ready:
            self._send(ready)

    def _send(self, bodies: list[Body]) -> None:
        task = asyncio.create_task(self._until_final(bodies))
        self._requests.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    async def _until_final(self, bodies: list[Body]) -> None:
        pause = _FIRST_PAUSE
        began = time.perf_counter()
        first = True
        while True:
            again = self._sort(bodies, await self._post(bodies), first=first)
            first = False
            if not again:
                break
            self.answers.retries += len(again)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
            bodies = again
        self._answer_ms.append(1000 * (time.perf_counter() - began))

    async def _post(self, bodies: list[Body]) -> list[_Item]:
        single = len(bodies) == 1 and not bodies[0].in_array
        data = bodies[0].value if single else b"[" + b",".join([body.value for body in bodies]) + b"]"
        headers = {"content-type": "application/json", **self._credential(bodies[0])}
        if single:
            headers["traceparent"] = bodies[0].traceparent
        try:
            status, text = await self._wire.post(data, headers, _ANSWER_SECONDS)
        except WireError:
            # An answer that was lost says nothing: the same bodies are sent again.
            return [_LOST] * len(bodies)
        self._statuses[status] += 1
        if single or status != 200:
            item = _ONE.decode(text) if text else _Item()
            item.status = status
            return [item] * len(bodies)
        return _MANY.decode(text).items

    def _credential(self, body: Body) -> dict[str, str]:
        if body.credential is Credential.MISSING:
            return {}
        return {"x-ig-api-key": self._api_key if body.credential is Credential.VALID else "wrong" * 8}

    def _sort(self, bodies: list[Body], items: list[_Item], *, first: bool) -> list[Body]:
        again = []
        for body, item in zip(bodies, items, strict=True):
            if item.status == 429 or item.status >= 500:
                again.append(body)
                continue
            answer = _DECISIONS.get(item.decision or "", Answer.REJECTED)
            if not first and answer is Answer.DUPLICATE and body.sent.kind is EdgeKind.VALID:
                # Its own earlier delivery, whose answer was lost or left open: other deliveries of it wait for this answer.
                answer = Answer.ADMITTED
            reason = item.reason_codes[0] if item.reason_codes else ""
            self.answers.final(body.sent, answer, reason, item.quarantine_id, item.status)
            identity = body.sent.identity
            if identity is None or body.sent.kind is not EdgeKind.VALID:
                continue
            if item.receipt is not None:
                ref = item.receipt.eb_ref
                self._places[identity.event_id] = Place(ref.topic, ref.partition, int(ref.offset))
                if len(self._places) > _PLACES:
                    self._places.popitem(last=False)
            self._open.discard(identity.event_id)
            for held in self._held.pop(identity.event_id, ()):
                self._send([held])
        return again

    # --- behind the edge ---

    async def inject(self, ending: asyncio.Event) -> None:
        """Publish what was to be injected and whose original is admitted, now and then until `ending`."""
        while not ending.is_set():
            await asyncio.sleep(_INJECT_EVERY)
            await self.inject_some()

    async def inject_some(self) -> None:
        """One round of it."""
        ready = [step for step in self._injections if step.of.event_id in self._places]
        self._injections = [step for step in self._injections if step.of.event_id not in self._places]
        await self._behind_topic.inject([(step, self._places[step.of.event_id]) for step in ready])

    # --- the end, and what is told ---

    async def settle(self) -> None:
        """Returns when everything has its final answer, or nothing more is to be hoped for: the reconciliation says what is missing then.

        Raises what a request raised.
        """
        deadline = Deadline(_SETTLE_SECONDS)
        while self._requests and not deadline.expired:
            await asyncio.wait(self._requests, timeout=_INJECT_EVERY)
            # Places are remembered for so long only, and what is unanswered when the phases end may be more than that.
            await self.inject_some()
        for request in list(self._requests):
            request.cancel()
        if self._failure is not None:
            raise self._failure
        await self.inject_some()
        self._wire.close()

    @property
    def unanswered(self) -> int:
        """Bodies without a final answer."""
        return self.answers.sent - sum(self.answers.counts.values())

    def tell(self) -> dict[str, Any]:
        """Where it stands; peaks are since the last time."""
        times, self._answer_ms = sorted(self._answer_ms), []
        late, self._late_ms = self._late_ms, 0.0
        return {
            "at": time.time(),
            "sent": self.answers.sent,
            "valid": self.valid,
            "admitted": self.answers.counts[Answer.ADMITTED],
            "unanswered": self.unanswered,
            "retries": self.answers.retries,
            "late_ms": round(late, 1),
            "answer_ms": {f"p{share}": round(times[min(len(times) - 1, len(times) * share // 100)], 1) for share in (50, 95, 99)}
            if times
            else None,
            "requests": len(times),
            "exhausted": self._exhausted,
        }

    def write(self) -> None:
        """Everything that the reconciliation needs and the sides do not hold."""
        self.answers.flush()
        answers = self.answers
        found = {
            "sent": answers.sent,
            "counts": {answer.value: count for answer, count in answers.counts.items()},
            "rejected_by_status": {str(status): count for status, count in answers.rejected_by_status.items()},
            "responses_by_status": {str(status): count for status, count in self._statuses.items()},
            "sampled": answers.sampled,
            "retries": answers.retries,
            "surprises": answers.surprises[:_SURPRISES],
            "kinds": dict(self._kinds),
            "edge_anomalies": sorted(set(self._anomalies)),
            "injections_named": self._injections_named,
            "injected": self._behind_topic.injected,
            "topic_anomalies": sorted(self._behind_topic.changed),
        }
        (self._out / "driver.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


async def _drive(options: argparse.Namespace) -> None:
    behind = Behind(os.environ["FP_BENCH_KAFKA"], os.environ["FP_BENCH_PREFIX"])
    await behind.start()
    driver = Driver(read_bodies(options.bodies), options.url, os.environ["FP_IG_API_KEY"], options.array, options.out, behind)
    telling = asyncio.create_task(_tell(driver))
    ending = asyncio.Event()
    injecting = asyncio.create_task(driver.inject(ending))
    phases = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(phases), sys.stdin)
    try:
        while line := await phases.readline():
            rate, seconds = map(float, line.split())
            await driver.phase(rate, seconds)
            _say({"phase_over": rate, **driver.tell()})
        ending.set()
        await injecting
        await driver.settle()
        driver.write()
    finally:
        telling.cancel()
        await behind.stop()


async def _tell(driver: Driver) -> None:
    while True:
        await asyncio.sleep(1.0)
        _say(driver.tell())


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="driver", description=__doc__)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--array", type=int, default=100, help="bodies of one request")
    uvloop.run(_drive(parser.parse_args()))


if __name__ == "__main__":
    main()

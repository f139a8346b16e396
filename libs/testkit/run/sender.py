"""The producer: plays the world's bodies through the edge over HTTP until each has its final answer."""

from __future__ import annotations

import asyncio

from client.answers import Answer as EdgeAnswer
from client.transport import Transport, credential
from spine.deadline import Deadline
from testkit.run.answers import Answers, Place, Sent
from testkit.run.options import ARRAY, IN_FLIGHT
from testkit.world import Answer, Credential, EdgeKind, EdgeSend, Identity

# Bodies that one request may carry together: readable JSON under a good credential.
IN_ARRAYS = frozenset(
    {
        EdgeKind.VALID,
        EdgeKind.DUPLICATE,
        EdgeKind.CHANGED_PAYLOAD,
        EdgeKind.MISSING_PINS,
        EdgeKind.UNKNOWN_TYPE,
        EdgeKind.BAD_SCHEMA,
        EdgeKind.UNKNOWN_FIELD,
        EdgeKind.FOREIGN_RUN,
    }
)
MAX_ARRAY_BYTES = 900_000
# A body that the edge can't settle within this is not a slow one; the run fails and says which.
_SETTLE_SECONDS = 120.0
_DECISIONS = {"ADMIT": Answer.ADMITTED, "DUPLICATE": Answer.DUPLICATE, "QUARANTINE": Answer.QUARANTINED}


class Sender:
    """Sends bodies in stream order. A second delivery of an event waits until its original has its final answer."""

    def __init__(self, url: str, api_key: str, answers: Answers) -> None:
        self._transport = Transport(url, IN_FLIGHT * 2)
        self._api_key = api_key
        self._answers = answers
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._open: set[Identity] = set()
        self._behind: dict[Identity, list[EdgeSend]] = {}
        self._array: list[EdgeSend] = []
        self._array_bytes = 0
        self._requests: set[asyncio.Task[None]] = set()
        self.places: dict[Identity, Place] = {}
        """Where each admitted event stands, as the edge said."""

    async def start(self) -> None:
        """Open the connections."""
        await self._transport.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self._transport.stop()

    @property
    def unanswered(self) -> int:
        """Bodies without a final answer."""
        return self._answers.sent - sum(self._answers.counts.values())

    async def send(self, step: EdgeSend) -> None:
        """Take one body; returns when it is under way or waits behind its original."""
        self._answers.sent += 1
        await self._take(step)

    async def _take(self, step: EdgeSend) -> None:
        identity = step.identity
        if step.kind is not EdgeKind.VALID and identity is not None and identity in self._open:
            self._behind.setdefault(identity, []).append(step)
            return
        if step.kind not in IN_ARRAYS:
            await self._begin([step])
            return
        if self._array_bytes + len(step.envelope) > MAX_ARRAY_BYTES:
            await self.flush()
        self._array.append(step)
        self._array_bytes += len(step.envelope)
        if step.kind is EdgeKind.VALID and identity is not None:
            self._open.add(identity)
        if len(self._array) >= ARRAY:
            await self.flush()

    async def flush(self) -> None:
        """Send what is gathered."""
        if self._array:
            steps, self._array, self._array_bytes = self._array, [], 0
            await self._begin(steps)

    async def settle(self) -> None:
        """Returns when every body has its final answer. Raises what a request raised."""
        await self.flush()
        while self._requests or self._array:
            await asyncio.gather(*self._requests)
            await self.flush()

    def is_admitted(self, identity: Identity) -> bool:
        """Whether the original of an injection stands on its topic."""
        return identity in self.places

    async def _begin(self, steps: list[EdgeSend]) -> None:
        await self._slots.acquire()
        task = asyncio.create_task(self._until_final(steps))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _until_final(self, steps: list[EdgeSend]) -> None:
        deadline = Deadline(_SETTLE_SECONDS)
        pause = 0.05
        freed: list[EdgeSend] = []
        try:
            while steps:
                deadline.check(f"{len(steps)} bodies to get a final answer")
                again, freed_now = self._sort(steps, await self._post(steps))
                freed += freed_now
                if again:
                    self._answers.retries += len(again)
                    await asyncio.sleep(pause)
                    pause = min(1.0, pause * 2)
                steps = again
        finally:
            self._slots.release()
        for step in freed:
            await self._take(step)

    async def _post(self, steps: list[EdgeSend]) -> list[EdgeAnswer]:
        headers = self._credential(steps[0])
        if len(steps) == 1 and steps[0].kind not in IN_ARRAYS:
            return [await self._transport.push_one(steps[0].envelope, headers | {"traceparent": steps[0].traceparent})]
        return await self._transport.push([traced(step) for step in steps], headers)

    def _credential(self, step: EdgeSend) -> dict[str, str]:
        if step.credential is Credential.MISSING:
            return {}
        return credential(self._api_key if step.credential is Credential.VALID else "wrong" * 8)

    def _sort(self, steps: list[EdgeSend], said: list[EdgeAnswer]) -> tuple[list[EdgeSend], list[EdgeSend]]:
        again: list[EdgeSend] = []
        freed: list[EdgeSend] = []
        for step, item in zip(steps, said, strict=True):
            if not item.is_final:
                again.append(step)
                continue
            answer = _DECISIONS.get(item.decision or "", Answer.REJECTED)
            reason = item.reasons[0] if item.reasons else ""
            self._answers.final(sent_of(step), answer, reason, item.body.get("quarantine_id"), item.status)
            place = _place(item)
            if answer is Answer.ADMITTED and step.identity is not None and place is not None:
                self.places[step.identity] = place
            if step.identity is not None and step.kind is EdgeKind.VALID:
                self._open.discard(step.identity)
                freed += self._behind.pop(step.identity, [])
        return again, freed


def sent_of(step: EdgeSend) -> Sent:
    """What is remembered of a step for its answer."""
    trace = step.traceparent
    return Sent(step.kind, step.identity, trace[3:35], trace.endswith("-01"), step.is_trigger, step.expected)


def traced(step: EdgeSend) -> bytes:
    """A body for an array: every event brings its own trace in its envelope, since the request's header could carry only one."""
    return b'{"traceparent":"' + step.traceparent.encode() + b'",' + step.envelope[1:]


def _place(item: EdgeAnswer) -> Place | None:
    receipt = item.body.get("receipt")
    if receipt is None:
        return None
    ref = receipt["eb_ref"]
    return Place(ref["topic"], ref["partition"], int(ref["offset"]))

"""The items of one request: each judged, admitted or refused, and answered in its place."""

import asyncio
import time
from collections.abc import Sequence

from ingress.admission import Admission, DifferentPayloadError, Verdict
from ingress.answers import Answer, rejected, retry
from ingress.aws_json import ServiceError
from ingress.capacity import Capacity
from ingress.claiming import Claims
from ingress.inspection import Candidate, Detail, Refused, inspect
from ingress.logs import log
from ingress.producers import Producer
from ingress.receipt import receipt_of
from ingress.record import Caller, Record, Stamp
from ingress.refusals import Refusals
from ingress.settings import EdgeSettings
from ingress.spread import spread
from ingress.turns import Turns
from laws.headers import Correlation
from laws.reasons import Reason

# Items that are claimed, published and settled together. A store that takes a thousand puts a second has claimed them in a quarter of a
# second, so that the first of them is still far from the end of its lease when the last is published.
_BLOCK = 256
# A broker takes 1,048,588 bytes of a batch with one record, its headers included. What it refuses looks like a publish that nobody
# knows the end of, and would end the producer under everybody else's records.
_RECORD_BYTES = 1_000_000
# Blocks at work at once. A block's lease runs from its first claim: more of them would share a slow store, and all reach the end of their
# leases together with nothing published.
_BLOCKS = 2
_RETRY_ADVICE = {
    Reason.PUBLISH_IN_FLIGHT_RETRY: "another delivery of this event is under way: send it again",
    Reason.PUBLISH_AMBIGUOUS: "nobody knows yet whether the event was appended: send it again",
    Reason.PUBLISH_AMBIGUOUS_RETRY: "nobody knows yet whether an earlier delivery was appended: send it again",
    Reason.DEPENDENCY_UNAVAILABLE: "the store or the bus does not answer: send it again",
}


class Sender:
    """Who sends, and from where: what a request says of itself, and what its credential says."""

    def __init__(self, producer: Producer, caller: Caller) -> None:
        self.producer = producer
        self.caller = caller


class Items:
    """What the edge does with items once their sender is known."""

    def __init__(
        self, settings: EdgeSettings, admission: Admission, refusals: Refusals, stamp: Stamp, claims: Claims | None, capacity: Capacity
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._refusals = refusals
        self._stamp = stamp
        self._claims = claims
        self._capacity = capacity
        self._turns = Turns()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._blocks = asyncio.Semaphore(_BLOCKS)

    async def one(self, raw: bytes, sender: Sender, ends: float) -> Answer:
        """The answer to one envelope, which waits for its turn."""
        try:
            inspected = self._inspect(raw, sender)
            if isinstance(inspected, Refused):
                async with self._slots:
                    return await self._refusals.refuse(inspected, sender.caller)
            return await self._in_turn(inspected, sender, ends)
        except Exception:
            return _defect()

    async def all(self, items: Sequence[bytes], sender: Sender, ends: float) -> list[Answer]:
        """The answers to the items of an array, in their order.

        What is lawful, and whose identity nobody is at work on, goes in blocks; refusals and copies, the rare ones, one by one
        behind it. A defect of ours costs the items of its block a retry, and the other blocks nothing.
        """
        answers: dict[int, Answer] = {}
        for start in range(0, len(items), _BLOCK):
            block = range(start, min(start + _BLOCK, len(items)))
            candidates: dict[int, Candidate] = {}
            behind: list[tuple[int, Candidate | Refused]] = []
            try:
                for index in block:
                    inspected = self._inspect(items[index], sender)
                    if isinstance(inspected, Refused) or not self._turns.take(inspected.dedupe_key):
                        behind.append((index, inspected))
                    else:
                        candidates[index] = inspected
                async with self._blocks, self._slots:
                    admitted = await self._admit(list(candidates.values()), sender, ends)
                answers.update(zip(candidates, admitted, strict=True))
            except Exception:
                answers |= {index: _defect() for index in block if index not in answers}
            finally:
                for candidate in candidates.values():
                    self._turns.give(candidate.dedupe_key)
            answers |= await self._behind(behind, sender, ends)
        return [answers[index] for index in range(len(items))]

    async def _behind(self, items: Sequence[tuple[int, Candidate | Refused]], sender: Sender, ends: float) -> dict[int, Answer]:
        async def one(item: tuple[int, Candidate | Refused]) -> tuple[int, Answer]:
            index, inspected = item
            try:
                if isinstance(inspected, Refused):
                    async with self._slots:
                        return index, await self._refusals.refuse(inspected, sender.caller)
                return index, await self._in_turn(inspected, sender, ends)
            except Exception:
                return index, _defect()

        return dict(await spread(one, items, self._settings.concurrency))

    async def _in_turn(self, candidate: Candidate, sender: Sender, ends: float) -> Answer:
        async with self._turns.of(candidate.dedupe_key), self._slots:
            return (await self._admit([candidate], sender, ends))[0]

    def _inspect(self, raw: bytes, sender: Sender) -> Candidate | Refused:
        inspected = inspect(raw, self._settings.active_run)
        if isinstance(inspected, Refused):
            return inspected
        run, event_class, _ = inspected.identity
        if sender.producer.may_send(run, event_class):
            return inspected
        advice = f"{sender.producer.principal} may not send class {event_class} of run {run}: its allow-lists say which"
        return Refused((Reason.UNAUTHORIZED,), Detail("event_type", inspected.event_type.name, advice), inspected.known)

    async def _admit(self, candidates: Sequence[Candidate], sender: Sender, ends: float) -> list[Answer]:
        """The answers to candidates whose turns the caller has."""
        answers: dict[int, Answer] = {}
        work: list[tuple[int, Candidate, Record, Correlation]] = []
        late = time.monotonic() > ends
        for index, candidate in enumerate(candidates):
            if late:
                advice = "the request's time is over: send it again"
                answers[index] = retry(Reason.DEPENDENCY_UNAVAILABLE, candidate.envelope.event_id, advice)
                continue
            prepared = await self._prepare(candidate, sender)
            if isinstance(prepared, Answer):
                answers[index] = prepared
            else:
                work.append((index, candidate, *prepared))
        judged = await self._admission.admit([(candidate, record) for _, candidate, record, _ in work])
        for (index, candidate, _, correlation), verdict in zip(work, judged, strict=True):
            if isinstance(verdict, DifferentPayloadError):
                answers[index] = await self._refusals.mismatch(candidate, sender.caller, correlation, verdict)
            else:
                answers[index] = self._answer(candidate, correlation, verdict)
        return [answers[index] for index in range(len(candidates))]

    async def _prepare(self, candidate: Candidate, sender: Sender) -> tuple[Record, Correlation] | Answer:
        """The record of a candidate, or why it can't be taken now. Nothing of it is written yet but the object of a claim."""
        event_id = candidate.envelope.event_id
        record, correlation = self._stamp.record(candidate, sender.caller)
        if self._claims is not None and len(candidate.payload) > self._settings.claim_bytes:
            try:
                record = await self._claims.check(candidate, record)
            except ServiceError as error:
                log.warning("claim_not_kept", event_id=event_id, cause=str(error))
                return retry(Reason.DEPENDENCY_UNAVAILABLE, event_id, "the store of large payloads does not answer: send it again")
        if len(record.value) > _RECORD_BYTES:
            advice = "no record can carry it, and this edge has no bucket for large payloads"
            return rejected(413, Reason.TOO_LARGE, "payload", len(candidate.payload), advice, event_id)
        if wait_s := self._capacity.take(record.topic, len(record.value)):
            advice = f"{record.topic} has all the bytes a second that it can carry: wait {wait_s} s"
            return retry(Reason.RATE_LIMITED, event_id, advice, after_s=wait_s, status=429)
        return record, correlation

    def _answer(self, candidate: Candidate, correlation: Correlation, verdict: Verdict) -> Answer:
        event_id = candidate.envelope.event_id
        if verdict.row is None:
            assert verdict.reason is not None
            log.warning("retry", reason=verdict.reason, event_id=event_id)
            return retry(verdict.reason, event_id, _RETRY_ADVICE[verdict.reason])
        return Answer(
            verdict.decision,
            202,
            event_id,
            receipt=receipt_of(verdict.row, verdict.decision),
            receipt_ref=f"ddb://{self._settings.idempotency_table}/{candidate.dedupe_key}#receipt",
            correlation_echo=correlation._asdict(),
        )


def _defect() -> Answer:
    """A defect of ours is a retry, with a stack trace in the log; called where the exception is being handled."""
    log.exception("internal_error")
    return retry(Reason.INTERNAL_ERROR, None, "a defect of the edge, which is in its log: send it again")

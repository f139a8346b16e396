"""The edge: one request in, one response out (domain.md 2.8, 2.10). Knows API Gateway's events and nothing of who serves them."""

import asyncio
import base64
import binascii
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from ingress.admission import Admission, DifferentPayloadError, Verdict
from ingress.admission_store import AdmissionStore, AdmissionTable
from ingress.anomaly import Mismatch, anomaly_record
from ingress.answers import Answer, Response, many, not_found, rejected, response, retry, single
from ingress.authn import HEADER, KeyRing
from ingress.batches import PublishUnknownError
from ingress.bus import Bus, BusError
from ingress.dynamodb import DynamoDB, StoreError
from ingress.health import ANOMALIES, BUS, LETTERS, STORE, Health, HealthState, Probes
from ingress.inspection import Candidate, Detail, Refused, inspect, split
from ingress.letters import LetterQueue
from ingress.memory_table import MemoryTable
from ingress.policy import policy_digest
from ingress.quarantine import Quarantine, Scene, id_of
from ingress.rate import TokenBucket
from ingress.receipt import Decision, receipt_of
from ingress.reconciler import Reconciler
from ingress.record import Caller, Record, Stamp
from ingress.settings import POLICY_REV, EdgeSettings, Table
from ingress.spread import spread
from ingress.steps import Step, reached
from ingress.turns import Turns
from laws.headers import Correlation, Provenance
from laws.reasons import Reason
from laws.times import format_instant

log = structlog.get_logger()

PUSH = ("POST", "/v1/ingest/push")
HEALTH = ("GET", "/v1/ops/health")

# What API Gateway and its client still need of the request's time after our last item (its own limit is 30 s as well).
_ANSWER_S = 2.0
# Items that are claimed, published and settled together. A store that takes a thousand puts a second has claimed them in a quarter of a
# second, so that the first of them is still far from the end of its lease when the last is published.
_BLOCK = 256
_RETRY_ADVICE = {
    Reason.PUBLISH_IN_FLIGHT_RETRY: "another delivery of this event is under way: send it again",
    Reason.PUBLISH_AMBIGUOUS: "nobody knows yet whether the event was appended: send it again",
    Reason.PUBLISH_AMBIGUOUS_RETRY: "nobody knows yet whether an earlier delivery was appended: send it again",
    Reason.DEPENDENCY_UNAVAILABLE: "the store or the bus does not answer: send it again",
}


class Edge:
    """Warm for as long as its process lives: connections, producer and token bucket outlast a request (lesson L5)."""

    def __init__(self, settings: EdgeSettings, store: DynamoDB | None = None) -> None:
        self.settings = settings
        self.store = store or DynamoDB(settings.dynamodb_url, settings.region, settings.concurrency)
        self.bus = Bus(settings)
        self.health = Health()
        provenance = Provenance(POLICY_REV, policy_digest(), settings.config_digest(), settings.release_id)
        scene = Scene(settings.env.value, settings.release_id, provenance.config_digest)
        self._provenance = provenance
        self.letters = LetterQueue(settings.dlq_url, settings.region) if settings.dlq_url else None
        self.table = self._table()
        self._admission = Admission(settings, self.table, self.bus, self.health, provenance, self.letters)
        self.reconciler = Reconciler(self.table, self.bus)
        self._quarantine = Quarantine(self.store, settings.quarantine_table, scene)
        self._stamp = Stamp(settings.phase_id, provenance, settings.trace_sample_ratio)
        self._keys = KeyRing(settings.api_key_hashes)
        self._bucket = TokenBucket(settings.rate_profile.per_second, settings.rate_profile.burst)
        self._turns = Turns()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._watching: asyncio.Task[None] | None = None

    async def start(self, *, probe: bool = True) -> None:
        """Opens the clients and starts to watch. With `probe` it first asks every dependency once, so that health means something.

        A dependency that is away does not keep the edge from starting: it answers 503 until it is there. Raises ServiceError
        where no credentials can be had.
        """
        await self.store.start()
        if self.letters is not None:
            await self.letters.start()
        if probe:
            await self.health.probe(self._probes())
        self._watching = asyncio.create_task(self.health.watch(self._probes(), self.settings.probe_s, at_once=not probe))

    async def stop(self) -> None:
        """Closes everything; what was handed to the producer is sent first. Requests must have ended."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self.bus.stop()
        if self.letters is not None:
            await self.letters.stop()
        await self.store.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """The response to an API Gateway HTTP API event, payload format 2.0. Never raises for what a request holds."""
        route = (event["requestContext"]["http"]["method"], event["rawPath"])
        if route == HEALTH:
            return self._health_response()
        if route != PUSH:
            return not_found()
        return await self._push(event)

    def _health_response(self) -> Response:
        state = self.health.state
        body = {"state": state, "causes": self.health.causes, "service": "ingress", "release_id": self.settings.release_id}
        return response(503 if state is HealthState.RED else 200, body)

    async def _push(self, event: Mapping[str, Any]) -> Response:
        ends = time.monotonic() + self.settings.request_timeout_s - _ANSWER_S
        body = _body(event)
        headers = {name.lower(): value for name, value in event["headers"].items()}
        principal = self._keys.principal(headers.get(HEADER))
        # In this order, and nothing is parsed before all of them: size, key, rate, health (domain.md 2.8).
        if len(body) > self.settings.max_body_bytes:
            advice = f"send at most {self.settings.max_body_bytes} bytes: split the array"
            return single(rejected(413, Reason.TOO_LARGE, "body", len(body), advice), len(body))
        if principal is None:
            return single(rejected(401, Reason.UNAUTHORIZED, HEADER, None, "send a live key"), len(body))
        if wait_s := self._bucket.admit():
            rate = self.settings.rate_profile
            advice = f"at most {rate.per_second} events a second, {rate.burst} at once: wait {wait_s} s"
            return single(retry(Reason.RATE_LIMITED, None, advice, after_s=wait_s, status=429), len(body))
        if self.health.state is HealthState.RED:
            causes = ", ".join(str(cause["dependency"]) for cause in self.health.causes)
            return single(retry(Reason.IG_UNHEALTHY, None, f"out of order: {causes}; send it again"), len(body))
        caller = Caller(headers.get("traceparent"), headers.get("tracestate"), principal)
        items = split(body)
        if items is None:
            return single(await self._item(body, caller, ends), len(body))
        if isinstance(items, Refused):
            return single(await self._refuse(items, caller), len(body))
        if len(items) > self.settings.max_items:
            advice = f"send at most {self.settings.max_items} envelopes in one array"
            return single(rejected(413, Reason.TOO_LARGE, "items", len(items), advice), len(body))
        self._bucket.charge(len(items) - 1)
        return many(await self._items(items, caller, ends), len(body))

    async def _item(self, raw: bytes, caller: Caller, ends: float) -> Answer:
        """The answer to one envelope, which waits for its turn."""
        try:
            inspected = inspect(raw, self.settings.active_run)
            if isinstance(inspected, Refused):
                async with self._slots:
                    return await self._refuse(inspected, caller)
            return await self._in_turn(inspected, caller, ends)
        except Exception:
            return _defect()

    async def _items(self, items: Sequence[bytes], caller: Caller, ends: float) -> list[Answer]:
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
                    inspected = inspect(items[index], self.settings.active_run)
                    if isinstance(inspected, Refused) or not self._turns.take(inspected.dedupe_key):
                        behind.append((index, inspected))
                    else:
                        candidates[index] = inspected
                async with self._slots:
                    admitted = await self._admit(list(candidates.values()), caller, ends)
                answers.update(zip(candidates, admitted, strict=True))
            except Exception:
                answers |= {index: _defect() for index in block if index not in answers}
            finally:
                for candidate in candidates.values():
                    self._turns.give(candidate.dedupe_key)
            answers |= await self._behind(behind, caller, ends)
        return [answers[index] for index in range(len(items))]

    async def _behind(self, items: Sequence[tuple[int, Candidate | Refused]], caller: Caller, ends: float) -> dict[int, Answer]:
        async def one(item: tuple[int, Candidate | Refused]) -> tuple[int, Answer]:
            index, inspected = item
            try:
                if isinstance(inspected, Refused):
                    async with self._slots:
                        return index, await self._refuse(inspected, caller)
                return index, await self._in_turn(inspected, caller, ends)
            except Exception:
                return index, _defect()

        return dict(await spread(one, items, self.settings.concurrency))

    async def _in_turn(self, candidate: Candidate, caller: Caller, ends: float) -> Answer:
        async with self._turns.of(candidate.dedupe_key), self._slots:
            return (await self._admit([candidate], caller, ends))[0]

    async def _admit(self, candidates: Sequence[Candidate], caller: Caller, ends: float) -> list[Answer]:
        """The answers to candidates whose turns the caller has."""
        if time.monotonic() > ends:
            return [
                retry(Reason.DEPENDENCY_UNAVAILABLE, candidate.envelope.event_id, "the request's time is over: send it again")
                for candidate in candidates
            ]
        stamped = [self._stamp.record(candidate, caller) for candidate in candidates]
        work: list[tuple[Candidate, Record]] = [(candidate, stamped[i][0]) for i, candidate in enumerate(candidates)]
        answers = []
        for (candidate, (_, correlation)), judged in zip(
            zip(candidates, stamped, strict=True), await self._admission.admit(work), strict=True
        ):
            if isinstance(judged, DifferentPayloadError):
                answers.append(await self._mismatch(candidate, caller, correlation, judged))
            else:
                answers.append(self._answer(candidate, correlation, judged))
        return answers

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
            receipt_ref=f"ddb://{self.settings.idempotency_table}/{candidate.dedupe_key}#receipt",
            correlation_echo=correlation._asdict(),
        )

    async def _refuse(self, refused: Refused, caller: Caller, mismatch: Mismatch | None = None) -> Answer:
        """QUARANTINE, told only once the record is durable."""
        event_id = refused.known.text("event_id") or None
        try:
            kept = await self._quarantine.keep(refused, format_instant(datetime.now(UTC)), caller.principal, mismatch)
        except StoreError as error:
            self.health.failed(STORE, str(error))
            return retry(Reason.DEPENDENCY_UNAVAILABLE, event_id, _RETRY_ADVICE[Reason.DEPENDENCY_UNAVAILABLE])
        log.info("quarantined", reasons=refused.reasons, field=refused.detail.field, event_id=event_id, quarantine_id=kept.quarantine_id)
        reached(Step.REFUSAL_KEPT)
        if kept.pending is not None:
            await self._publish_anomaly(kept.pending)
        return Answer(
            Decision.QUARANTINE,
            400,
            event_id,
            reason_codes=refused.reasons,
            detail=refused.detail,
            quarantine_id=kept.quarantine_id,
        )

    async def _mismatch(self, candidate: Candidate, caller: Caller, correlation: Correlation, found: DifferentPayloadError) -> Answer:
        first, envelope = found.row, candidate.envelope
        advice = f"this event_id stands with payload hash {first.payload_hash.hex()}: send a changed fact under an id of its own"
        detail = Detail("payload", candidate.payload_hash.hex(), advice)
        refused = Refused((Reason.PAYLOAD_HASH_MISMATCH,), detail, candidate.known)
        mismatch = Mismatch(
            platform_run_id=candidate.identity.platform_run_id,
            event_class=candidate.identity.event_class.value,
            event_id=candidate.identity.event_id,
            first_payload_hash=first.payload_hash.hex(),
            other_payload_hash=candidate.payload_hash.hex(),
            first_state=first.state.value,
            first_ref=first.origin.ref() if first.origin else None,
            quarantine_id=id_of(refused),
            ts_utc=envelope.ts_utc,
            seen_at_utc=format_instant(datetime.now(UTC)),
            manifest_fingerprint=envelope.manifest_fingerprint,
            parameter_hash=envelope.parameter_hash,
            seed=envelope.seed,
            scenario_id=envelope.scenario_id,
            correlation=correlation,
            provenance=self._provenance,
        )
        return await self._refuse(refused, caller, mismatch)

    async def _publish_anomaly(self, mismatch: Mismatch) -> None:
        """Puts the anomaly on the bus and notes it. What fails here is made up for by the next copy, or by the watch."""
        try:
            await self._announce(mismatch)
        except (BusError, PublishUnknownError) as error:
            self.health.failed(BUS, str(error))
        except StoreError as error:
            self.health.failed(STORE, str(error))

    async def _announce(self, mismatch: Mismatch) -> None:
        await self.bus.ensure()
        await self.bus.publish(anomaly_record(mismatch))
        reached(Step.ANOMALY_SENT)
        await self._quarantine.mark_published(mismatch.quarantine_id)
        reached(Step.ANOMALY_NOTED)

    def _table(self) -> AdmissionTable:
        if self.settings.table is Table.MEMORY:
            return MemoryTable()
        return AdmissionStore(self.store, self.settings.idempotency_table, self.settings.concurrency)

    def _probes(self) -> Probes:
        probes: dict[str, Callable[[], Awaitable[None]]] = {STORE: self._probe_store, BUS: self._probe_bus, ANOMALIES: self._sweep}
        return probes | ({LETTERS: self.letters.probe} if self.letters is not None else {})

    async def _probe_store(self) -> None:
        for table in (self.settings.idempotency_table, self.settings.quarantine_table):
            await self.store.call("DescribeTable", {"TableName": table})

    async def _probe_bus(self) -> None:
        await self.bus.ensure()
        await self.bus.refresh()

    async def _sweep(self) -> None:
        """Publishes the anomalies that an earlier life of an edge left behind."""
        async for mismatch in self._quarantine.pending():
            await self._announce(mismatch)


def _defect() -> Answer:
    """A defect of ours is a retry, with a stack trace in the log; called where the exception is being handled."""
    log.exception("internal_error")
    return retry(Reason.INTERNAL_ERROR, None, "a defect of the edge, which is in its log: send it again")


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return str(body).encode()  # reading refuses it as what it is: no JSON

"""The edge: one request in, one response out (domain.md 2.8, 2.10). Knows API Gateway's events and nothing of who serves them."""

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ingress.admission import Admission
from ingress.admission_store import AdmissionStore, AdmissionTable
from ingress.answers import HINT_HEADER, Response, many, not_found, rejected, response, retry, single, wrong_method
from ingress.authn import KEY_HEADER, TOKEN_HEADER, Authority
from ingress.aws_json import AwsJson, ServiceError
from ingress.bus import Bus
from ingress.capacity import Capacity
from ingress.claiming import Claims
from ingress.credentials import Parameters, source_of
from ingress.dynamodb import DynamoDB
from ingress.ending import end
from ingress.glue import SchemaRegistry
from ingress.health import ANOMALIES, BUS, CREDENTIALS, LETTERS, OBJECTS, SCHEMAS, STORE, Health, HealthState, Probes
from ingress.inspection import Refused, split
from ingress.items import Items, Sender
from ingress.letters import LetterQueue
from ingress.load import Load
from ingress.memory_table import MemoryTable
from ingress.objects import Objects
from ingress.policy import policy_digest
from ingress.producers import Producer
from ingress.quarantine import Quarantine, Scene
from ingress.quarantine_file import QuarantineFile
from ingress.quarantine_rows import QuarantineTable
from ingress.rate import TokenBucket
from ingress.reconciler import Reconciler
from ingress.record import Caller, Stamp
from ingress.refusals import Refusals
from ingress.run_pins import RunPins
from ingress.schema_gate import SchemaGate
from ingress.settings import POLICY_REV, EdgeSettings, Table
from laws.headers import Provenance
from laws.reasons import Reason

PUSH = ("POST", "/v1/ingest/push")
HEALTH = ("GET", "/v1/ops/health")

# What API Gateway and its client still need of the request's time after our last item (its own limit is 30 s as well).
_ANSWER_S = 2.0


class Edge:
    """Warm for as long as its process lives: connections, producer and token bucket outlast a request (lesson L5)."""

    def __init__(self, settings: EdgeSettings, bus: Bus | None = None) -> None:
        self.settings = settings
        self.store = DynamoDB(settings.dynamodb_url, settings.region, settings.concurrency)
        self.bus = bus or Bus(settings)
        self.health = Health()
        provenance = Provenance(POLICY_REV, policy_digest(), settings.config_digest(), settings.release_id)
        scene = Scene(settings.env.value, settings.release_id, provenance.config_digest)
        self.letters = LetterQueue(settings.dlq_url, settings.region) if settings.dlq_url else None
        self.table = self._table()
        self._admission = Admission(settings, self.table, self.bus, self.health, provenance, self.letters)
        self.reconciler = Reconciler(self.table, self.bus)
        self._parameters = Parameters(settings.ssm_url, settings.region, connections=1) if settings.credentials_parameter else None
        self.authority = Authority(source_of(settings, self._parameters))
        self.objects = Objects(settings.s3_url, settings.region, settings.claim_bucket) if settings.claim_bucket else None
        self.buckets: dict[tuple[str, int, int], TokenBucket] = {}
        self._quarantine_file = QuarantineFile(Path(settings.quarantine_file)) if settings.quarantine_file else None
        quarantine = Quarantine(self._quarantine_file or QuarantineTable(self.store, settings.quarantine_table), scene)
        run_pins = RunPins(self.store, settings.idempotency_table, settings.active_run)
        self._refusals = Refusals(quarantine, self.bus, self.health, provenance, settings.phase_id, run_pins)
        self._stamp = Stamp(settings.phase_id, provenance, settings.trace_sample_ratio)
        claims = Claims(self.objects) if self.objects is not None else None
        self._items = Items(settings, self._admission, self._refusals, self._stamp, claims, Capacity())
        self.load = Load(settings.max_in_hand)
        self._registry = SchemaRegistry(settings.glue_url, settings.region, settings.schema_registry) if settings.schema_registry else None
        self.schemas = SchemaGate(self._registry) if self._registry is not None else None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, *, probe: bool = True) -> None:
        """Opens the clients and starts to watch. With `probe` it first asks every dependency once, so that health means something.

        A dependency that is away does not keep the edge from starting: it answers 503 until it is there. Raises ServiceError
        where no credentials can be had.
        """
        for client in self._clients():
            await client.start()
        if probe:
            await self.health.probe(self._probes())
        self._watching = asyncio.create_task(self.health.watch(self._probes(), self.settings.probe_s, at_once=not probe))

    async def stop(self) -> None:
        """Closes everything; what was handed to the producer is sent first. Requests must have ended."""
        if self._watching is not None:
            await end(self._watching)
        await self.bus.stop()
        for client in self._clients():
            await client.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """The response to an API Gateway HTTP API event, payload format 2.0. Never raises for what a request holds."""
        route = (event["requestContext"]["http"]["method"], event["rawPath"])
        if route == HEALTH:
            return self._health_response()
        if route != PUSH:
            allowed = {path: method for method, path in (PUSH, HEALTH)}.get(event["rawPath"])
            return not_found() if allowed is None else wrong_method(allowed)
        return await self._push(event)

    def _health_response(self) -> Response:
        state = self.health.state
        body = {"state": state, "causes": self.health.causes, "service": "ingress", "release_id": self.settings.release_id}
        return response(503 if state is HealthState.RED else 200, body)

    async def _push(self, event: Mapping[str, Any]) -> Response:
        ends = time.monotonic() + self.settings.request_timeout_s - _ANSWER_S
        body = _body(event)
        headers = {name.lower(): value for name, value in event["headers"].items()}
        # In this order, and nothing is parsed before all of them: size, credential, rate, health (domain.md 2.8).
        if len(body) > self.settings.max_body_bytes:
            advice = f"send at most {self.settings.max_body_bytes} bytes: split the array"
            return single(rejected(413, Reason.TOO_LARGE, "body", len(body), advice), len(body))
        if not await self.authority.ready():
            self.health.failed(CREDENTIALS, self.authority.cause)
            return single(retry(Reason.DEPENDENCY_UNAVAILABLE, None, "the store of credentials does not answer: send it again"), len(body))
        producer = self.authority.who(headers)
        if producer is None:
            advice = f"send a live key in {KEY_HEADER}, or a service token as bearer in {TOKEN_HEADER}"
            return single(rejected(401, Reason.UNAUTHORIZED, KEY_HEADER, None, advice), len(body))
        bucket = self._bucket_of(producer)
        if wait_s := bucket.admit():
            advice = f"at most {producer.per_second} events a second, {producer.burst} at once: wait {wait_s} s"
            return single(retry(Reason.RATE_LIMITED, None, advice, after_s=wait_s, status=429), len(body))
        if self.health.state is HealthState.RED:
            causes = ", ".join(str(cause["dependency"]) for cause in self.health.causes)
            return single(retry(Reason.IG_UNHEALTHY, None, f"out of order: {causes}; send it again"), len(body))
        if self.schemas is not None and not await self.schemas.ready():
            self.health.failed(SCHEMAS, self.schemas.cause)
            return single(retry(Reason.IG_UNHEALTHY, None, f"out of order: {SCHEMAS}; send it again"), len(body))
        sender = Sender(producer, Caller(headers.get("traceparent"), headers.get("tracestate"), producer.principal))
        items = split(body, headers.get("content-type", ""))
        if isinstance(items, Refused):
            return single(await self._refusals.refuse(items, sender.caller), len(body))
        count = 1 if items is None else len(items)
        if count > self.settings.max_items:
            advice = f"send at most {self.settings.max_items} envelopes at once"
            return single(rejected(413, Reason.TOO_LARGE, "items", count, advice), len(body))
        # Before any row: what is turned away now leaves nothing that somebody would have to look for.
        if not self.load.enter(count):
            advice = f"the edge has {self.load.in_hand} events in hand and takes {self.settings.max_in_hand}: send it again"
            return single(retry(Reason.RATE_LIMITED, None, advice, status=429), len(body))
        try:
            if items is None:
                return single(await self._items.one(body, sender, ends), len(body), headers.get(HINT_HEADER, ""))
            bucket.charge(count - 1)
            return many(await self._items.all(items, sender, ends), len(body))
        finally:
            self.load.leave(count)

    def _bucket_of(self, producer: Producer) -> TokenBucket:
        """A producer's own bucket: what others send is not taken from it."""
        key = (producer.principal, producer.per_second, producer.burst)
        if key not in self.buckets:
            self.buckets[key] = TokenBucket(producer.per_second, producer.burst)
        return self.buckets[key]

    def _table(self) -> AdmissionTable:
        if self.settings.table is Table.MEMORY:
            return MemoryTable()
        return AdmissionStore(self.store, self.settings.idempotency_table, self.settings.concurrency)

    def _clients(self) -> list[AwsJson | Objects | QuarantineFile]:
        clients = (self.store, self.letters, self._parameters, self.objects, self._registry, self._quarantine_file)
        return [client for client in clients if client is not None]

    def _probes(self) -> Probes:
        probes: dict[str, Callable[[], Awaitable[None]]] = {STORE: self._probe_store, BUS: self._probe_bus, ANOMALIES: self._refusals.sweep}
        if self.letters is not None:
            probes[LETTERS] = self.letters.probe
        if self.objects is not None:
            probes[OBJECTS] = self.objects.probe
        if self.schemas is not None:
            probes[SCHEMAS] = self.schemas.probe
        return probes | {CREDENTIALS: self._probe_credentials}

    async def _probe_store(self) -> None:
        tables = [self.settings.idempotency_table]
        if self._quarantine_file is None:
            tables.append(self.settings.quarantine_table)
        for table in tables:
            await self.store.call("DescribeTable", {"TableName": table})

    async def _probe_credentials(self) -> None:
        await self.authority.ready()
        if self.authority.cause:
            raise ServiceError(self.authority.cause)

    async def _probe_bus(self) -> None:
        await self.bus.ensure()
        await self.bus.refresh()


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return str(body).encode()  # reading refuses it as what it is: no JSON

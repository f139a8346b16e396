"""How an effect becomes the bytes of a record: once, in the transaction, canonical (architecture.md, settled questions)."""

from typing import NamedTuple

import msgspec

from laws.encode import canonical_struct
from laws.envelope import EnvelopeForm
from laws.headers import EVENT_ID, TRACEPARENT, Correlation, Provenance, missing_headers
from laws.identity import pack_event_id
from laws.payload_hash import payload_hash
from laws.trace_context import derive_span_id
from spine.service import Cause, Emit

_HEADERS = msgspec.msgpack.Encoder()
HEADERS_DECODER = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


# Combinations of runs and trace states whose headers, and of types and runs whose envelopes' common fields are kept; a trace state of its
# own for every event would fill any number.
_COMBINATIONS = 1024

# The last three fields are for the trace's spans only; the stored row is the first STORED fields.
STORED = 7

Record = tuple[str, int, bytes, bytes, bytes]
"""What is published of a row: topic, partition, key, headers (packed) and value, as the outbox has them."""


class OutboxRow(NamedTuple):
    """One record to publish."""

    topic: str
    partition: int
    key: bytes
    headers: bytes
    value: bytes
    event_id: bytes
    payload_hash: bytes
    event_type: str
    traceparent: str
    cause_traceparent: str

    @property
    def record(self) -> Record:
        """What is published of it."""
        return self.topic, self.partition, self.key, self.headers, self.value


class Emitter:
    """Makes the records of one service."""

    def __init__(self, service: str, runtime_lane: str, phase_id: str, provenance: Provenance) -> None:
        self._service = service
        self._runtime_lane = runtime_lane
        self._phase_id = phase_id
        self._provenance = provenance
        self._shared: dict[tuple[str, str, str], list[tuple[str, bytes]]] = {}
        self._forms: dict[tuple[str | None, ...], EnvelopeForm] = {}

    def row(self, emit: Emit, cause: Cause, emitted_at: str) -> OutboxRow:
        """The record of `emit`. Raises ValueError, naming the field, for an output that could not be published lawfully."""
        event_type = emit.event_type
        topic = event_type.topic
        if topic is None:
            raise ValueError(f"event_type={event_type.name!r} travels on no topic: it is a command")
        if not isinstance(emit.body, event_type.contract):
            raise ValueError(f"event_type={event_type.name!r} has contract {event_type.contract.__name__}, not {type(emit.body).__name__}")
        event_id = emit.event_id
        key = topic.key.key_of(event_id, emit.body)
        if key is None:
            raise ValueError(f"event {event_id}: no field of key recipe {topic.key.name} is present")
        correlation = cause.correlation
        traceparent = self._child_of(correlation.traceparent, event_id)
        payload = canonical_struct(emit.body)
        version = event_type.schema_versions[-1] if event_type.schema_versions else None
        value = self._form(event_type.name, version, cause).encode(
            payload,
            event_id=event_id,
            ts_utc=cause.ts_utc,
            emitted_at_utc=emitted_at,
            traceparent=traceparent,
            parent_event_id=emit.parent_event_id or correlation.event_id,
        )
        return OutboxRow(
            topic=topic.name,
            partition=topic.partition(key),
            key=key,
            headers=_HEADERS.encode(self._headers(correlation, traceparent, event_id)),
            value=value,
            event_id=pack_event_id(event_id),
            payload_hash=payload_hash(event_type.name, payload, version),
            event_type=event_type.name,
            traceparent=traceparent,
            cause_traceparent=correlation.traceparent,
        )

    def _form(self, event_type: str, version: str | None, cause: Cause) -> EnvelopeForm:
        """What the envelopes of a type and run have in common."""
        run, scenario_run = cause.correlation.platform_run_id, cause.correlation.scenario_run_id
        shared = (event_type, version, run, scenario_run, cause.manifest_fingerprint, cause.parameter_hash, cause.seed, cause.scenario_id)
        form = self._forms.get(shared)
        if form is None:
            form = EnvelopeForm(
                {
                    "event_type": event_type,
                    "manifest_fingerprint": cause.manifest_fingerprint,
                    "parameter_hash": cause.parameter_hash,
                    "seed": cause.seed,
                    "scenario_id": cause.scenario_id,
                    "platform_run_id": run,
                    "scenario_run_id": scenario_run,
                    "schema_version": version,
                    "phase_id": self._phase_id,
                    "runtime_lane": self._runtime_lane,
                    "producer": self._service,
                }
            )
            if len(self._forms) >= _COMBINATIONS:
                self._forms.clear()
            self._forms[shared] = form
        return form

    def _headers(self, correlation: Correlation, traceparent: str, event_id: str) -> list[tuple[str, bytes]]:
        """The record's headers. What its run shares is made and checked once; raises ValueError for what may not be published."""
        shared = (correlation.platform_run_id, correlation.scenario_run_id, correlation.tracestate)
        headers = self._shared.get(shared)
        if headers is None:
            own = correlation._replace(phase_id=self._phase_id, runtime_lane=self._runtime_lane)
            headers = [*own.headers(), *self._provenance.headers()]
            if missing := missing_headers(dict(headers)):
                raise ValueError(f"event {event_id}: headers {', '.join(missing)} are missing or invalid; such a record is not published")
            if len(self._shared) >= _COMBINATIONS:
                self._shared.clear()
            self._shared[shared] = headers
        if not event_id.isascii() or not event_id:
            raise ValueError(f"event {event_id!r}: header {EVENT_ID} is missing or invalid; such a record is not published")
        made = headers.copy()
        made[_TRACEPARENT_AT] = (TRACEPARENT, traceparent.encode())
        made[_EVENT_ID_AT] = (EVENT_ID, event_id.encode())
        return made

    def _child_of(self, traceparent: str, event_id: str) -> str:
        # Derived, not drawn: a retried transaction must make the same bytes.
        trace_id = traceparent[3:35]
        return f"00-{trace_id}-{derive_span_id(trace_id, self._service, event_id)}-{traceparent[53:55]}"


# Where the two headers that every record has of its own stand in the list that Correlation makes.
_NAMES = [name for name, _ in Correlation("", "", "", "", "", "", "").headers()]
_TRACEPARENT_AT, _EVENT_ID_AT = _NAMES.index(TRACEPARENT), _NAMES.index(EVENT_ID)

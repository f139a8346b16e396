"""What stands on the topics, in one pass and in little memory: sides of the reconciliation, and times for the figures."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from laws.catalogue import EVENT_TYPES
from laws.contracts.decision import ContextStatus
from laws.envelope import Envelope, decode_envelope
from laws.headers import missing_headers
from laws.payload_hash import payload_hash
from laws.topics import ARRIVAL_ENTITIES, ARRIVAL_EVENTS, AUDIT, CASE_TRIGGERS, FLOW_ANCHOR, LABELS, RTDL, TRAFFIC
from testkit.run.answers import identity_text
from testkit.run.bus_reader import read_topics
from testkit.run.sides import Side

INGRESS_TOPICS = (TRAFFIC, ARRIVAL_EVENTS, ARRIVAL_ENTITIES, FLOW_ANCHOR)
PLATFORM_TOPICS = (RTDL, AUDIT, CASE_TRIGGERS, LABELS)

# Plane -> event types whose records show that it did something.
PLANES = {
    "admitted": ("s3_event_stream_with_fraud_6B", "s3_flow_anchor_with_fraud_6B", "arrival_events_5B", "s1_arrival_entities_6B"),
    "decided": ("decision_response",),
    "acted": ("action_outcome",),
    "audited": ("audit_pointer",),
    "case triggers": ("case_trigger",),
    "labels": ("label_assertion",),
}
_PLANE_OF = {event_type: plane for plane, types in PLANES.items() for event_type in types}
# Types whose times a decision is measured from.
_TIMED = frozenset({"s3_event_stream_with_fraud_6B", "s3_flow_anchor_with_fraud_6B"})
_INGRESS_NAMES = frozenset(topic.name for topic in INGRESS_TOPICS)
# Bytes of an id that times are joined by; the ids are digests.
KEY_BYTES = 16


class _Ref(msgspec.Struct):
    event_id: str


class _Verdict(msgspec.Struct):
    context_status: str


class _Decision(msgspec.Struct):
    decision_id: str
    source_event: _Ref
    context_refs: list[_Ref]
    decision: _Verdict


class _OfDecision(msgspec.Struct):
    decision_id: str
    audit_id: str = ""


class _Subject(msgspec.Struct):
    platform_run_id: str
    event_class: str
    event_id: str


class _OfSubject(msgspec.Struct):
    case_subject_key: _Ref | None = None
    label_subject_key: _Ref | None = None


class _Anomaly(msgspec.Struct):
    subject: _Subject
    observer: str
    other_payload_hash: str


_DECISION = msgspec.json.Decoder(_Decision)
_OF_DECISION = msgspec.json.Decoder(_OfDecision)
_OF_SUBJECT = msgspec.json.Decoder(_OfSubject)
_ANOMALY = msgspec.json.Decoder(_Anomaly)


@dataclass
class Times:
    """Ids and the milliseconds at which their records were made."""

    ids: bytearray = field(default_factory=bytearray)
    at_ms: array[int] = field(default_factory=lambda: array("q"))

    def add(self, hex_id: str, at_ms: int) -> None:
        """One record."""
        self.ids += bytes.fromhex(hex_id[: 2 * KEY_BYTES])
        self.at_ms.append(at_ms)


@dataclass
class DecisionTimes:
    """What each decision's latency is computed from, a column each."""

    decisions: Times = field(default_factory=Times)
    sources: bytearray = field(default_factory=bytearray)
    contexts: bytearray = field(default_factory=bytearray)
    """The anchor's id; sixteen zero bytes where there is none."""
    ready: array[int] = field(default_factory=lambda: array("b"))


@dataclass
class Bus:
    """What stands on the topics."""

    records: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    per_second: dict[str, Counter[int]] = field(default_factory=lambda: {plane: Counter() for plane in PLANES})
    ingress_records: int = 0
    identities: Side = field(default_factory=Side)
    ingress_traces: Side = field(default_factory=Side)
    decisions: Side = field(default_factory=Side)
    intents: Side = field(default_factory=Side)
    outcomes: Side = field(default_factory=Side)
    pointers: Side = field(default_factory=Side)
    case_triggers: Side = field(default_factory=Side)
    labels: Side = field(default_factory=Side)
    decision_traces: Side = field(default_factory=Side)
    """Decision id and trace id of everything that follows from a decision."""
    subject_traces: Side = field(default_factory=Side)
    """Subject event id and trace id of case triggers and labels."""
    outputs: Side = field(default_factory=Side)
    anomalies: dict[str, set[str]] = field(default_factory=dict)
    """By observer: identity and other payload hash."""
    without_headers: list[str] = field(default_factory=list)
    admitted_at: Times = field(default_factory=Times)
    decided_at: DecisionTimes = field(default_factory=DecisionTimes)
    outcome_at: Times = field(default_factory=Times)
    """By decision id."""
    audited_at: Times = field(default_factory=Times)
    """By decision id."""

    def take(self, record: ConsumerRecord, topic: str) -> None:
        """One record."""
        headers = dict(record.headers)
        envelope = decode_envelope(record.value)
        event_type, event_id = envelope.event_type, envelope.event_id
        self.records += 1
        self.by_topic[topic] += 1
        if missing := missing_headers(headers):
            self.without_headers.append(f"{topic}:{event_id}: {missing}")
        plane = _PLANE_OF.get(event_type)
        if plane is not None:
            self.per_second[plane][record.timestamp // 1000] += 1
        trace = headers.get("traceparent", b"").decode("latin-1")[3:35]
        if topic in _INGRESS_NAMES:
            self._ingress(envelope, record.timestamp, trace)
            return
        payload = bytes(envelope.payload)
        if envelope.producer != "ig":
            digest = payload_hash(event_type, payload, envelope.schema_version).hex()
            self.outputs.add(f"{topic}/{event_id}/{digest}")
        self._output(envelope, payload, record.timestamp, trace)

    def _ingress(self, envelope: Envelope, at_ms: int, trace: str) -> None:
        event_type, event_id = envelope.event_type, envelope.event_id
        self.ingress_records += 1
        self.identities.add(identity_text(envelope.platform_run_id or "", EVENT_TYPES[event_type].event_class.value, event_id))
        self.ingress_traces.add(f"{event_id} {trace}")
        if event_type in _TIMED:
            self.admitted_at.add(event_id, at_ms)

    def _output(self, envelope: Envelope, payload: bytes, at_ms: int, trace: str) -> None:
        event_type, event_id = envelope.event_type, envelope.event_id
        if event_type == "decision_response":
            self._decision(_DECISION.decode(payload), at_ms, trace)
        elif event_type in ("action_intent", "action_outcome", "audit_pointer"):
            body = _OF_DECISION.decode(payload)
            self.decision_traces.add(f"{body.decision_id} {trace}")
            if event_type == "action_intent":
                self.intents.add(body.decision_id)
            elif event_type == "action_outcome":
                self.outcomes.add(event_id)
                self.outcome_at.add(body.decision_id, at_ms)
            else:
                self.pointers.add(body.audit_id)
                self.audited_at.add(body.decision_id, at_ms)
        elif event_type in ("case_trigger", "label_assertion"):
            subject = _OF_SUBJECT.decode(payload)
            key = subject.case_subject_key or subject.label_subject_key
            self.subject_traces.add(f"{key.event_id if key else ''} {trace}")
            (self.case_triggers if event_type == "case_trigger" else self.labels).add(event_id)
        elif event_type == "corridor_anomaly":
            anomaly = _ANOMALY.decode(payload)
            about = anomaly.subject
            told = f"{identity_text(about.platform_run_id, about.event_class, about.event_id)}/{anomaly.other_payload_hash}"
            self.anomalies.setdefault(anomaly.observer, set()).add(told)

    def _decision(self, body: _Decision, at_ms: int, trace: str) -> None:
        self.decisions.add(body.decision_id)
        self.decision_traces.add(f"{body.decision_id} {trace}")
        times = self.decided_at
        times.decisions.add(body.decision_id, at_ms)
        times.sources += bytes.fromhex(body.source_event.event_id[: 2 * KEY_BYTES])
        anchor = body.context_refs[0].event_id if body.context_refs else "0" * (2 * KEY_BYTES)
        times.contexts += bytes.fromhex(anchor[: 2 * KEY_BYTES])
        times.ready.append(body.decision.context_status == ContextStatus.CONTEXT_READY)


async def read_bus(bootstrap: str, prefix: str) -> Bus:
    """Read every topic that a run uses, as far as it stands now."""
    bus = Bus()
    async for records in read_topics(bootstrap, (*INGRESS_TOPICS, *PLATFORM_TOPICS), prefix):
        for record in records:
            bus.take(record, record.topic.removeprefix(prefix))
    return bus

"""The declarative catalogue: event type -> class, topic, pins, contract. Provisioning, validation, services and docs read this."""

from typing import Any, NamedTuple

import msgspec

from laws import topics
from laws.contracts.action import ActionIntent, ActionOutcome
from laws.contracts.audit import AuditPointer, CorridorAnomaly, QuarantineSpike
from laws.contracts.case import CaseAssertion, CaseTrigger, ExternalSignal
from laws.contracts.decision import DecisionResponse
from laws.contracts.label import LabelAssertion
from laws.contracts.world import ArrivalEntities, ArrivalEvent, FlowAnchor, TrafficEvent
from laws.envelope import Envelope
from laws.event_classes import EventClass
from laws.pins import PIN_FIELDS
from laws.reasons import Reason


class EventType(NamedTuple):
    """What the platform knows of one event type. Unknown types have no entry and are refused."""

    name: str
    event_class: EventClass
    topic: topics.Topic | None
    """Where it travels; None for commands, which enter by a writer boundary and are never published."""
    contract: type[msgspec.Struct]
    required_pins: tuple[str, ...]
    schema_versions: tuple[str, ...]
    """Allowed schema versions; empty for engine outputs, which carry none (domain.md 2.13)."""


_ENGINE_PINS = (*PIN_FIELDS, "run_id")
_AUDIT_PINS = ("platform_run_id", "scenario_run_id", "manifest_fingerprint")
_V1 = ("v1",)

TRAFFIC_EVENT = EventType("s3_event_stream_with_fraud_6B", EventClass.TRAFFIC_FRAUD, topics.TRAFFIC, TrafficEvent, _ENGINE_PINS, ())
ARRIVAL_EVENT = EventType("arrival_events_5B", EventClass.CONTEXT_ARRIVAL, topics.ARRIVAL_EVENTS, ArrivalEvent, _ENGINE_PINS, ())
ARRIVAL_ENTITIES = EventType(
    "s1_arrival_entities_6B",
    EventClass.CONTEXT_ARRIVAL_ENTITIES,
    topics.ARRIVAL_ENTITIES,
    ArrivalEntities,
    _ENGINE_PINS,
    (),
)
FLOW_ANCHOR = EventType("s3_flow_anchor_with_fraud_6B", EventClass.CONTEXT_FLOW_FRAUD, topics.FLOW_ANCHOR, FlowAnchor, _ENGINE_PINS, ())
DECISION_RESPONSE = EventType("decision_response", EventClass.RTDL_DECISION, topics.RTDL, DecisionResponse, PIN_FIELDS, _V1)
ACTION_INTENT = EventType("action_intent", EventClass.RTDL_ACTION_INTENT, topics.RTDL, ActionIntent, PIN_FIELDS, _V1)
ACTION_OUTCOME = EventType("action_outcome", EventClass.RTDL_ACTION_OUTCOME, topics.RTDL, ActionOutcome, PIN_FIELDS, _V1)
AUDIT_POINTER = EventType("audit_pointer", EventClass.AUDIT, topics.AUDIT, AuditPointer, _AUDIT_PINS, _V1)
CORRIDOR_ANOMALY = EventType("corridor_anomaly", EventClass.AUDIT, topics.AUDIT, CorridorAnomaly, _AUDIT_PINS, _V1)
QUARANTINE_SPIKE = EventType("ig.quarantine.spike", EventClass.AUDIT, topics.AUDIT, QuarantineSpike, _AUDIT_PINS, _V1)
CASE_TRIGGER = EventType("case_trigger", EventClass.CASE_TRIGGER, topics.CASE_TRIGGERS, CaseTrigger, PIN_FIELDS, _V1)
LABEL_ASSERTION = EventType("label_assertion", EventClass.LABEL_ASSERTION, topics.LABELS, LabelAssertion, PIN_FIELDS, _V1)
EXTERNAL_SIGNAL = EventType("external_signal", EventClass.EXTERNAL_SIGNAL, None, ExternalSignal, PIN_FIELDS, _V1)
CASE_ASSERTION = EventType("case_assertion", EventClass.CASE_ASSERTION, None, CaseAssertion, PIN_FIELDS, _V1)

EVENT_TYPES = {
    event_type.name: event_type
    for event_type in (
        TRAFFIC_EVENT,
        ARRIVAL_EVENT,
        ARRIVAL_ENTITIES,
        FLOW_ANCHOR,
        DECISION_RESPONSE,
        ACTION_INTENT,
        ACTION_OUTCOME,
        AUDIT_POINTER,
        CORRIDOR_ANOMALY,
        QUARANTINE_SPIKE,
        CASE_TRIGGER,
        LABEL_ASSERTION,
        EXTERNAL_SIGNAL,
        CASE_ASSERTION,
    )
}


class Refusal(NamedTuple):
    """Why an envelope is not lawful for its type: the field, the value and what to do."""

    reason: Reason
    field: str
    value: Any
    advice: str


def check_envelope(envelope: Envelope, declared: EventType | None = None) -> EventType | Refusal:
    """The type of a well-formed envelope whose pins and schema version its class demands, or why it is refused (domain.md 2.8).

    `declared` is the caller's own entry of the type, where a service has types that the catalogue does not know.
    """
    event_type = declared or EVENT_TYPES.get(envelope.event_type)
    if event_type is None:
        return Refusal(
            Reason.SCHEMA_POLICY_MISSING, "event_type", envelope.event_type, "send a type of the catalogue; see docs/contracts.md"
        )
    for pin in event_type.required_pins:
        if getattr(envelope, pin) is None:
            return Refusal(Reason.PINS_MISSING, pin, None, f"class {event_type.event_class} requires {', '.join(event_type.required_pins)}")
    if "run_id" in event_type.required_pins and envelope.run_id != envelope.scenario_run_id:
        return Refusal(Reason.ENVELOPE_INVALID, "run_id", envelope.run_id, "run_id is the alias of scenario_run_id: send the same value")
    version = envelope.schema_version
    if event_type.schema_versions:
        if version is None:
            return Refusal(Reason.SCHEMA_VERSION_REQUIRED, "schema_version", None, f"send one of {list(event_type.schema_versions)}")
        if version not in event_type.schema_versions:
            return Refusal(Reason.SCHEMA_VERSION_NOT_ALLOWED, "schema_version", version, f"send one of {list(event_type.schema_versions)}")
    elif version is not None:
        return Refusal(Reason.SCHEMA_VERSION_NOT_ALLOWED, "schema_version", version, "engine outputs carry no schema_version")
    return event_type

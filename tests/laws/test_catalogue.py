"""The catalogue against the pinned tables (authority.md appendix C, domain.md 1.6, 2.4, 2.13)."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from laws import topics
from laws.catalogue import ACTION_INTENT, DECISION_RESPONSE, EVENT_TYPES, FLOW_ANCHOR, TRAFFIC_EVENT, EventType, check_envelope
from laws.contracts.world import LEAK_FIELDS, ArrivalEntities, ArrivalEvent, FlowAnchor, TrafficEvent
from laws.envelope import Envelope

TOPIC_TABLE = [
    ("fp.bus.control.v1", "control", 3, 30),
    ("fp.bus.traffic.fraud.v1", "high-volume", 6, 7),
    ("fp.bus.context.arrival_events.v1", "high-volume", 6, 7),
    ("fp.bus.context.arrival_entities.v1", "high-volume", 6, 7),
    ("fp.bus.context.flow_anchor.fraud.v1", "high-volume", 6, 7),
    ("fp.bus.rtdl.v1", "high-volume", 6, 7),
    ("fp.bus.audit.v1", "audit", 3, 30),
    ("fp.bus.case.triggers.v1", "case", 3, 30),
    ("fp.bus.labels.events.v1", "labels", 3, 30),
    ("fp.bus.learning.ofs.requests.v1", "learning-control", 3, 30),
    ("fp.bus.learning.ofs.events.v1", "learning-control", 3, 30),
    ("fp.bus.learning.mf.requests.v1", "learning-control", 3, 30),
    ("fp.bus.learning.mf.events.v1", "learning-control", 3, 30),
    ("fp.bus.learning.registry.events.v1", "governance", 3, 90),
]

SIX = ("platform_run_id", "scenario_run_id", "manifest_fingerprint", "parameter_hash", "seed", "scenario_id")
SEVEN = (*SIX, "run_id")
THREE = SIX[:3]
TYPE_TABLE = {
    "s3_event_stream_with_fraud_6B": ("traffic_fraud", "fp.bus.traffic.fraud.v1", SEVEN, ()),
    "arrival_events_5B": ("context_arrival", "fp.bus.context.arrival_events.v1", SEVEN, ()),
    "s1_arrival_entities_6B": ("context_arrival_entities", "fp.bus.context.arrival_entities.v1", SEVEN, ()),
    "s3_flow_anchor_with_fraud_6B": ("context_flow_fraud", "fp.bus.context.flow_anchor.fraud.v1", SEVEN, ()),
    "decision_response": ("rtdl_decision", "fp.bus.rtdl.v1", SIX, ("v1",)),
    "action_intent": ("rtdl_action_intent", "fp.bus.rtdl.v1", SIX, ("v1",)),
    "action_outcome": ("rtdl_action_outcome", "fp.bus.rtdl.v1", SIX, ("v1",)),
    "audit_pointer": ("audit", "fp.bus.audit.v1", THREE, ("v1",)),
    "corridor_anomaly": ("audit", "fp.bus.audit.v1", THREE, ("v1",)),
    "ig.quarantine.spike": ("audit", "fp.bus.audit.v1", THREE, ("v1",)),
    "case_trigger": ("case_trigger", "fp.bus.case.triggers.v1", SIX, ("v1",)),
    "label_assertion": ("label_assertion", "fp.bus.labels.events.v1", SIX, ("v1",)),
    "external_signal": ("external_signal", None, SIX, ("v1",)),
    "case_assertion": ("case_assertion", None, SIX, ("v1",)),
}

ENGINE = Envelope(
    event_id="e1",
    event_type=TRAFFIC_EVENT.name,
    ts_utc="2026-01-02T03:04:05.000006Z",
    manifest_fingerprint="a" * 64,
    parameter_hash="b" * 64,
    seed="42",
    scenario_id="baseline",
    run_id="c" * 32,
    platform_run_id="platform_20260102T030405Z",
    scenario_run_id="c" * 32,
)
DECISION = msgspec.structs.replace(ENGINE, event_type=DECISION_RESPONSE.name, run_id=None, schema_version="v1")

# What the outside or another record says; every other time would be the time at which we ran.
RECORDED_TIMES = {
    "ts_utc",
    "ts_local_primary",
    "observed_time",
    "effective_time",
    ("OutcomePayload", "completed_at_utc"),
    ("DegradePosture", "decided_at_utc"),
}


def test_topics_are_the_pinned_fourteen() -> None:
    assert [(t.name, t.topic_class.value, t.partitions, t.retention_days) for t in topics.TOPICS] == TOPIC_TABLE


def test_event_types_are_the_pinned_ones() -> None:
    found = {name: (t.event_class.value, t.topic and t.topic.name, t.required_pins, t.schema_versions) for name, t in EVENT_TYPES.items()}
    assert found == TYPE_TABLE


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_a_lawful_envelope_is_given_its_type(event_type: EventType) -> None:
    lawful = msgspec.structs.replace(
        ENGINE, event_type=event_type.name, schema_version=event_type.schema_versions[0] if event_type.schema_versions else None
    )
    assert check_envelope(lawful) is event_type


@pytest.mark.parametrize(
    ("envelope", "changes", "reason", "field"),
    [
        (ENGINE, {"event_type": "s2_event_stream_baseline_6B"}, "SCHEMA_POLICY_MISSING", "event_type"),
        *[(ENGINE, {pin: None}, "PINS_MISSING", pin) for pin in SEVEN if pin != "manifest_fingerprint"],
        *[(DECISION, {pin: None}, "PINS_MISSING", pin) for pin in SIX if pin != "manifest_fingerprint"],
        (ENGINE, {"run_id": "d" * 32}, "ENVELOPE_INVALID", "run_id"),
        (ENGINE, {"schema_version": "v1"}, "SCHEMA_VERSION_NOT_ALLOWED", "schema_version"),
        (DECISION, {"schema_version": None}, "SCHEMA_VERSION_REQUIRED", "schema_version"),
        (DECISION, {"schema_version": "v2"}, "SCHEMA_VERSION_NOT_ALLOWED", "schema_version"),
    ],
)
def test_a_refusal_names_reason_field_and_value(envelope: Envelope, changes: dict[str, Any], reason: str, field: str) -> None:
    refusal = check_envelope(msgspec.structs.replace(envelope, **changes))
    assert not isinstance(refusal, EventType)
    assert (refusal.reason.value, refusal.field, refusal.value) == (reason, field, changes[field])


def _walk(kind: inspect.Type) -> Iterator[inspect.Type]:
    seen: set[type] = set()
    stack: list[Any] = [kind]
    while stack:
        item = stack.pop()
        if isinstance(item, inspect.StructType):
            if item.cls in seen:
                continue
            seen.add(item.cls)
            stack += [field.type for field in item.fields]
        yield item
        if isinstance(item, inspect.Metadata):
            stack.append(item.type)
        if isinstance(item, inspect.UnionType):
            stack += item.types
        if isinstance(item, inspect.TupleType):
            stack += item.item_types
        if isinstance(item, inspect.DictType):
            stack += [item.key_type, item.value_type]
        if isinstance(item, inspect.VarTupleType | inspect.CollectionType):
            stack.append(item.item_type)


def _structs(contract: type[msgspec.Struct]) -> list[inspect.StructType]:
    return [item for item in _walk(inspect.type_info(contract)) if isinstance(item, inspect.StructType)]


class _Inner(msgspec.Struct):
    numbers: dict[str, tuple[float | None, ...]]


def test_the_walk_finds_a_nested_float() -> None:
    assert any(isinstance(item, inspect.FloatType) for item in _walk(inspect.type_info(_Inner)))


CONTRACTS = pytest.mark.parametrize("contract", [t.contract for t in EVENT_TYPES.values()], ids=EVENT_TYPES)


@CONTRACTS
def test_no_contract_holds_a_float_or_an_untyped_value(contract: type[msgspec.Struct]) -> None:
    inexact = inspect.FloatType | inspect.AnyType | inspect.DecimalType
    assert not [item for item in _walk(inspect.type_info(contract)) if isinstance(item, inexact)]


@CONTRACTS
def test_no_contract_says_when_we_ran(contract: type[msgspec.Struct]) -> None:
    times = [
        (struct.cls.__name__, field.name)
        for struct in _structs(contract)
        for field in struct.fields
        if {"at", "on", "time", "utc", "ts", "date", "timestamp", "local", "ms"} & set(field.name.split("_"))
    ]
    assert not [t for t in times if t[1] not in RECORDED_TIMES and t not in RECORDED_TIMES]


@CONTRACTS
def test_every_struct_of_a_contract_refuses_unknown_fields(contract: type[msgspec.Struct]) -> None:
    assert [struct.cls.__name__ for struct in _structs(contract) if not struct.forbid_unknown_fields] == []


@CONTRACTS
def test_leak_fields_are_in_no_contract(contract: type[msgspec.Struct]) -> None:
    assert {"fraud_flag", "campaign_id", "session_end_utc", "arrival_count"} <= LEAK_FIELDS
    assert not {field.name for struct in _structs(contract) for field in struct.fields} & LEAK_FIELDS


@pytest.mark.parametrize("contract", [TrafficEvent, FlowAnchor, ArrivalEvent, ArrivalEntities])
@pytest.mark.parametrize("leak", sorted(LEAK_FIELDS))
def test_leak_fields_are_refused_by_every_world_contract(contract: type[msgspec.Struct], leak: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"unknown field `{leak}`"):
        msgspec.convert({leak: True}, contract)


def test_traffic_that_carries_truth_is_refused() -> None:
    body = {
        "flow_id": "f",
        "event_seq": 1,
        "event_type": "AUTH_REQUEST",
        "ts_utc": "2026-01-02T03:04:05.000006Z",
        "amount_minor": 1,
        "currency": "EUR",
    }
    assert msgspec.convert(body, TRAFFIC_EVENT.contract)
    with pytest.raises(msgspec.ValidationError, match="fraud_flag"):
        msgspec.convert({**body, "fraud_flag": True}, TRAFFIC_EVENT.contract)
    with pytest.raises(msgspec.ValidationError, match="amount_minor"):
        msgspec.convert({**body, "amount_minor": 1.5}, TRAFFIC_EVENT.contract)


def _place(event_type: EventType, event_id: str, payload: dict[str, Any]) -> tuple[bytes, int]:
    assert event_type.topic is not None
    key = event_type.topic.key.key_of(event_id, payload)
    assert key is not None
    return key, event_type.topic.partition(key)


def test_traffic_and_anchor_of_one_flow_meet() -> None:
    places = {
        _place(t, event_id, {"flow_id": "flow-7", **more})
        for t, event_id, more in [(TRAFFIC_EVENT, "e1", {}), (FLOW_ANCHOR, "e2", {"merchant_id": "m"})]
    }
    assert len(places) == 1
    assert _place(TRAFFIC_EVENT, "e1", {"flow_id": "flow-8"})[0] not in {key for key, _ in places}


def test_what_one_decision_causes_shares_its_partition() -> None:
    outcome = EVENT_TYPES["action_outcome"]
    payload = {"decision_id": "d" * 32}
    places = {
        _place(DECISION_RESPONSE, "e1", payload),
        _place(ACTION_INTENT, "e2", {**payload, "action_id": "a" * 32}),
        _place(outcome, "e3", {**payload, "idempotency_key": "k"}),
    }
    assert len(places) == 1


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (topics.TRAFFIC, {}),
        (topics.TRAFFIC, {"flow_id": ""}),
        (topics.TRAFFIC, {"flow_id": None}),
        (topics.ARRIVAL_EVENTS, {"merchant_id": "m"}),
        (topics.LABELS, {"label_subject_key": "not an object"}),
        (topics.RTDL, {"pins": {"decision_id": "d"}}),
    ],
)
def test_without_its_fields_a_record_has_no_key(topic: topics.Topic, payload: dict[str, Any]) -> None:
    assert topic.key.key_of("e1", payload) is None


def test_arrivals_are_keyed_by_both_fields_and_audit_falls_back_to_its_subject() -> None:
    arrival, audit = topics.ARRIVAL_EVENTS.key, topics.AUDIT.key
    first = arrival.key_of("e1", {"merchant_id": "m", "arrival_seq": 1})
    assert first is not None and len(first) == 64 and int(first, 16)
    assert first == topics.ARRIVAL_ENTITIES.key.key_of("e2", {"merchant_id": "m", "arrival_seq": 1})
    assert first != arrival.key_of("e1", {"merchant_id": "m", "arrival_seq": 2})
    subject = {"subject": {"event_id": "s"}}
    assert audit.key_of("e1", subject) == audit.key_of("e2", subject) != audit.key_of("e1", {})
    assert audit.key_of("e1", {**subject, "decision_id": "d"}) == audit.key_of("e9", {"decision_id": "d"})

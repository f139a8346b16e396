"""The catalogue says what authority.md, appendix C says, and every contract keeps the rules that all of them share."""

from typing import Any

import msgspec
import pytest

from laws.catalogue import EVENT_TYPES, Refusal, check_envelope
from laws.contracts.world import LEAK_FIELDS, ArrivalEntities, ArrivalEvent, FlowAnchor, TrafficEvent
from laws.envelope import Envelope
from laws.headers import REQUIRED, missing_headers
from laws.identity import pack_event_id, unpack_event_id
from laws.reasons import Reason
from laws.topics import BY_NAME, FLOW_ANCHOR, RTDL, TRAFFIC

# name, class, partitions, retention in days: authority.md, appendix C.
TOPICS = [
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

LAWFUL: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "s3_event_stream_with_fraud_6B",
    "ts_utc": "2026-01-05T00:00:00.000000Z",
    "manifest_fingerprint": "a" * 64,
    "parameter_hash": "b" * 64,
    "seed": "7",
    "scenario_id": "s",
    "run_id": "c" * 32,
    "platform_run_id": "platform_20260105T000000Z",
    "scenario_run_id": "c" * 32,
    "payload": {},
}


def test_the_topics_are_those_of_the_authority() -> None:
    found = [(topic.name, topic.topic_class.value, topic.partitions, topic.retention_days) for topic in BY_NAME.values()]
    assert found == TOPICS


def walk(kind: Any) -> list[Any]:
    """Every type inside a type."""
    found, todo = [], [msgspec.inspect.type_info(kind)]
    while todo:
        here = todo.pop()
        found.append(here)
        for name in ("fields", "types", "item_types"):
            todo += [getattr(part, "type", part) for part in getattr(here, name, ())]
        todo += [getattr(here, name) for name in ("item_type", "value_type", "key_type") if hasattr(here, name)]
    return found


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=lambda event_type: event_type.name)
def test_no_contract_holds_a_float_or_the_time_at_which_we_ran(event_type: Any) -> None:
    types = walk(event_type.contract)
    assert not [kind for kind in types if isinstance(kind, msgspec.inspect.FloatType)]
    names = {part.name for kind in types if isinstance(kind, msgspec.inspect.StructType) for part in kind.fields}
    assert not names & {"requested_at_utc", "recorded_at_utc", "emitted_at_utc", "published_at_utc"}


@pytest.mark.parametrize("contract", [TrafficEvent, FlowAnchor, ArrivalEvent, ArrivalEntities])
def test_leak_columns_are_in_no_contract_and_are_refused(contract: type[msgspec.Struct]) -> None:
    assert not LEAK_FIELDS & set(contract.__struct_fields__)
    with pytest.raises(msgspec.ValidationError, match="fraud_flag"):
        msgspec.convert({"fraud_flag": True}, contract)


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"event_type": "nobody_knows"}, Reason.SCHEMA_POLICY_MISSING, "event_type"),
        ({"seed": None}, Reason.PINS_MISSING, "seed"),
        ({"run_id": "d" * 32}, Reason.ENVELOPE_INVALID, "run_id"),
        ({"schema_version": "v1"}, Reason.SCHEMA_VERSION_NOT_ALLOWED, "schema_version"),
        ({"event_type": "decision_response"}, Reason.SCHEMA_VERSION_REQUIRED, "schema_version"),
        ({"event_type": "decision_response", "schema_version": "v2"}, Reason.SCHEMA_VERSION_NOT_ALLOWED, "schema_version"),
    ],
)
def test_a_refusal_names_its_reason_and_its_field(change: dict[str, Any], reason: Reason, field: str) -> None:
    fields = {name: value for name, value in (LAWFUL | change).items() if value is not None}
    refusal = check_envelope(msgspec.json.decode(msgspec.json.encode(fields), type=Envelope))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.field) == (reason, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ts_utc", "2026-01-05T00:00:00Z"),
        ("ts_utc", "2026-01-05T00:00:00.000000+00:00"),
        ("manifest_fingerprint", "A" * 64),
        ("platform_run_id", "platform_2026"),
        ("seed", 7),
        ("seed", "007"),
        ("event_id", ""),
        ("unknown", 1),
    ],
)
def test_an_envelope_outside_its_patterns_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(msgspec.json.encode(LAWFUL | {field: value}), type=Envelope)


def test_what_must_meet_meets_on_one_partition() -> None:
    assert TRAFFIC.key == FLOW_ANCHOR.key and TRAFFIC.partitions == FLOW_ANCHOR.partitions
    key = TRAFFIC.key.key_of("e1", {"flow_id": "42"})
    assert key == FLOW_ANCHOR.key.key_of("another event", {"flow_id": "42", "merchant_id": "1"})
    assert TRAFFIC.key.key_of("e1", {"merchant_id": "1"}) is None
    assert RTDL.key.key_of("intent", {"decision_id": "d"}) == RTDL.key.key_of("outcome", {"decision_id": "d", "outcome_id": "o"})


@pytest.mark.parametrize("name", REQUIRED)
def test_every_correlation_and_provenance_header_is_required(name: str) -> None:
    headers = dict.fromkeys(REQUIRED, b"x") | {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00".encode(), "x-fp-runtime-lane": b"df"}
    assert missing_headers(headers) == ()
    assert missing_headers({key: value for key, value in headers.items() if key != name}) == (name,)
    assert missing_headers(headers | {name: b""}) == (name,)


@pytest.mark.parametrize("text", ["a" * 64, "A" * 64, "a" * 63, "b" * 32, "9f" * 16, "12345678-1234-1234-1234-123456789abc", "é", "\x01x"])
def test_a_packed_event_id_is_unpacked_to_the_same_text(text: str) -> None:
    assert unpack_event_id(pack_event_id(text)) == text


def test_different_spellings_are_different_packed_ids() -> None:
    spellings = ["ab" * 16, "AB" * 16, "ab" * 32, "abababab-abab-abab-abab-abababababab"]
    assert len({pack_event_id(text) for text in spellings}) == len(spellings)

"""What is refused, under which code, naming which field: without any store."""

import json
from typing import Any

import pytest

from ingress.inspection import Candidate, Refused, inspect, split
from ingress.policy import DOORS, policy_digest
from tests.ingress.rig import RUN, traffic


def refused(raw: bytes) -> Refused:
    found = inspect(raw, RUN)
    assert isinstance(found, Refused), found
    return found


def refused_value(envelope: Any) -> Refused:
    return refused(json.dumps(envelope).encode())


def with_fields(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (traffic() | fields).items() if value is not ...}


ENVELOPES = {
    "unknown field": (with_fields(colour="red"), "ENVELOPE_INVALID", "colour", "red"),
    "missing field": (with_fields(ts_utc=...), "ENVELOPE_INVALID", "ts_utc", None),
    "wrong type": (with_fields(seed=42), "ENVELOPE_INVALID", "seed", 42),
    "instant without micros": (with_fields(ts_utc="2026-01-05T10:00:00Z"), "ENVELOPE_INVALID", "ts_utc", "2026-01-05T10:00:00Z"),
    "instant of no calendar": (
        with_fields(ts_utc="2026-02-30T10:00:00.000000Z"),
        "ENVELOPE_INVALID",
        "ts_utc",
        "2026-02-30T10:00:00.000000Z",
    ),
    "seed beyond 64 bits": (with_fields(seed=str(2**64)), "ENVELOPE_INVALID", "seed", str(2**64)),
    "lane that no consumer knows": (with_fields(runtime_lane="mine"), "ENVELOPE_INVALID", "runtime_lane", "mine"),
    "payload that is no object": (with_fields(payload=[1, 2]), "ENVELOPE_INVALID", "payload", "array of 2"),
    "run_id of another run": (with_fields(run_id="6" * 32), "ENVELOPE_INVALID", "run_id", "6" * 32),
    "unknown type": (with_fields(event_type="nobody_knows"), "SCHEMA_POLICY_MISSING", "event_type", "nobody_knows"),
    "missing pin": (with_fields(parameter_hash=...), "PINS_MISSING", "parameter_hash", None),
    "version of an engine output": (with_fields(schema_version="v1"), "SCHEMA_VERSION_NOT_ALLOWED", "schema_version", "v1"),
    "type without its version": (with_fields(event_type="decision_response"), "SCHEMA_VERSION_REQUIRED", "schema_version", None),
    "type with a writer of its own": (
        with_fields(event_type="decision_response", schema_version="v1"),
        "EVENT_TYPE_NOT_ALLOWED",
        "event_type",
        "decision_response",
    ),
    "foreign run": (
        with_fields(platform_run_id="platform_20260106T000000Z"),
        "RUN_UNKNOWN",
        "platform_run_id",
        "platform_20260106T000000Z",
    ),
    "no payload": (with_fields(payload=...), "SCHEMA_FAIL", "payload", None),
    "truth in the stream": (traffic(fraud_flag=True), "SCHEMA_FAIL", "payload.fraud_flag", True),
    "future in the stream": (traffic(session_end_utc="x"), "SCHEMA_FAIL", "payload.session_end_utc", "x"),
    "field beyond the contract": (traffic(note="x"), "SCHEMA_FAIL", "payload.note", "x"),
    "amount as a text": (traffic(amount_minor="19.99"), "SCHEMA_FAIL", "payload.amount_minor", "19.99"),
    "payload instant of no calendar": (
        traffic(ts_utc="2026-13-01T00:00:00.000000Z"),
        "SCHEMA_FAIL",
        "payload.ts_utc",
        "2026-13-01T00:00:00.000000Z",
    ),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_refusal_names_code_field_value_and_advice(name: str) -> None:
    envelope, reason, field, value = ENVELOPES[name]
    found = refused_value(envelope)
    assert (found.reasons, found.detail.field, found.detail.value) == ((reason,), field, value)
    assert found.detail.advice


BODIES = {
    "cut off": (b'{"event_id":', ["ENVELOPE_INVALID", "MALFORMED_JSON"]),
    "not UTF-8": (b'{"event_id":"\xff"}', ["ENVELOPE_INVALID", "MALFORMED_JSON"]),
    "NaN": (b'{"seed":NaN}', ["ENVELOPE_INVALID", "MALFORMED_JSON"]),
    "deeper than can be read": (b'{"a":' * 500 + b"1" + b"}" * 500, ["ENVELOPE_INVALID", "MALFORMED_JSON"]),
    "repeated key": (b'{"event_id":"a","event_id":"b"}', ["ENVELOPE_INVALID", "DUPLICATE_KEY"]),
    "number that no double says": (b'{"payload":{"amount":9007199254740993}}', ["ENVELOPE_INVALID", "NUMBER_NOT_EXACT"]),
    "a number": (b"1", ["ENVELOPE_INVALID"]),
    "nothing": (b"", ["ENVELOPE_INVALID", "MALFORMED_JSON"]),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read_is_refused_by_the_digest_of_its_bytes(name: str) -> None:
    body, reasons = BODIES[name]
    found = refused(body)
    assert list(found.reasons) == reasons
    assert found.known.raw == body
    assert found.known.text("event_id") == ""


def test_a_long_value_is_shortened_in_the_answer() -> None:
    found = refused_value(with_fields(colour="x" * 10_000))
    assert found.detail.value == "x" * 64 + "..."


def test_an_array_is_taken_apart_so_that_one_item_does_not_refuse_its_neighbours() -> None:
    good = json.dumps(traffic()).encode()
    items = split(b" [" + good + b", " + b'{"a":1,"a":2}' + b", 9007199254740993]")
    assert isinstance(items, list)
    assert isinstance(inspect(items[0], RUN), Candidate)
    assert refused(items[1]).reasons[1] == "DUPLICATE_KEY"
    assert refused(items[2]).reasons[1] == "NUMBER_NOT_EXACT"


@pytest.mark.parametrize("body", [b"[{]", b"[" * 100_000, b"[1,2", b"[1] x"])
def test_an_array_that_cannot_be_taken_apart_is_one_refusal(body: bytes) -> None:
    found = split(body)
    assert isinstance(found, Refused)
    assert list(found.reasons) == ["ENVELOPE_INVALID", "MALFORMED_JSON"]


def test_the_key_of_every_type_is_made_of_fields_that_its_contract_demands() -> None:
    """So PARTITION_KEY_MISSING tells of a catalogue that was changed in one place only."""
    for door in DOORS.values():
        assert door.topic is not None
        required = {field for field in door.contract.__struct_fields__ if field not in _optional(door.contract)}
        paths = door.topic.key.alternatives[-1]
        assert all(path[0] in required or path == ("event_id",) for path in paths), door.name


def _optional(contract: Any) -> set[str]:
    fields = contract.__struct_fields__
    defaults = contract.__struct_defaults__
    return set(fields[len(fields) - len(defaults) :])


def test_only_types_whose_topic_the_edge_alone_writes_come_in() -> None:
    assert set(DOORS) == {
        "s3_event_stream_with_fraud_6B",
        "arrival_events_5B",
        "s1_arrival_entities_6B",
        "s3_flow_anchor_with_fraud_6B",
    }
    assert len(policy_digest()) == 64

"""The canonical envelope (domain.md 2.1): what is refused, and that bytes stay as they are."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.canonical import JsonInput, canonical_json
from laws.envelope import Envelope, EnvelopeForm, SharedFields, decode_envelope, decode_known, encode_envelope, shared_fields

FIELDS: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "decision_response",
    "ts_utc": "2026-01-02T03:04:05.000006Z",
    "manifest_fingerprint": "a" * 64,
    "platform_run_id": "platform_20260102T030405Z",
    "scenario_run_id": "c" * 32,
    "schema_version": "v1",
    "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
}


@pytest.mark.parametrize("field", ["event_id", "event_type", "ts_utc", "manifest_fingerprint"])
def test_the_core_is_required(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        decode_envelope(json.dumps({name: value for name, value in FIELDS.items() if name != field}).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_class", "traffic_fraud"),
        ("event_id", ""),
        ("event_id", "x" * 257),
        ("ts_utc", "2026-01-02T03:04:05.00006Z"),
        ("ts_utc", "2026-01-02T03:04:05Z"),
        ("ts_utc", "2026-01-02T03:04:05.0000006Z"),
        ("ts_utc", "2026-01-02T03:04:05.000006+00:00"),
        ("ts_utc", "2026-01-02 03:04:05.000006Z"),
        ("ts_utc", "2026-13-02T03:04:05.000006Z"),
        ("ts_utc", "2026-01-02T24:04:05.000006Z"),
        ("emitted_at_utc", "2026-01-02T03:04:05.006Z"),
        ("manifest_fingerprint", "a" * 63),
        ("manifest_fingerprint", "A" * 64),
        ("parameter_hash", "a" * 32),
        ("scenario_run_id", "c" * 64),
        ("scenario_run_id", "g" * 32),
        ("run_id", "c" * 31),
        ("platform_run_id", "platform_20260102T0304Z"),
        ("platform_run_id", "run_20260102T030405Z"),
        ("platform_run_id", "x platform_20260102T030405Z"),
        ("seed", 42),
        ("seed", "042"),
        ("seed", "-1"),
        ("schema_version", "v" * 65),
        ("producer", "p" * 129),
    ],
)
def test_what_breaks_the_contract_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        decode_envelope(json.dumps({**FIELDS, field: value}).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
text = st.text(min_size=1, max_size=40)


@given(
    payload=st.dictionaries(st.text(), json_values, max_size=5),
    event_id=text,
    optional=st.fixed_dictionaries({}, optional=dict.fromkeys(("producer", "phase_id", "scenario_id", "span_id", "tracestate"), text)),
    data=st.data(),
)
def test_encoding_is_canonical_and_keeps_the_payload_slice(
    payload: dict[str, Any], event_id: str, optional: dict[str, str], data: st.DataObject
) -> None:
    fields = {**FIELDS, **optional, "event_id": event_id}
    shuffled = dict(data.draw(st.permutations([*fields.items(), ("parent_event_id", None), ("run_id", None)])))
    inner = canonical_json(payload)
    encoded = encode_envelope(shuffled, inner)
    assert encoded == canonical_json({**fields, "payload": payload})
    envelope = decode_envelope(encoded)
    assert bytes(envelope.payload) == inner
    assert {name: getattr(envelope, name) for name in fields} == fields
    assert envelope.parent_event_id is None


def test_the_payload_s_bytes_are_not_written_again() -> None:
    odd = b'{"b": 1.0, "a":\t"\\u0041"}'
    assert bytes(decode_envelope(encode_envelope(FIELDS, odd)).payload) == odd


def test_an_absent_payload_is_not_null() -> None:
    bare = json.dumps(FIELDS).encode()
    assert bytes(decode_envelope(bare).payload) == b""
    assert bytes(decode_envelope(encode_envelope(FIELDS, b"null")).payload) == b"null"


# Reading takes a short way for what is lawful; it may never take what the declaration refuses, nor say another thing of it.
_HEX = ("a" * 64, "0" * 32, "A" * 64, "a" * 63, "g" * 64, "a" * 64 + "\n", "")
_TIMES = ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.00006Z", "2026-1-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z\n", "")
_TEXTS = ("x", "", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 256, "x" * 257, "\u00e9" * 128, "\U0001f600" * 129)
_RUNS = ("platform_20260102T030405Z", "platform_20260102T030405Z\n", "platform_2026", "")
_SEEDS = ("0", "42", "042", "-1", "9" * 20, "9" * 21)
_values: st.SearchStrategy[Any] = st.sampled_from([*_HEX, *_TIMES, *_TEXTS, *_RUNS, *_SEEDS, None, 7, 1.5, True, [], {}])
_changes = st.dictionaries(st.sampled_from([*Envelope.__struct_fields__, "event_class"]), _values, max_size=4)


@given(_changes, st.sets(st.sampled_from(sorted(FIELDS)), max_size=1))
@settings(max_examples=3000, deadline=None)
def test_what_is_read_is_what_the_declaration_says(changes: dict[str, Any], left_out: set[str]) -> None:
    fields = {name: value for name, value in ({**FIELDS, **changes}).items() if name not in left_out}
    raw = json.dumps(fields).encode()
    assert _outcome(decode_envelope, raw) == _outcome(msgspec.json.Decoder(Envelope).decode, raw)


@given(_changes)
@settings(max_examples=1500, deadline=None)
def test_what_is_known_of_shared_fields_excuses_no_field_of_its_own(changes: dict[str, Any]) -> None:
    known: dict[SharedFields, str] = {}

    def read(raw: bytes) -> Envelope:
        envelope, found = decode_known(raw, known)
        assert found in (None, known.get(shared_fields(envelope)))
        known[shared_fields(envelope)] = envelope.event_type
        return envelope

    for fields in (FIELDS, {**FIELDS, **changes}, FIELDS, {**FIELDS, **changes}):
        raw = json.dumps(fields).encode()
        assert _outcome(read, raw) == _outcome(msgspec.json.Decoder(Envelope).decode, raw)
    assert decode_known(json.dumps(FIELDS).encode(), known)[1] == FIELDS["event_type"]


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_bytes_that_are_no_envelope_are_refused_alike(raw: bytes) -> None:
    assert _outcome(decode_envelope, raw) == _outcome(msgspec.json.Decoder(Envelope).decode, raw)


def _outcome(decode: Any, raw: bytes) -> Any:
    try:
        envelope = decode(raw)
    except msgspec.MsgspecError as error:
        return type(error), str(error)
    return [bytes(value) if isinstance(value, msgspec.Raw) else value for value in msgspec.structs.astuple(envelope)]


@given(
    st.dictionaries(st.sampled_from([name for name in Envelope.__struct_fields__ if name != "payload"]), st.text(max_size=8) | st.none())
)
def test_an_envelope_is_written_as_the_canonical_form_of_the_whole(fields: dict[str, str | None]) -> None:
    payload: dict[str, JsonInput] = {"b": [1, "\u20ac"], "a": None}
    present: dict[str, JsonInput] = {name: value for name, value in fields.items() if value is not None}
    assert encode_envelope(fields, canonical_json(payload)) == canonical_json({**present, "payload": payload})


_OWN = ("event_id", "ts_utc", "emitted_at_utc", "traceparent", "parent_event_id")


@given(
    st.dictionaries(
        st.sampled_from([name for name in Envelope.__struct_fields__ if name not in ("payload", *_OWN)]), st.text(max_size=8) | st.none()
    ),
    st.lists(st.fixed_dictionaries(dict.fromkeys(_OWN, st.text(max_size=8))), max_size=3),
)
def test_envelopes_of_one_form_are_those_that_are_written_one_by_one(shared: dict[str, str | None], events: list[dict[str, str]]) -> None:
    form = EnvelopeForm(shared)
    for own in events:
        assert form.encode(b'{"a":1}', **own) == encode_envelope({**shared, **own}, b'{"a":1}')

"""The typed way of reading an item says what the strict way says, or nothing (ingress.inspection)."""

import json
from random import Random
from typing import Any

import msgspec
import pytest

from ingress.inspection import Candidate, Refused, inspect, inspect_strictly, inspect_typed
from ingress.policy import DOORS
from ingress.record import Caller, Stamp
from ingress.settings import POLICY_REV
from laws.canonical import canonical_json
from laws.headers import Provenance
from tests.ingress.messy import PAYLOADS, messy_item
from tests.ingress.rig import RUN, changed, traffic

_STAMP = Stamp("P6", Provenance(POLICY_REV, "b" * 64, "c" * 64, "local-test"), 0.0)
_ITEMS = 8_000
_LAWFUL = json.dumps(traffic())
_BY_HAND = (
    b"",
    _LAWFUL.encode(),
    _LAWFUL.replace('"amount_minor": 1999', '"amount_minor": 1999, "amount_minor": 2000').encode(),
    _LAWFUL.replace('"amount_minor": 1999', '"amount_minor": 1999.0').encode(),
    _LAWFUL.replace('"producer": "wsp"', '"producer": "wsp", "producer": "other"').encode(),
    _LAWFUL.replace('"producer": "wsp"', '"producer": null').encode(),
)


def test_the_typed_way_declines_or_agrees() -> None:
    rng = Random(42)
    agreed = declined = 0
    for number in range(-len(_BY_HAND), _ITEMS):
        raw = _BY_HAND[number] if number < 0 else messy_item(rng)
        typed, strict = inspect_typed(raw, RUN), inspect_strictly(raw, RUN)
        if typed is None:
            declined += isinstance(strict, Candidate)
            continue
        agreed += 1
        assert isinstance(strict, Candidate), (raw, strict)
        assert _whole(typed) == _whole(strict), raw
        record, correlation = _STAMP.record(typed, Caller(None, None, "x"))
        assert (record, correlation) == _STAMP.record(strict, Caller(None, None, "x"))
        assert record.value == canonical_json(json.loads(record.value))
    # Else the test would hold for a typed way that takes nothing.
    assert agreed > _ITEMS // 6
    assert declined < agreed // 5


def _whole(candidate: Candidate) -> Any:
    envelope = {name: value for name, value in msgspec.structs.asdict(candidate.envelope).items() if name != "payload"}
    return envelope, *(getattr(candidate, name) for name in Candidate._fields if name != "envelope"), candidate.known


@pytest.mark.parametrize("event_type", sorted(DOORS))
def test_what_a_lawful_producer_writes_is_read_by_its_types(event_type: str) -> None:
    event = traffic() | {"event_type": event_type, "payload": PAYLOADS[event_type]}
    for raw in (json.dumps(event).encode(), json.dumps(event, separators=(",", ":")).encode(), canonical_json(event)):
        assert isinstance(inspect_typed(raw, RUN), Candidate)
    assert isinstance(inspect_typed(json.dumps(changed(traffic(), flow_id="flöw"), ensure_ascii=False).encode(), RUN), Candidate)


def test_what_the_typed_way_declines_is_refused_by_name() -> None:
    twice = json.dumps(traffic()).replace('"event_seq": 1', '"event_seq": 1, "event_seq": 1').encode()
    assert inspect_typed(twice, RUN) is None
    refused = inspect(twice, RUN)
    assert isinstance(refused, Refused)
    assert refused.reasons == ("ENVELOPE_INVALID", "DUPLICATE_KEY")
    assert refused.detail.field == "/payload/event_seq"


@pytest.mark.parametrize("event_type", sorted(DOORS))
def test_contracts_of_the_edge_hold_what_the_typed_way_counts_on(event_type: str) -> None:
    """Texts, enumerations, booleans and integers that a double holds; no object, no array, no float; a day to check."""
    described = msgspec.inspect.type_info(DOORS[event_type].contract)
    assert isinstance(described, msgspec.inspect.StructType)
    assert described.forbid_unknown_fields
    assert "ts_utc" in {field.name for field in described.fields}
    for field in described.fields:
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        for kind in kinds:
            if isinstance(kind, msgspec.inspect.IntType):
                assert kind.ge is not None
                assert kind.le is not None
                assert max(abs(kind.ge), abs(kind.le)) <= 2**53
            else:
                plain = (msgspec.inspect.StrType, msgspec.inspect.EnumType, msgspec.inspect.BoolType, msgspec.inspect.NoneType)
                assert isinstance(kind, plain), (field.name, kind)

"""Ids by recipe (domain.md 2.3, 5.4, 8.3). The literal values are stored facts: a changed recipe is another name, not another value."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws import ids
from laws.canonical import canonical_json
from laws.contracts.decision import ContextRef, ContextRole
from laws.coordinates import OriginOffset, offset_basis
from laws.encode import canonical_struct

RUN = "platform_20260102T030405Z"
PINS = {"platform_run_id": RUN, "seed": "42"}

GOLDEN: list[tuple[str, Callable[[], str], str]] = [
    (
        "engine",
        lambda: ids.engine_event_id("arrival_events_5B", ["m1", 7], {"seed": "42"}),
        "52aea0935a68c0cfd429654b61b9aa7caf1f7132e388d568cb2efc9f6d1068b5",
    ),
    ("decision", lambda: ids.decision_id("e1", RUN, "b" * 64, ["c", "t", 0, "17"]), "9384d87f9dd5366e56c1bb82efe880c1"),
    ("decision event", lambda: ids.decision_event_id("e1", PINS), "0800a467ecb96a167e970c10bcc82a15e00cb69745f58f1462a0ef7afd8f5cb8"),
    ("intent event", lambda: ids.intent_event_id("e1", "ALLOW", PINS), "dbd5481cd1c2d60bca3d35ec72f373afa662b0eb7d006614296d45ac296d1d83"),
    (
        "idempotency key",
        lambda: ids.idempotency_key("e1", "ALLOW", PINS),
        "dcee31dd872e76b234929bc6e95f092af68fc5aaa1c87bb068c15c2176c1a853",
    ),
    ("action", lambda: ids.action_id("d" * 32, "ALLOW"), "87961d6c9cdcf61083576a7b7c0936eb"),
    ("outcome", lambda: ids.outcome_id(RUN, "k" * 64), "04eabbbd2923a728d4e5de25a265aecb"),
    ("audit", lambda: ids.audit_id(RUN, "d" * 32), "b070f2d7cdd4c1637f46425ad7848c6c"),
    ("case", lambda: ids.case_id(RUN, "traffic_fraud", "e1"), "c618fb100ba18ecebdbeef34ffe8790b"),
    ("trigger", lambda: ids.case_trigger_id("a" * 32, "ANOMALY", "audit:1"), "1a255261638382b1deeb65f84d4f4877"),
    ("timeline", lambda: ids.case_timeline_event_id("a" * 32, "CASE_TRIGGERED", "audit:1"), "2fe203392d57b35aec303ccd7237fb90"),
    ("label", lambda: ids.label_assertion_id("a" * 32, RUN, "e1", "fraud_disposition"), "169d78fdd2fdb7e9f5bdcb52e3f5dfc6"),
]


@pytest.mark.parametrize(("make", "value"), [row[1:] for row in GOLDEN], ids=[row[0] for row in GOLDEN])
def test_a_known_input_has_its_known_id(make: Callable[[], str], value: str) -> None:
    assert make() == value


def test_an_id_is_the_digest_of_the_recipe_and_its_payload() -> None:
    written = b'{"payload":{"a":"x","b":1},"recipe":"r.v1"}'
    assert ids.hex64("r.v1", {"b": 1, "a": "x"}) == sha256(written).hexdigest()
    assert ids.hex32("r.v1", {"b": 1, "a": "x"}) == sha256(written).hexdigest()[:32]


def test_the_recipe_s_name_tells_ids_of_one_payload_apart() -> None:
    assert ids.hex64("r.v1", ["x"]) != ids.hex64("r.v2", ["x"])
    assert ids.intent_event_id("e1", "ALLOW", PINS) != ids.idempotency_key("e1", "ALLOW", PINS)


def test_primary_key_values_do_not_alias() -> None:
    keys: list[list[str | int]] = [["a|b", "c"], ["a", "b|c"], ["1"], [1], ["a", "b", "c"]]
    made = [ids.engine_event_id("o", key, {}) for key in keys]
    assert len(set(made)) == 5


def test_parts_cannot_be_shifted_into_each_other() -> None:
    assert ids.case_trigger_id("a", "b", "c") != ids.case_trigger_id("ab", "", "c")


def test_a_decision_moves_with_bundle_and_place_but_its_event_does_not() -> None:
    base = ids.decision_id("e1", RUN, "b" * 64, ["c", "t", 0, "17"])
    assert base != ids.decision_id("e1", RUN, "e" * 64, ["c", "t", 0, "17"])
    assert base != ids.decision_id("e1", RUN, "b" * 64, ["c", "t", 0, "18"])
    assert ids.decision_event_id("e1", PINS) != ids.decision_event_id("e1", {**PINS, "seed": "43"})


TEXT = st.text(max_size=20)
PLACE = st.tuples(TEXT, TEXT, TEXT, st.integers(0, 2**31), st.integers(0, 2**63))


def digest(recipe: str, payload: object) -> str:
    """The recipe by its definition."""
    return sha256(canonical_json({"payload": payload, "recipe": recipe})).hexdigest()  # type: ignore[dict-item]  # any JSON value


@given(TEXT, TEXT, TEXT, PLACE)
def test_a_decision_s_ids_are_the_digests_of_what_they_name(
    source: str, run: str, other: str, place: tuple[str, str, str, int, int]
) -> None:
    origin: list[str | int] = [*place[:4], str(place[4])]
    named = {
        "source_event_id": source,
        "platform_run_id": run,
        "decision_scope": "fraud.primary",
        "bundle_ref": other,
        "origin_offset": origin,
    }
    assert ids.decision_id(source, run, other, origin) == digest("df.decision_id.v2", named)[:32]
    assert ids.action_id(source, other) == digest("df.action_id.v1", {"decision_id": source, "action_kind": other})[:32]
    pins = {"platform_run_id": run, "seed": other}
    of_decision = {"source_event_id": source, "pin_scope": pins, "decision_scope": "fraud.primary"}
    of_action = {"source_event_id": source, "pin_scope": pins, "action_domain": other}
    assert ids.decision_event_id(source, pins) == digest("df.decision_response.event_id.v1", of_decision)
    assert ids.intent_event_id(source, other, pins) == digest("df.action_intent.event_id.v1", of_action)
    assert ids.idempotency_key(source, other, pins) == digest("df.action_intent.idempotency_key.v1", of_action)


@given(PLACE)
def test_the_digests_of_a_basis_and_of_what_a_decision_saw_are_those_of_their_json(place: tuple[str, str, str, int, int]) -> None:
    cluster, topic_id, topic, partition, offset = place
    basis = {"stream": topic, "offset_kind": "kafka_offset", "offsets": [[partition, str(offset)]]}
    assert offset_basis(topic, {partition: offset}).basis_digest == digest("fp.eb_offset_basis.v1", basis)
    ref = ContextRef("e1", "flow_anchor", ContextRole.FLOW_ANCHOR, OriginOffset(cluster, topic_id, topic, partition, str(offset)))
    written = {
        "event_id": "e1",
        "event_type": "flow_anchor",
        "role": "flow_anchor",
        "origin_offset": {"cluster_id": cluster, "topic_id": topic_id, "topic": topic, "partition": partition, "offset": str(offset)},
    }
    assert ids.canonical_digest("r.v1", canonical_struct((ref,))).hex() == digest("r.v1", [written])
    assert ids.canonical_digest("r.v1", canonical_struct(())).hex() == digest("r.v1", [])


@given(st.binary(), st.binary())
def test_a_snapshot_s_hash_is_that_of_its_own_bytes_however_often_it_is_asked_for(first: bytes, second: bytes) -> None:
    for read_set in (first, second, first):
        assert ids.snapshot_hash(read_set) == sha256(b"df.snapshot_hash.v1\n" + read_set).hexdigest()

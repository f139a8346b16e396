"""Everything that is injected is declared, happens at its rate, follows what it spoils, and is what it says it is."""

import json
from collections import Counter
from dataclasses import asdict

import pytest

from testkit.world import (
    NO_MESS,
    Answer,
    Credential,
    EdgeKind,
    EdgeSend,
    Identity,
    Manifest,
    MessRates,
    RunIds,
    Step,
    TopicInject,
    TopicKind,
    World,
    WorldConfig,
)

RUN = RunIds("platform_20260105T000000Z", "a" * 32)
SIZE = 60_000
MIB = 1_048_576


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return list(World(WorldConfig(seed=21, size=SIZE), RUN))


@pytest.fixture(scope="module")
def manifest(steps: list[Step]) -> Manifest:
    manifest = Manifest()
    for step in steps:
        manifest.observe(step)
    return manifest


def of_kind(steps: list[Step], kind: EdgeKind) -> list[EdgeSend]:
    return [step for step in steps if isinstance(step, EdgeSend) and step.kind is kind]


def no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("repeated key")
    return dict(pairs)


def test_rates_are_the_declared_ones(manifest: Manifest) -> None:
    rates = MessRates()
    expected = {
        **{kind: getattr(rates, kind.value) for kind in EdgeKind if hasattr(rates, kind.value)},
        EdgeKind.DUPLICATE: rates.edge_duplicate,
        EdgeKind.CHANGED_PAYLOAD: rates.edge_changed_payload,
    }
    for kind, rate in expected.items():
        assert manifest.edge[kind] == pytest.approx(rate * SIZE, rel=0.05, abs=4), kind
    assert manifest.topic[TopicKind.DUPLICATE] == pytest.approx(rates.topic_duplicate * SIZE, rel=0.05, abs=4)
    assert manifest.topic[TopicKind.CHANGED_PAYLOAD] == pytest.approx(rates.topic_changed_payload * SIZE, rel=0.05, abs=4)
    assert manifest.notes["out_of_order"] == pytest.approx(rates.out_of_order * SIZE, rel=0.05, abs=4)
    assert manifest.notes["late_context"] == pytest.approx(rates.late_context_per_flow * manifest.triggers, rel=0.1, abs=4)
    assert manifest.notes["missing_context"] == pytest.approx(rates.missing_context_per_flow * manifest.triggers, rel=0.1, abs=4)


@pytest.mark.parametrize("seed", range(8))
def test_every_kind_occurs_in_a_world_of_two_thousand(seed: int) -> None:
    manifest = Manifest()
    for step in World(WorldConfig(seed=seed, size=2_000), RUN):
        manifest.observe(step)
    assert all(manifest.edge[kind] >= 2 for kind in EdgeKind), manifest.as_dict()
    assert all(manifest.topic[kind] >= 2 for kind in TopicKind), manifest.as_dict()
    for note in ("out_of_order", "large_payload", "late_context", "missing_context"):
        assert manifest.notes[note] >= 1, note


def test_every_rate_can_be_turned_off() -> None:
    for name in asdict(NO_MESS):
        rates = MessRates(**{**asdict(MessRates()), name: 0.0})
        manifest = Manifest()
        for step in World(WorldConfig(seed=1, size=2_000, mess=rates), RUN):
            manifest.observe(step)
        plain = json.dumps(manifest.as_dict())
        kept = name.removesuffix("_per_flow").removeprefix("edge_").removeprefix("topic_")
        counts = manifest.topic if name.startswith("topic_") else manifest.edge
        observed = {kind.value: count for kind, count in counts.items()} | dict(manifest.notes)
        assert observed.get(kept, 0) == 0, (name, plain)


def test_an_injected_record_follows_its_original_and_belongs_to_traffic_or_anchors(steps: list[Step]) -> None:
    sent: dict[Identity, EdgeSend] = {}
    injected = 0
    for step in steps:
        if isinstance(step, TopicInject):
            injected += 1
            original = sent[step.of]
            assert original.at_us < step.at_us
            assert step.of.event_class in {"traffic_fraud", "context_flow_fraud"}
            assert step.event_type == original.event_type
            if step.kind is TopicKind.CHANGED_PAYLOAD:
                payload = json.loads(original.envelope)["payload"]
                assert step.payload is not None and step.payload != payload and step.payload.keys() == payload.keys()
                assert step.payload["flow_id"] == payload["flow_id"]
            else:
                assert step.payload is None
        elif step.kind is EdgeKind.VALID and step.identity:
            sent[step.identity] = step
    assert injected > 500


def test_re_sends_to_the_edge_repeat_or_contradict_their_original(steps: list[Step]) -> None:
    sent = {step.identity: step for step in of_kind(steps, EdgeKind.VALID)}
    for step in of_kind(steps, EdgeKind.DUPLICATE):
        again, original = json.loads(step.envelope), json.loads(sent[step.identity].envelope)
        assert again.pop("emitted_at_utc") > original.pop("emitted_at_utc"), "the producer's clock goes on"
        assert again == original
    for step in of_kind(steps, EdgeKind.CHANGED_PAYLOAD):
        again, original = json.loads(step.envelope), json.loads(sent[step.identity].envelope)
        assert again["payload"] == step.changed_payload != original["payload"]
        assert {**again, "payload": 0, "emitted_at_utc": 0} == {**original, "payload": 0, "emitted_at_utc": 0}


def test_the_stream_is_in_order_of_world_time(steps: list[Step]) -> None:
    times = [step.at_us for step in steps]
    assert times == sorted(times)


def test_out_of_order_events_come_seconds_after_younger_ones(steps: list[Step]) -> None:
    newest = 0
    for step in of_kind(steps, EdgeKind.VALID):
        if "out_of_order" in step.notes:
            assert 5_000_000 <= step.at_us - step.ts_us <= 90_005_000, "on top of the 5 ms that entities take anyway"
            assert step.ts_us < newest
        newest = max(newest, step.ts_us)


def test_refused_bodies_never_carry_the_identity_of_a_valid_event(steps: list[Step]) -> None:
    valid = {step.identity.event_id for step in of_kind(steps, EdgeKind.VALID) if step.identity}
    resent = {EdgeKind.VALID, EdgeKind.DUPLICATE, EdgeKind.CHANGED_PAYLOAD}
    refused = [step for step in steps if isinstance(step, EdgeSend) and step.kind not in resent]
    assert refused
    assert not {step.identity.event_id for step in refused if step.identity} & valid


def test_bodies_are_as_broken_as_they_say(steps: list[Step]) -> None:
    for step in of_kind(steps, EdgeKind.BAD_JSON):
        with pytest.raises(ValueError):
            json.loads(step.envelope, parse_constant=lambda word: float(f"no {word}"))
    for step in of_kind(steps, EdgeKind.DUPLICATE_KEY):
        json.loads(step.envelope)
        with pytest.raises(ValueError, match="repeated key"):
            json.loads(step.envelope, object_pairs_hook=no_repeats)
    for step in of_kind(steps, EdgeKind.INEXACT_NUMBER):
        assert json.loads(step.envelope)["payload"]["amount_minor"] == 2**53 + 1
    assert all(len(step.envelope) > MIB for step in of_kind(steps, EdgeKind.OVERSIZE))
    assert all(len(step.envelope) < MIB for step in steps if isinstance(step, EdgeSend) and step.kind is not EdgeKind.OVERSIZE)
    large = [step for step in of_kind(steps, EdgeKind.VALID) if "large_payload" in step.notes]
    assert large and all(len(step.envelope) > 600_000 for step in large)


def test_spoilt_envelopes_differ_from_good_ones_in_one_thing(steps: list[Step]) -> None:
    good = json.loads(next(step for step in of_kind(steps, EdgeKind.VALID) if step.is_trigger).envelope)
    missing = Counter(frozenset(good.keys() - json.loads(step.envelope).keys()) for step in of_kind(steps, EdgeKind.MISSING_PINS))
    assert all(len(pins) == 1 for pins in missing) and len(missing) >= 4
    assert all(json.loads(step.envelope).keys() - good.keys() for step in of_kind(steps, EdgeKind.UNKNOWN_FIELD))
    for kind in (EdgeKind.UNKNOWN_TYPE, EdgeKind.BAD_SCHEMA, EdgeKind.FOREIGN_RUN, EdgeKind.UNAUTHORISED):
        assert all(json.loads(step.envelope).keys() == good.keys() for step in of_kind(steps, kind))
    for step in of_kind(steps, EdgeKind.FOREIGN_RUN):
        assert json.loads(step.envelope)["platform_run_id"] != RUN.platform_run_id
    credentials = {step.credential for step in of_kind(steps, EdgeKind.UNAUTHORISED)}
    assert credentials == {Credential.WRONG, Credential.MISSING}


def test_each_kind_says_which_answer_the_edge_owes(steps: list[Step]) -> None:
    for step in steps:
        if isinstance(step, EdgeSend):
            assert (step.expected.answer is Answer.QUARANTINED) == (step.expected.reason is not None)
            assert (step.credential is Credential.VALID) == (step.kind is not EdgeKind.UNAUTHORISED)


def test_the_manifest_keeps_edge_and_topic_anomalies_apart(steps: list[Step], manifest: Manifest) -> None:
    assert len(manifest.edge_anomalies) == manifest.edge[EdgeKind.CHANGED_PAYLOAD]
    assert len(manifest.topic_anomalies) == manifest.topic[TopicKind.CHANGED_PAYLOAD]
    again, at_edge, on_topic = Manifest(), 0, 0
    for number, step in enumerate(steps):
        again.observe(step)
        if number % 1_000 == 0:
            edge, topic = again.drain()
            at_edge, on_topic = at_edge + len(edge), on_topic + len(topic)
    edge, topic = again.drain()
    assert (at_edge + len(edge), on_topic + len(topic)) == (len(manifest.edge_anomalies), len(manifest.topic_anomalies))
    assert again.as_dict() == manifest.as_dict(), "draining leaves the counts"


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError):
        MessRates(oversize=0.9)

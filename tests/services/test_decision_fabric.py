"""Ids of a decision are those of the law, and how inputs fall into transactions changes no decision (domain.md 5.4; runtime.md)."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_fabric.pack import Bounds, ContextBudget, Fact, Pack, Rule
from decision_fabric.policy import Fabric
from laws import ids
from laws.actions import ActionKind
from laws.catalogue import FLOW_ANCHOR, TRAFFIC_EVENT
from laws.contracts.decision import DecisionResponse
from laws.contracts.world import FlowAnchor, TrafficEvent, TrafficKind
from spine.inputs import Input
from spine.service import Event, On
from tests.services.fake_state import PROVENANCE, RUN, TS, FakeLane, event_of, published, record

# It always holds where both are known, so that every decision tells which velocities it saw.
TELLING = Rule("telling", ActionKind.STEP_UP, {Fact.DEVICE_1H_COUNT: Bounds(at_least=0), Fact.ACCOUNT_24H_AMOUNT: Bounds(at_least=0)})
FABRIC = Fabric(Pack("test", "v1", ContextBudget(900, 20_000), (TELLING,)))
ANCHORS = On(FLOW_ANCHOR, FABRIC.on_anchor, FABRIC.anchor_reads)
TRAFFIC = On(TRAFFIC_EVENT, FABRIC.on_traffic, FABRIC.traffic_reads, FABRIC.traffic_reads_then)


def trigger(number: int, flow: str, amount: int = 100) -> Event[Any]:
    body = TrafficEvent(flow, number + 1, TrafficKind.AUTH_REQUEST, TS, amount, "USD")
    return event_of(TRAFFIC_EVENT, ids.hex64("test", number), body, offset=number)


def anchor(number: int, flow: str, who: str = "1") -> Event[Any]:
    body = FlowAnchor(flow, "m1", 1, f"a{who}", "p1", 100, "USD", TS, device_id=f"d{who}")
    return event_of(FLOW_ANCHOR, ids.hex64("test", number), body, offset=number)


def test_decision_and_intent_have_the_ids_of_the_law() -> None:
    event = trigger(11, "f1")
    assert event.origin is not None
    decided = FakeLane().run(record(ANCHORS, anchor(3, "f1")), record(TRAFFIC, event))[1]
    decision, intent = published(decided.effects, event.cause)
    source, scope = event.identity.event_id, msgspec.to_builtins(event.cause.pins)
    place: list[str | int] = [event.origin.cluster_id, event.origin.topic_id, event.origin.topic, event.origin.partition, "11"]
    assert decision.body.decision_id == ids.decision_id(source, RUN, PROVENANCE.bundle_id, place)
    assert decision.event_id == ids.decision_event_id(source, scope)
    assert intent.event_id == ids.intent_event_id(source, "fraud.disposition", scope)
    assert intent.body.idempotency_key == ids.idempotency_key(source, "fraud.disposition", scope)
    assert intent.body.action_id == ids.action_id(decision.body.decision_id, "STEP_UP")


def test_another_bundle_makes_another_decision_but_never_a_second_effect() -> None:
    event = trigger(11, "f1")
    made = []
    for bundle in ("b" * 64, "d" * 64):
        lane = FakeLane(provenance=PROVENANCE._replace(bundle_id=bundle))
        made.append(published(lane.run(record(ANCHORS, anchor(3, "f1")), record(TRAFFIC, event))[1].effects, event.cause))
    (first, first_intent), (other, other_intent) = made
    assert first.body.decision_id != other.body.decision_id
    assert first.event_id == other.event_id, "one decision a source event and run"
    assert first_intent.body.idempotency_key == other_intent.body.idempotency_key


STEP = st.tuples(st.sampled_from(["anchor", "trigger"]), st.sampled_from(["f1", "f2"]), st.sampled_from("12"), st.integers(0, 9))


def told(history: list[tuple[str, str, str, int]], sizes: list[int]) -> list[Any]:
    """What each input led to, the inputs being cut into transactions of these sizes: kinds of effects, and what each decision saw."""
    inputs: list[Input] = []
    for number, (what, flow, who, amount) in enumerate(history):
        inputs.append(record(ANCHORS, anchor(number, flow, who)) if what == "anchor" else record(TRAFFIC, trigger(number, flow, amount)))
    lane, results = FakeLane(), list[Any]()
    while inputs:
        size = sizes[lane.lane_seq % len(sizes)]
        batch, inputs = inputs[:size], inputs[size:]
        for decided in lane.run(*batch):
            assert decided.item.cause is not None
            bodies = [output.body for output in published(decided.effects, decided.item.cause)]
            saw = [(body.source_event.event_id, body.decision.rule_hits) for body in bodies if isinstance(body, DecisionResponse)]
            results.append(([type(effect).__name__ for effect in decided.effects], saw))
    return results


@given(st.lists(STEP, max_size=12), st.lists(st.integers(1, 6), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_no_cut_into_transactions_changes_a_decision_or_reads_what_is_not_declared(
    history: list[tuple[str, str, str, int]], sizes: list[int]
) -> None:
    assert told(history, sizes) == told(history, [1])

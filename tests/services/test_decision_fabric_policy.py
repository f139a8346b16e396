"""DF decides every trigger once, with its context or with the context named missing, and asks for one effect (domain.md 5)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decision_fabric
from decision_fabric.app import build
from decision_fabric.pack import Bounds, ContextBudget, Fact, Pack, Rule, load_pack
from decision_fabric.policy import CONTEXT_WAIT, Fabric, wait_key
from decision_fabric.store import ANCHORS, DECISIONS, VELOCITIES
from decision_fabric.velocity import seconds_of, totals
from laws import ids
from laws.actions import ActionKind
from laws.catalogue import ACTION_INTENT, DECISION_RESPONSE, FLOW_ANCHOR, TRAFFIC_EVENT
from laws.contracts.action import ActionIntent
from laws.contracts.decision import ContextRole, ContextStatus, DecisionResponse
from laws.contracts.world import FlowAnchor, TrafficEvent, TrafficKind
from laws.degrade import ActionPosture, DegradeMode
from laws.reasons import Reason
from spine.service import Anomaly, Emit, Event, On, Put, Settle, Timer, Wait
from spine.settings import KafkaSecurity, Rung, Settings
from tests.services.fake_state import OTHER_RUN, PROVENANCE, RUN, TS, FakeLane, FakeStore, event_of, fired, published, record

PACK = Pack(
    pack_id="test",
    version="v1",
    context=ContextBudget(join_wait_ms=900, cap_ms=20_000),
    rules=(
        Rule("high", ActionKind.STEP_UP, {Fact.AMOUNT_MINOR: Bounds(at_least=50_000)}),
        Rule("busy_device", ActionKind.QUEUE_REVIEW, {Fact.DEVICE_1H_COUNT: Bounds(at_least=2)}),
        Rule("rich_account", ActionKind.BLOCK, {Fact.ACCOUNT_24H_AMOUNT: Bounds(at_least=90_000)}),
    ),
)
FABRIC = Fabric(PACK)
ANCHOR_DOOR = On(FLOW_ANCHOR, FABRIC.on_anchor, FABRIC.anchor_reads)
TRAFFIC_DOOR = On(TRAFFIC_EVENT, FABRIC.on_traffic, FABRIC.traffic_reads, FABRIC.traffic_reads_then)
WAIT_OVER = Timer(CONTEXT_WAIT, FABRIC.on_wait_over, FABRIC.wait_over_reads)


def trigger(flow: str = "f1", seq: int = 1, amount: int = 1_000, kind: TrafficKind = TrafficKind.AUTH_REQUEST, **more: Any) -> Event[Any]:
    body = TrafficEvent(flow, seq, kind, more.get("ts_utc", TS), amount, "USD")
    return event_of(TRAFFIC_EVENT, ids.hex64("test", [flow, seq]), body, **more)


def anchor(flow: str = "f1", *, device: str | None = "d1", account: str = "a1", event_id: str = "", **more: Any) -> Event[Any]:
    body = FlowAnchor(flow, "m1", 1, account, "p1", 1_000, "USD", TS, instrument_id="i1", device_id=device, ip_id=None)
    return event_of(FLOW_ANCHOR, event_id or ids.hex64("test", ["anchor", flow]), body, **more)


def decisions(effects: Any, event: Event[Any]) -> list[tuple[DecisionResponse, ActionIntent]]:
    """Decision and intent, in pairs, as consumers read them."""
    bodies = [output.body for output in published(effects, event.cause)]
    return list(zip(bodies[::2], bodies[1::2], strict=True))


def test_other_traffic_has_no_effect_and_reads_nothing() -> None:
    lane = FakeLane()
    for kind in set(TrafficKind) - {TrafficKind.AUTH_REQUEST}:
        event = trigger(kind=kind)
        assert tuple(TRAFFIC_DOOR.reads(event)) == ()
        assert lane.one(record(TRAFFIC_DOOR, event)) == ()


def test_a_trigger_with_its_anchor_is_decided_at_once() -> None:
    lane = FakeLane()
    lane.run(record(ANCHOR_DOOR, anchor(offset=3)))
    event = trigger(offset=11)
    effects = lane.one(record(TRAFFIC_DOOR, event))
    ((decision, intent),) = decisions(effects, event)
    assert decision.decision.action_kind is intent.action_kind is ActionKind.ALLOW
    assert decision.decision.context_status is ContextStatus.CONTEXT_READY
    assert decision.reason_codes == (Reason.NO_RULE_HIT.value,)
    assert [(ref.role, ref.origin_offset.offset) for ref in decision.context_refs] == [(ContextRole.FLOW_ANCHOR, "3")]
    assert [(entry.partition, entry.offset) for entry in decision.eb_offset_basis.offsets] == [(event.origin.partition, "12")]  # type: ignore[union-attr]  # a record has an origin
    assert decision.source_event.origin_offset.offset == "11"
    assert decision.bundle_ref.bundle_id == PROVENANCE.bundle_id
    assert intent.decision_id == decision.decision_id
    assert (intent.action_payload.event_id, intent.action_payload.flow_id, intent.action_payload.account_id) == (
        event.identity.event_id,
        "f1",
        "a1",
    )
    (row,) = lane.store.all(DECISIONS)
    assert (row.decision_id, row.source_event_id, row.snapshot_hash) == (
        decision.decision_id,
        event.identity.event_id,
        decision.snapshot_hash,
    )


def test_the_decision_goes_out_before_its_intent_and_is_its_parent() -> None:
    lane = FakeLane()
    event = trigger()
    decided = lane.run(record(ANCHOR_DOOR, anchor()), record(TRAFFIC_DOOR, event))[1]
    first, second = published(decided.effects, event.cause)
    assert [first.row.event_type, second.row.event_type] == [DECISION_RESPONSE.name, ACTION_INTENT.name]
    assert (first.parent_event_id, second.parent_event_id) == (event.identity.event_id, first.event_id)
    assert first.row.partition == second.row.partition, "one partition keeps their order"


def test_what_does_not_exist_is_absent_by_mask_and_named() -> None:
    lane = FakeLane()
    event = trigger()
    effects = lane.run(record(ANCHOR_DOOR, anchor()), record(TRAFFIC_DOOR, event))[1].effects
    ((decision, _),) = decisions(effects, event)
    posture = decision.degrade_posture
    assert posture.mode is DegradeMode.NORMAL and posture.capabilities_mask.action_posture is ActionPosture.NORMAL
    assert posture.capabilities_mask.allowed_feature_groups == ("velocity",)
    assert not (posture.capabilities_mask.allow_ieg or posture.capabilities_mask.allow_model_primary)
    assert posture.absent == ("core_features", "entity_graph", "ieg", "model_primary", "model_stage2")
    assert decision.graph_version is None and decision.decision.registry_outcome == "PACK_PINNED"


def test_a_trigger_without_its_anchor_waits_for_the_other_topic() -> None:
    (wait,) = FakeLane().one(record(TRAFFIC_DOOR, trigger()))
    assert wait == Wait(CONTEXT_WAIT, wait_key(RUN, "f1"), 0.9, until_read="fp.bus.context.flow_anchor.fraud.v1", cap=20.0)


def test_the_anchor_settles_the_wait_and_decides_in_the_triggers_name() -> None:
    lane = FakeLane()
    event = trigger()
    lane.run(record(TRAFFIC_DOOR, event))
    late = anchor()
    effects = lane.one(record(ANCHOR_DOOR, late))
    assert [type(effect) for effect in effects if isinstance(effect, Settle | Wait)] == [Settle]
    assert not lane.waits
    assert {effect.cause for effect in effects if isinstance(effect, Emit)} == {event.cause}
    outputs = published(effects, late.cause)
    assert {output.row.traceparent[3:35] for output in outputs} == {event.cause.correlation.trace_id}
    ((decision, intent),) = decisions(effects, late)
    assert decision.source_event.event_id == event.identity.event_id and decision.decision.context_status is ContextStatus.CONTEXT_READY
    assert intent.action_payload.account_id == "a1"


def test_order_of_anchor_and_trigger_changes_no_id() -> None:
    early, late = FakeLane(), FakeLane()
    event = trigger()
    with_anchor = early.run(record(ANCHOR_DOOR, anchor()), record(TRAFFIC_DOOR, event))[1].effects
    late.run(record(TRAFFIC_DOOR, event))
    after_wait = late.one(record(ANCHOR_DOOR, anchor()))
    named = [[output.event_id for output in published(effects, event.cause)] for effects in (with_anchor, after_wait)]
    assert named[0] == named[1]


def test_an_anchor_of_another_run_settles_nothing() -> None:
    lane = FakeLane()
    lane.run(record(TRAFFIC_DOOR, trigger()))
    assert [type(effect) for effect in lane.one(record(ANCHOR_DOOR, anchor(run=OTHER_RUN)))] == [Put]
    assert len(lane.waits) == 1


@pytest.mark.parametrize(("capped", "reason"), [(False, Reason.CONTEXT_MISSING), (True, Reason.CONTEXT_WAIT_CAP)])
def test_a_wait_that_is_over_is_decided_with_the_missing_role_named(capped: bool, reason: Reason) -> None:
    lane = FakeLane()
    lane.run(record(TRAFFIC_DOOR, trigger()))
    (waiting,) = lane.waits
    (decided,) = lane.run(fired(WAIT_OVER, waiting, capped=capped))
    ((decision, intent),) = decisions(decided.effects, waiting.event)
    assert decision.decision.action_kind is intent.action_kind is ActionKind.STEP_UP
    assert decision.decision.context_status is ContextStatus.CONTEXT_MISSING
    assert decision.decision.missing_roles == (ContextRole.FLOW_ANCHOR,) and decision.context_refs == ()
    assert decision.reason_codes == (reason.value,)
    assert intent.action_payload.account_id is None
    assert msgspec.json.decode(decided.read_sets[0]) == [["anchor", [RUN, "f1"], []]]
    assert lane.store.all(VELOCITIES) == [], "of whom is not known"


def test_a_severe_rule_wins_over_the_step_up_of_missing_context() -> None:
    rule = Rule("huge", ActionKind.BLOCK, {Fact.AMOUNT_MINOR: Bounds(at_least=5)})
    fabric = Fabric(msgspec.structs.replace(PACK, rules=(rule,)))
    lane = FakeLane()
    lane.run(record(TRAFFIC_DOOR, trigger()))
    (waiting,) = lane.waits
    effects = lane.one(fired(Timer(CONTEXT_WAIT, fabric.on_wait_over, fabric.wait_over_reads), waiting))
    ((decision, _),) = decisions(effects, waiting.event)
    assert decision.decision.action_kind is ActionKind.BLOCK
    assert decision.reason_codes == (Reason.CONTEXT_MISSING.value, Reason.RULE_HIT.value)


def test_a_decision_never_says_missing_of_an_anchor_that_is_there() -> None:
    lane = FakeLane()
    lane.run(record(TRAFFIC_DOOR, trigger()))
    (waiting,) = lane.waits
    lane.run(record(ANCHOR_DOOR, anchor()))
    with pytest.raises(ValueError, match="was not settled"):
        lane.run(fired(WAIT_OVER, waiting))


def test_the_first_anchor_of_a_flow_stays() -> None:
    lane = FakeLane()
    lane.run(record(ANCHOR_DOOR, anchor()))
    assert lane.one(record(ANCHOR_DOOR, anchor(event_id="again"))) == ()
    other = anchor(event_id="other", account="a2")
    (anomaly,) = lane.one(record(ANCHOR_DOOR, other))
    assert isinstance(anomaly, Anomaly)
    assert (anomaly.reason, anomaly.first_hash, anomaly.other_hash) == (
        Reason.PAYLOAD_HASH_MISMATCH,
        anchor().payload_hash,
        other.payload_hash,
    )
    (row,) = lane.store.all(ANCHORS)
    assert row.account_id == "a1"


def test_a_decision_reads_velocities_before_its_own_trigger() -> None:
    lane = FakeLane()
    seen = []
    for number in range(4):
        flow = f"f{number}"
        event = trigger(flow)
        effects = lane.run(record(ANCHOR_DOOR, anchor(flow)), record(TRAFFIC_DOOR, event))[1].effects
        ((decision, _),) = decisions(effects, event)
        seen.append([(hit.rule_id, hit.values) for hit in decision.decision.rule_hits])
    assert seen == [[], [], [("busy_device", {"device_1h_count": "2"})], [("busy_device", {"device_1h_count": "3"})]]


def test_the_snapshot_is_what_was_read_with_versions() -> None:
    lane = FakeLane()
    lane.run(record(ANCHOR_DOOR, anchor("f0")), record(TRAFFIC_DOOR, trigger("f0")))
    event = trigger()
    decided = lane.run(record(ANCHOR_DOOR, anchor()), record(TRAFFIC_DOOR, event))[1]
    ((decision, _),) = decisions(decided.effects, event)
    (read_set,) = decided.read_sets
    assert decision.snapshot_hash == ids.snapshot_hash(read_set)
    looked = {(name, tuple(key)): rows for name, key, rows in msgspec.json.decode(read_set)}
    assert set(looked) == {
        ("anchor", (RUN, "f1")),
        *(
            ("velocity", (RUN, dim, value))
            for dim, value in [("account", "a1"), ("instrument", "i1"), ("device", "d1"), ("merchant", "m1")]
        ),
    }
    ((lane_number, lane_seq, _),) = looked[("velocity", (RUN, "device", "d1"))]
    assert (lane_number, lane_seq) == (0, 1)


def test_velocities_are_the_sum_over_lanes_and_each_lane_writes_its_own() -> None:
    store = FakeStore()
    lanes = [FakeLane(store, number) for number in range(3)]
    for number, lane in enumerate(lanes):
        event = trigger(f"f{number}", amount=40_000)
        effects = lane.run(record(ANCHOR_DOOR, anchor(f"f{number}", device=f"d{number}")), record(TRAFFIC_DOOR, event))[1].effects
    ((decision, _),) = decisions(effects, event)
    assert decision.decision.action_kind is ActionKind.ALLOW, "80000 before it"
    event = trigger("f3")
    effects = lanes[0].run(record(ANCHOR_DOOR, anchor("f3", device=None)), record(TRAFFIC_DOOR, event))[1].effects
    ((decision, _),) = decisions(effects, event)
    assert [(hit.rule_id, hit.values) for hit in decision.decision.rule_hits] == [("rich_account", {"account_24h_amount": "120000"})]
    assert sorted(store.rows[VELOCITIES][(RUN, "account", "a1")]) == [0, 1, 2]


def test_triggers_that_waited_together_are_all_decided_and_all_counted() -> None:
    lane = FakeLane()
    events = [trigger(seq=seq, amount=seq) for seq in (1, 2, 3)]
    lane.run(*(record(TRAFFIC_DOOR, event) for event in events))
    late = anchor()
    pairs = decisions(lane.one(record(ANCHOR_DOOR, late)), late)
    assert [decision.source_event.event_id for decision, _ in pairs] == [event.identity.event_id for event in events]
    rows = [row.buckets for row in lane.store.all(VELOCITIES) if row.dimension == "device"]
    assert totals(rows, seconds_of(TS)) == (3, 6, 3, 6)


# --- properties over whole histories ---

FLOWS = ("f1", "f2", "f3")
steps = st.lists(
    st.tuples(st.sampled_from(["anchor", "trigger", "timer"]), st.sampled_from(FLOWS), st.integers(1, 3), st.integers(0, 100_000)),
    max_size=25,
)


def play(history: list[tuple[str, str, int, int]]) -> tuple[FakeLane, set[str], list[tuple[str, bytes]], list[bytes]]:
    """Plays a history as the spine would: a known identity never reaches a handler again. Returns triggers, outputs and read sets."""
    lane = FakeLane()
    known: set[str] = set()
    triggers: set[str] = set()
    outputs: list[tuple[str, bytes]] = []
    read_sets: list[bytes] = []
    for what, flow, seq, amount in history:
        if what == "timer":
            if not lane.waits:
                continue
            item = fired(WAIT_OVER, lane.waits[0])
        else:
            event = anchor(flow) if what == "anchor" else trigger(flow, seq, amount)
            if event.identity.event_id in known:
                continue
            known.add(event.identity.event_id)
            if what == "trigger":
                triggers.add(event.identity.event_id)
            item = record(ANCHOR_DOOR if what == "anchor" else TRAFFIC_DOOR, event)
        assert item.cause is not None
        (decided,) = lane.run(item)
        outputs += [(output.row.event_type, output.row.value) for output in published(decided.effects, item.cause)]
        read_sets += decided.read_sets
    return lane, triggers, outputs, read_sets


@given(steps)
@settings(max_examples=60, deadline=None)
def test_every_trigger_is_decided_once_or_waits_and_every_decision_has_one_intent(history: list[tuple[str, str, int, int]]) -> None:
    lane, triggers, outputs, read_sets = play(history)
    rows = lane.store.all(DECISIONS)
    waiting = [waiting.event.identity.event_id for waiting in lane.waits]
    assert sorted([row.source_event_id for row in rows] + waiting) == sorted(triggers)
    payloads = [(kind, msgspec.json.decode(value)["payload"]) for kind, value in outputs]
    decided = [payload for kind, payload in payloads if kind == DECISION_RESPONSE.name]
    intents = [payload for kind, payload in payloads if kind == ACTION_INTENT.name]
    assert (
        [payload["decision_id"] for payload in decided] == [payload["decision_id"] for payload in intents] == [r.decision_id for r in rows]
    )
    assert [payload["decision"]["action_kind"] for payload in decided] == [payload["action_kind"] for payload in intents]
    assert len({payload["idempotency_key"] for payload in intents}) == len(intents)
    assert {payload["snapshot_hash"] for payload in decided} == {ids.snapshot_hash(read_set) for read_set in read_sets}
    for payload in decided:
        if payload["decision"]["context_status"] == "CONTEXT_MISSING":
            assert payload["decision"]["action_kind"] != "ALLOW"


@given(steps)
@settings(max_examples=30, deadline=None)
def test_the_same_inputs_give_the_same_bytes(history: list[tuple[str, str, int, int]]) -> None:
    first, second = play(history), play(history)
    assert first[2:] == second[2:]


def test_the_service_reads_anchors_before_traffic_and_is_known_by_its_pack() -> None:
    service = build(
        Settings(
            env=Rung.LOCAL_PARITY,
            release_id="test",
            kafka_bootstrap="localhost:1",
            kafka_security=KafkaSecurity.PLAINTEXT,
            database_url="postgresql://localhost/none",
            http_port=0,
            token_secret="secret",
        )
    )
    (group,) = service.groups
    assert [door.event_type.name for door in group.doors] == [FLOW_ANCHOR.name, TRAFFIC_EVENT.name]
    _, content = load_pack(Path(decision_fabric.__path__[0]) / "packs" / "guardrails_v1.yaml")
    assert service.policy_content == content

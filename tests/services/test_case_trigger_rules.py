"""What opens a case and what never does; refusals name field and value (domain.md 8.1 to 8.3, 8.8)."""

from typing import Any

import msgspec
import pytest

from case_trigger.app import build
from case_trigger.policy import MAX_DETAILS, refusal
from case_trigger.store import PUBLISHED
from laws import ids
from laws.actions import DECISION_KINDS, ESCALATING_KINDS
from laws.catalogue import (
    ACTION_INTENT,
    ACTION_OUTCOME,
    AUDIT_POINTER,
    CORRIDOR_ANOMALY,
    DECISION_RESPONSE,
    EXTERNAL_SIGNAL,
)
from laws.contracts.case import ExternalSignal
from laws.event_classes import EventClass
from laws.evidence import REQUIRED_EVIDENCE, EvidenceRefType
from testkit.world import ExternalSignal as WorldSignal
from testkit.world import Identity, SignalKind
from tests.services import facts
from tests.services.bench import INSTANT, PINS, Bench, reply_of, settings, trace_id
from tests.services.fake_state import OTHER_RUN, RUN

OUTSIDE = "EXTERNAL::card_scheme"
PERSON = "HUMAN::analyst-03"


@pytest.fixture
def bench() -> Bench:
    return Bench(build(settings()))


def opened(bench: Bench) -> Any:
    """The one trigger that was published, checked against its row and its evidence law."""
    (published,) = bench.sent
    (row,) = bench.rows(PUBLISHED)
    body = published.body
    assert published.topic == "fp.bus.case.triggers.v1"
    assert published.event_id == body.case_trigger_id == row.case_trigger_id
    assert body.case_trigger_id == ids.case_trigger_id(body.case_id, body.trigger_type.value, body.source_ref_id)
    assert body.case_id == row.case_id == facts.case_id()
    assert msgspec.to_builtins(body.case_subject_key) == {"platform_run_id": RUN, "event_class": "traffic_fraud", "event_id": facts.SOURCE}
    assert {ref.ref_type for ref in body.evidence_refs} >= REQUIRED_EVIDENCE[body.trigger_type]
    assert msgspec.to_builtins(body.pins) == PINS
    return body


@pytest.mark.parametrize("kind", sorted(DECISION_KINDS))
def test_only_escalating_decisions_open_a_case(bench: Bench, kind: str) -> None:
    bench.record(DECISION_RESPONSE, "d1", facts.decision(kind), ts_utc="2026-01-05T07:00:00.000000Z")
    if kind not in ESCALATING_KINDS:
        assert bench.sent == bench.rows(PUBLISHED) == []
        return
    body = opened(bench)
    assert (body.trigger_type, body.source_ref_id) == ("DECISION_ESCALATION", f"decision:{facts.decision_id()}")
    assert body.observed_time == "2026-01-05T07:00:00.000000Z"
    assert body.trigger_payload == {"action_kind": kind, "rules": "velocity"}
    audit = [ref.ref_id for ref in body.evidence_refs if ref.ref_type is EvidenceRefType.DLA_AUDIT_RECORD]
    assert audit == [ids.audit_id(RUN, facts.decision_id())]


@pytest.mark.parametrize("status", ["EXECUTED", "DENIED", "FAILED"])
def test_only_failed_actions_open_a_case(bench: Bench, status: str) -> None:
    bench.record(ACTION_OUTCOME, "o1", facts.outcome(status))
    if status == "EXECUTED":
        assert bench.sent == bench.rows(PUBLISHED) == []
        return
    body = opened(bench)
    assert (body.trigger_type, body.source_ref_id) == ("ACTION_FAILURE", f"action_outcome:{ids.outcome_id(RUN, '1' * 64)}")


@pytest.mark.parametrize("event_class", sorted(EventClass))
def test_only_anomalies_of_traffic_open_a_case(bench: Bench, event_class: str) -> None:
    bench.record(CORRIDOR_ANOMALY, "x1", facts.anomaly(event_class))
    if event_class != EventClass.TRAFFIC_FRAUD:
        assert bench.sent == bench.rows(PUBLISHED) == []
        return
    body = opened(bench)
    assert (body.trigger_type, body.source_ref_id) == ("ANOMALY", "audit:x1")
    assert [ref.ref_id for ref in body.evidence_refs] == ["fp.bus.traffic.fraud.v1/2/23"]


def test_an_anomaly_without_the_six_pins_is_not_turned_into_a_trigger(bench: Bench) -> None:
    few = {name: PINS[name] for name in ("platform_run_id", "scenario_run_id", "manifest_fingerprint")}
    with pytest.raises(ValueError, match="event x1 carries no full set of pins"):
        bench.record(CORRIDOR_ANOMALY, "x1", facts.anomaly(), pins=few)
    assert bench.sent == []


def test_intents_and_audit_pointers_have_no_effect(bench: Bench) -> None:
    pointer = {
        "audit_id": "1" * 32,
        "decision_id": facts.decision_id(),
        "record_digest": "2" * 64,
        "chain_status": "RESOLVED",
        "decision_ref": facts.PLACE,
        "pins": PINS,
    }
    assert bench.record(ACTION_INTENT, "i1", facts.intent()) == ()
    assert bench.record(AUDIT_POINTER, "p1", pointer) == ()


@pytest.mark.parametrize(
    ("principal", "kind", "source_ref"),
    [(OUTSIDE, "EXTERNAL_SIGNAL", "external:"), (PERSON, "EXTERNAL_SIGNAL", "external:"), (PERSON, "MANUAL_ASSERTION", "manual:")],
)
def test_a_signal_opens_a_case_whatever_was_decided(bench: Bench, principal: str, kind: str, source_ref: str) -> None:
    bench.record(DECISION_RESPONSE, "d1", facts.decision("ALLOW"))
    payload = facts.signal(trigger_type=kind, details={"amount": "1999"})
    effects = bench.command(EXTERNAL_SIGNAL, payload["signal_id"], payload, principal, trace=facts.SOURCE)
    body = opened(bench)
    assert (body.trigger_type, body.source_ref_id) == (kind, source_ref + payload["signal_id"])
    assert body.observed_time == payload["observed_time"]
    assert body.trigger_payload == {"amount": "1999", "signal_kind": "DISPUTE"}
    reply = reply_of(effects)
    assert reply.status == 201
    assert msgspec.to_builtins(reply.body) == {"case_id": body.case_id, "case_trigger_id": body.case_trigger_id}
    assert bench.sent[0].trace_id == trace_id(facts.SOURCE)


def test_everything_about_one_event_is_one_case(bench: Bench) -> None:
    bench.record(DECISION_RESPONSE, "d1", facts.decision("BLOCK"))
    bench.record(ACTION_OUTCOME, "o1", facts.outcome("FAILED"))
    bench.record(CORRIDOR_ANOMALY, "x1", facts.anomaly())
    bench.command(EXTERNAL_SIGNAL, "s1", facts.signal("s1"), OUTSIDE)
    bench.command(EXTERNAL_SIGNAL, "s2", facts.signal("s2"), OUTSIDE)
    assert {row.case_id for row in bench.rows(PUBLISHED)} == {facts.case_id()}
    assert len({row.case_trigger_id for row in bench.rows(PUBLISHED)}) == len(bench.sent) == 5


def test_a_signal_may_be_as_large_as_its_contract(bench: Bench) -> None:
    payload = facts.signal(details={f"k{number}": "v" for number in range(MAX_DETAILS)})
    bench.command(EXTERNAL_SIGNAL, payload["signal_id"], payload, OUTSIDE)
    assert len(opened(bench).trigger_payload) == 32


UNLAWFUL: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({"trigger_type": "DECISION_ESCALATION"}, OUTSIDE, ("trigger_type", "DECISION_ESCALATION", "EXTERNAL_SIGNAL")),
    ({"trigger_type": "ANOMALY"}, PERSON, ("trigger_type", "ANOMALY")),
    ({"trigger_type": "MANUAL_ASSERTION"}, OUTSIDE, ("trigger_type", "MANUAL_ASSERTION", OUTSIDE)),
    (
        {"case_subject_key": {"platform_run_id": RUN, "event_class": "rtdl_decision", "event_id": "1"}},
        OUTSIDE,
        ("case_subject_key.event_class", "rtdl_decision", "traffic_fraud"),
    ),
    ({"pins": {**PINS, "platform_run_id": OTHER_RUN}}, OUTSIDE, ("case_subject_key.platform_run_id", RUN, OTHER_RUN)),
    ({"details": {f"k{number}": "v" for number in range(MAX_DETAILS + 1)}}, OUTSIDE, ("details", "32", "31")),
    ({"details": {"signal_kind": "other"}}, OUTSIDE, ("details", "signal_kind")),
    ({"observed_time": "2026-02-30T00:00:00.000000Z"}, OUTSIDE, ("observed_time", "2026-02-30T00:00:00.000000Z")),
]


@pytest.mark.parametrize(("changes", "principal", "named"), UNLAWFUL)
def test_an_unlawful_signal_is_refused_by_field_and_value(
    bench: Bench, changes: dict[str, Any], principal: str, named: tuple[str, ...]
) -> None:
    payload = facts.signal(**changes)
    reason = refusal(msgspec.convert(payload, ExternalSignal), principal)
    assert reason is not None
    assert all(word in reason for word in named), reason
    with pytest.raises(ValueError):
        bench.command(EXTERNAL_SIGNAL, payload["signal_id"], payload, principal)
    assert bench.rows(PUBLISHED) == []


def test_what_the_world_sends_is_lawful(bench: Bench) -> None:
    said = WorldSignal(SignalKind.CHARGEBACK, "chargeback-1", Identity(RUN, "traffic_fraud", facts.SOURCE), "flow-1", 0, 0)
    payload = {
        "signal_id": said.external_ref,
        "signal_kind": said.kind.value,
        "case_subject_key": {"platform_run_id": RUN, "event_class": said.about.event_class, "event_id": said.about.event_id},
        "pins": PINS,
        "observed_time": INSTANT,
        "external_ref": said.external_ref,
    }
    bench.command(EXTERNAL_SIGNAL, said.external_ref, payload, OUTSIDE)
    assert opened(bench).trigger_payload == {"signal_kind": "CHARGEBACK"}

"""One audit record per decision, whatever came when; what is missing is named; conflicts are recorded (domain.md 7, C10)."""

import hashlib
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_log_audit.app import build
from decision_log_audit.policy import CONTENT, POINTER_RECIPE
from decision_log_audit.store import AUDIT_RECORDS, CHAINS
from laws import ids
from laws.canonical import canonical_json
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from laws.contracts.audit import AuditRecord, ChainStatus
from laws.reasons import Reason
from spine.process import bundle_id
from spine.service import Anomaly, Effect
from tests.services import facts
from tests.services.bench import PINS, Bench, settings, trace_id
from tests.services.fake_state import OTHER_RUN, RUN

ROLES = ("decision", "intent", "outcome")
MISSING = {"decision": "MISSING_DECISION", "intent": "MISSING_INTENT_LINK", "outcome": "MISSING_OUTCOME_LINK"}


def source(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def send(bench: Bench, role: str, number: int = 0, event_id: str = "", trace: str = "") -> tuple[Effect, ...]:
    """One event of the chain of source event `number`; it carries that event's trace unless told otherwise."""
    about = source(number)
    payload = {"decision": facts.decision, "intent": facts.intent, "outcome": facts.outcome}[role](source=about)
    event_type = {"decision": DECISION_RESPONSE, "intent": ACTION_INTENT, "outcome": ACTION_OUTCOME}[role]
    return bench.record(event_type, event_id or f"{role}-{number}", payload, trace=trace or about)


@pytest.mark.parametrize("order", list(permutations(ROLES)))
def test_any_order_of_arrival_gives_the_same_record(order: tuple[str, ...]) -> None:
    bench = Bench(build(settings()))
    for count, role in enumerate(order, 1):
        send(bench, role)
        (chain,) = bench.rows(CHAINS)
        left = [MISSING[other] for other in ROLES if other not in order[:count]]
        assert chain.unresolved_reasons == ",".join(left)
        assert chain.chain_status == ("UNRESOLVED" if left else "RESOLVED")
        assert (chain.decision is not None) == (chain.cause is not None) == (bool(left) and "decision" in order[:count])
        assert len(bench.rows(AUDIT_RECORDS)) == len(bench.sent) == (0 if left else 1)
    (row,) = bench.rows(AUDIT_RECORDS)
    record = msgspec.json.decode(row.record, type=AuditRecord)
    decision_id = facts.decision_id(source(0))
    assert row.audit_id == record.audit_id == ids.audit_id(RUN, decision_id)
    assert record.decision_event.event_id == "decision-0"
    assert [ref.event_id for ref in record.action_intents] == ["intent-0"]
    assert [ref.event_id for ref in record.action_outcomes] == ["outcome-0"]
    assert record.decision_event.origin_offset.offset == str(order.index("decision") + 1)
    assert msgspec.to_builtins(record.pins) == PINS
    assert row.source_event_id == source(0)
    assert row.record == canonical_json(msgspec.json.decode(row.record))
    assert row.record_digest == hashlib.sha256(row.record).hexdigest()


@pytest.mark.parametrize("order", list(permutations(ROLES)))
def test_the_pointer_descends_from_the_decision_whichever_event_came_last(order: tuple[str, ...]) -> None:
    bench = Bench(build(settings()))
    for role in order:
        trace = source(0) if role == "decision" else f"another trace of {role}"
        send(bench, role, trace=trace)
    (pointer,) = bench.sent
    (row,) = bench.rows(AUDIT_RECORDS)
    assert pointer.topic == "fp.bus.audit.v1"
    assert pointer.event_id == ids.hex64(POINTER_RECIPE, {"audit_id": row.audit_id})
    assert pointer.parent_event_id == "decision-0"
    assert pointer.trace_id == trace_id(source(0))
    assert pointer.body.record_digest == row.record_digest
    assert pointer.body.chain_status is ChainStatus.RESOLVED
    assert pointer.body.decision_ref.offset == str(order.index("decision") + 1)


@given(st.permutations([(role, number) for number in range(3) for role in ROLES]), st.integers(0, 9))
def test_interleaved_decisions_never_mix(order: list[tuple[str, int]], cut: int) -> None:
    bench = Bench(build(settings()))
    for role, number in order[:cut]:
        send(bench, role, number)
    seen = {number: {role for role, other in order[:cut] if other == number} for number in range(3)}
    complete = {facts.decision_id(source(number)) for number, roles in seen.items() if roles == set(ROLES)}
    assert {row.decision_id for row in bench.rows(AUDIT_RECORDS)} == complete
    assert {published.body.decision_id for published in bench.sent} == complete
    chains = {chain.decision_id: chain for chain in bench.rows(CHAINS)}
    for number, roles in seen.items():
        if roles:
            chain = chains[facts.decision_id(source(number))]
            assert chain.unresolved_reasons == ",".join(MISSING[role] for role in ROLES if role not in roles)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("complete", [False, True])
def test_a_second_event_for_a_place_is_an_anomaly_and_the_first_is_kept(role: str, complete: bool) -> None:
    bench = Bench(build(settings()))
    for sent in ROLES if complete else (role,):
        send(bench, sent)
    before = bench.rows(CHAINS) + bench.rows(AUDIT_RECORDS)
    (anomaly,) = send(bench, role, event_id="another")
    assert isinstance(anomaly, Anomaly)
    assert (
        anomaly.reason
        is {
            "decision": Reason.DECISION_LINK_CONFLICT,
            "intent": Reason.INTENT_LINK_CONFLICT,
            "outcome": Reason.OUTCOME_LINK_CONFLICT,
        }[role]
    )
    assert anomaly.subject.event_id == "another"
    assert anomaly.details == {"decision_id": facts.decision_id(source(0)), "kept_event_id": f"{role}-0"}
    assert bench.rows(CHAINS) + bench.rows(AUDIT_RECORDS) == before


def test_an_event_whose_payload_is_of_another_run_is_refused_by_field_and_value() -> None:
    bench = Bench(build(settings()))
    other = {**PINS, "platform_run_id": OTHER_RUN}
    with pytest.raises(ValueError, match=f"pins.platform_run_id={OTHER_RUN} is not the run of the event, {RUN}"):
        bench.record(ACTION_INTENT, "intent-0", facts.intent(pins=other))
    assert bench.rows(CHAINS) == []


def test_the_bundle_id_is_the_digest_of_what_decides() -> None:
    assert bundle_id(build(settings())) == hashlib.sha256(canonical_json(CONTENT)).hexdigest()

"""One case per subject, an append-only timeline, the label handshake with each answer (domain.md 8.3 to 8.5, C11)."""

from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from case_management.app import build
from case_management.policy import LABEL_SUBMIT, refusal, status_of
from case_management.store import CASES, LABEL_EMISSIONS, TIMELINE, LabelStatus
from label_store.app import build as build_label_store
from label_store.policy import refusal as refused_by_label_store
from laws import ids
from laws.canonical import canonical_json
from laws.catalogue import CASE_ASSERTION, CASE_TRIGGER, LABEL_ASSERTION
from laws.contracts.case import CaseAssertion
from laws.contracts.label import LabelAssertion
from laws.evidence import TimelineEventType
from laws.reasons import Reason
from spine.service import Answer, Attempt, Call
from spine.tables import Mode
from tests.services import facts
from tests.services.bench import INSTANT, PINS, Bench, reply_of, settings, trace_id

KINDS = ("DECISION_ESCALATION", "ACTION_FAILURE", "EXTERNAL_SIGNAL")


@pytest.fixture
def bench() -> Bench:
    return Bench(build(settings()))


def triggered(bench: Bench, kind: str = "DECISION_ESCALATION", **changes: Any) -> None:
    payload = facts.trigger(kind, f"{kind}:1", **changes)
    bench.record(CASE_TRIGGER, payload["case_trigger_id"], payload, trace=facts.SOURCE)


def asserted(bench: Bench, ref: str = "a1", **changes: Any) -> Call:
    """Assert a label about an open case; the call that hands it over."""
    effects = bench.command(CASE_ASSERTION, ref, facts.assertion(ref, **changes), facts.ANALYST, trace="another trace")
    (call,) = (effect for effect in effects if isinstance(effect, Call))
    return call


def answered(bench: Bench, call: Call, result: str, code: str | None = None, body: bytes = b"") -> None:
    (cause,) = (cause for made, cause in bench.calls if made is call)
    bench.answer(LABEL_SUBMIT, Answer(call.ref, result, call.request, (Attempt(result, code),), cause, body, code))


def types(bench: Bench) -> list[str]:
    return [entry.timeline_event_type.value for entry in bench.rows(TIMELINE)]


@pytest.mark.parametrize("order", list(permutations(KINDS)))
def test_triggers_of_one_subject_open_one_case_in_any_order(bench: Bench, order: tuple[str, ...]) -> None:
    times = {kind: f"2026-01-0{number}T00:00:00.000000Z" for number, kind in enumerate(KINDS, 1)}
    for kind in order:
        triggered(bench, kind, observed_time=times[kind])
    (case,) = bench.rows(CASES)
    assert (case.case_id, case.subject_event_id, case.trigger_count) == (facts.case_id(), facts.SOURCE, 3)
    assert (case.first_observed_time, case.last_observed_time) == (times[KINDS[0]], times[KINDS[2]])
    assert case.trigger_types == ",".join(sorted(KINDS))
    entries = bench.rows(TIMELINE)
    assert [entry.source_ref_id for entry in entries] == [f"{kind}:1" for kind in order]
    assert {entry.case_timeline_event_id for entry in entries} == {
        ids.case_timeline_event_id(facts.case_id(), "CASE_TRIGGERED", f"{kind}:1") for kind in KINDS
    }
    assert all(entry.payload == canonical_json(msgspec.json.decode(entry.payload)) for entry in entries)


def test_subjects_never_share_a_case(bench: Bench) -> None:
    triggered(bench, source="6" * 64)
    triggered(bench, source="7" * 64)
    assert len(bench.rows(CASES)) == 2


def test_the_case_keeps_the_cause_of_its_first_trigger(bench: Bench) -> None:
    triggered(bench, "DECISION_ESCALATION")
    (first,) = bench.rows(CASES)
    payload = facts.trigger("EXTERNAL_SIGNAL", "external:1")
    bench.record(CASE_TRIGGER, payload["case_trigger_id"], payload, trace="a trace of the outside")
    (case,) = bench.rows(CASES)
    assert case.cause == first.cause
    assert case.trigger_count == 2


def test_an_assertion_is_on_the_timeline_before_the_label_store_hears_of_it(bench: Bench) -> None:
    triggered(bench)
    effects = bench.command(CASE_ASSERTION, "a1", facts.assertion(), facts.ANALYST)
    assert types(bench) == ["CASE_TRIGGERED", "INVESTIGATOR_ASSERTION", "LABEL_PENDING"]
    (emission,) = bench.rows(LABEL_EMISSIONS)
    assert (emission.status, emission.attempts, emission.assertion_ref) == (LabelStatus.PENDING, 0, None)
    reply = reply_of(effects)
    assert reply.status == 202
    assert msgspec.to_builtins(reply.body) == {
        "case_timeline_event_id": emission.case_timeline_event_id,
        "label_assertion_id": emission.label_assertion_id,
    }


def test_the_label_that_is_handed_over_is_lawful_and_continues_the_trace_of_the_case(bench: Bench) -> None:
    triggered(bench)
    call = asserted(bench)
    ((_, cause),) = bench.calls
    assert cause.correlation.trace_id == trace_id(facts.SOURCE)
    label = msgspec.json.decode(call.request, type=LabelAssertion)
    assert call.ref == label.label_assertion_id
    assert call.request == canonical_json(msgspec.json.decode(call.request))
    assert label.case_timeline_event_id == bench.rows(TIMELINE)[1].case_timeline_event_id
    assert refused_by_label_store(label) is None
    label_store = Bench(build_label_store(settings()))
    label_store.command(LABEL_ASSERTION, call.ref, msgspec.json.decode(call.request), "SYSTEM::case_management", trace=facts.SOURCE)
    (published,) = label_store.sent
    assert published.trace_id == trace_id(facts.SOURCE)


@pytest.mark.parametrize("reason", ["ASSERTION_COMMITTED_NEW", "ASSERTION_REPLAY_MATCH"])
def test_a_label_is_accepted_only_with_the_reference_of_the_label_store(bench: Bench, reason: str) -> None:
    triggered(bench)
    call = asserted(bench)
    body = msgspec.json.encode({"assertion_ref": f"ls:{call.ref}", "reason": reason, "committed_at": INSTANT})
    answered(bench, call, "DONE", body=body)
    (emission,) = bench.rows(LABEL_EMISSIONS)
    assert (emission.status, emission.reason, emission.assertion_ref) == (LabelStatus.ACCEPTED, reason, f"ls:{call.ref}")
    assert emission.attempts == 1
    last = bench.rows(TIMELINE)[-1]
    assert last.timeline_event_type is TimelineEventType.LABEL_ACCEPTED
    assert msgspec.json.decode(last.payload) == {"label_assertion_id": call.ref, "assertion_ref": f"ls:{call.ref}", "reason": reason}


def test_an_acknowledgement_without_a_reference_is_none(bench: Bench) -> None:
    triggered(bench)
    call = asserted(bench)
    with pytest.raises(msgspec.ValidationError, match="assertion_ref"):
        answered(bench, call, "DONE", body=b"{}")
    assert bench.rows(LABEL_EMISSIONS)[0].status is LabelStatus.PENDING


@pytest.mark.parametrize(
    ("result", "code", "reason"),
    [
        ("REFUSED", "PAYLOAD_HASH_MISMATCH", "PAYLOAD_HASH_MISMATCH"),
        ("REFUSED", None, "REFUSED"),
        ("EXHAUSTED", "503", "RETRY_LIMIT_EXCEEDED"),
        ("UNCERTAIN", "TimeoutError", "RETRY_LIMIT_EXCEEDED"),
    ],
)
def test_every_other_answer_rejects_the_label_with_its_reason(bench: Bench, result: str, code: str | None, reason: str) -> None:
    triggered(bench)
    call = asserted(bench)
    answered(bench, call, result, code)
    (emission,) = bench.rows(LABEL_EMISSIONS)
    assert (emission.status, emission.reason, emission.assertion_ref) == (LabelStatus.REJECTED, reason, None)
    last = bench.rows(TIMELINE)[-1]
    assert last.timeline_event_type is TimelineEventType.LABEL_REJECTED
    assert msgspec.json.decode(last.payload) == {"label_assertion_id": call.ref, "reason": reason}


def test_a_person_may_correct_itself_by_a_new_assertion(bench: Bench) -> None:
    triggered(bench)
    first = asserted(bench, "a1")
    second = asserted(bench, "a2", label_value="LEGIT_CONFIRMED")
    assert first.ref != second.ref
    assert types(bench).count("LABEL_PENDING") == 2


@given(st.lists(st.sampled_from(["trigger", "assert", "answer"]), max_size=12))
def test_a_timeline_only_grows(steps: list[str]) -> None:
    bench = Bench(build(settings()))
    triggered(bench)
    number, open_calls = 0, list[Call]()
    for step in steps:
        before = bench.rows(TIMELINE)
        number += 1
        if step == "trigger":
            payload = facts.trigger("EXTERNAL_SIGNAL", f"external:{number}")
            bench.record(CASE_TRIGGER, payload["case_trigger_id"], payload)
        elif step == "assert":
            open_calls.append(asserted(bench, f"a{number}"))
        elif open_calls:
            answered(bench, open_calls.pop(), "REFUSED", "CONTRACT_INVALID")
        else:
            continue
        after = bench.rows(TIMELINE)
        assert after[: len(before)] == before
        assert len(after) > len(before)
    assert len(bench.rows(CASES)) == 1
    assert TIMELINE.mode is Mode.APPEND


T = TimelineEventType


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ([(T.CASE_TRIGGERED, "d")], "OPEN"),
        ([(T.CASE_TRIGGERED, "d"), (T.INVESTIGATOR_ASSERTION, "a"), (T.LABEL_PENDING, "1")], "LABEL_PENDING"),
        ([(T.LABEL_PENDING, "1"), (T.LABEL_ACCEPTED, "1")], "LABELLED"),
        ([(T.LABEL_PENDING, "1"), (T.LABEL_REJECTED, "1")], "LABEL_REJECTED"),
        ([(T.LABEL_PENDING, "1"), (T.LABEL_ACCEPTED, "1"), (T.LABEL_PENDING, "2")], "LABEL_PENDING"),
        ([(T.LABEL_PENDING, "1"), (T.LABEL_ACCEPTED, "1"), (T.LABEL_PENDING, "2"), (T.LABEL_REJECTED, "2")], "LABELLED"),
    ],
)
def test_the_status_is_read_off_the_timeline_in_whatever_order(entries: list[tuple[TimelineEventType, str]], status: str) -> None:
    assert {status_of(order) for order in permutations(entries)} == {status}


UNLAWFUL: list[tuple[dict[str, Any], str, int, Reason, tuple[str, ...]]] = [
    ({"source_type": "AUTO", "actor_id": None}, "SYSTEM::df", 403, Reason.UNAUTHORIZED, ("source_type", "AUTO")),
    ({"source_type": "SYSTEM", "actor_id": None}, "SYSTEM::df", 403, Reason.UNAUTHORIZED, ("source_type", "SYSTEM")),
    ({}, "EXTERNAL::card_scheme", 403, Reason.UNAUTHORIZED, ("source_type", "HUMAN", "EXTERNAL::card_scheme")),
    ({"source_type": "EXTERNAL", "actor_id": None}, facts.ANALYST, 403, Reason.UNAUTHORIZED, ("source_type", facts.ANALYST)),
    ({"actor_id": None}, facts.ANALYST, 400, Reason.ACTOR_MISSING, ("actor_id", facts.ANALYST)),
    ({"actor_id": "HUMAN::analyst-09"}, facts.ANALYST, 403, Reason.UNAUTHORIZED, ("actor_id", "HUMAN::analyst-09", facts.ANALYST)),
    (
        {"source_type": "EXTERNAL", "actor_id": facts.ANALYST},
        "EXTERNAL::card_scheme",
        403,
        Reason.UNAUTHORIZED,
        ("actor_id", facts.ANALYST, "EXTERNAL::card_scheme"),
    ),
    ({"label_value": "CHARGEBACK"}, facts.ANALYST, 400, Reason.CONTRACT_INVALID, ("label_value", "CHARGEBACK", "fraud_disposition")),
    ({"pins": {**PINS, "seed": "8"}}, facts.ANALYST, 400, Reason.CONTRACT_INVALID, ("pins.seed", "'8'", "'7'")),
    ({"observed_time": "2026-02-30T00:00:00.000000Z"}, facts.ANALYST, 400, Reason.CONTRACT_INVALID, ("day",)),
]


@pytest.mark.parametrize(("changes", "principal", "status", "reason", "named"), UNLAWFUL)
def test_an_unlawful_assertion_is_refused_by_field_and_value(
    bench: Bench, changes: dict[str, Any], principal: str, status: int, reason: Reason, named: tuple[str, ...]
) -> None:
    triggered(bench)
    payload = {name: value for name, value in facts.assertion(**changes).items() if value is not None}
    refused = refusal(msgspec.convert(payload, CaseAssertion), bench.rows(CASES)[0], principal)
    assert refused is not None
    assert (refused.status, refused.reason) == (status, reason)
    assert all(word in refused.detail for word in named), refused.detail
    with pytest.raises(ValueError):
        bench.command(CASE_ASSERTION, "a1", payload, principal)
    assert types(bench) == ["CASE_TRIGGERED"]


def test_an_assertion_about_an_unknown_case_has_no_effect(bench: Bench) -> None:
    refused = refusal(msgspec.convert(facts.assertion(), CaseAssertion), None, facts.ANALYST)
    assert refused is not None
    assert (refused.status, refused.reason) == (404, Reason.CASE_UNKNOWN)
    with pytest.raises(ValueError, match=f"case_id={facts.case_id()} is not known here"):
        bench.command(CASE_ASSERTION, "a1", facts.assertion(), facts.ANALYST)
    assert bench.rows(TIMELINE) == bench.rows(LABEL_EMISSIONS) == []


def test_the_outside_asserts_without_an_actor(bench: Bench) -> None:
    triggered(bench)
    payload = {name: value for name, value in facts.assertion().items() if name != "actor_id"}
    payload |= {"source_type": "EXTERNAL", "label_type": "chargeback_status", "label_value": "CHARGEBACK"}
    bench.command(CASE_ASSERTION, "a1", payload, "EXTERNAL::card_scheme")
    assert types(bench)[-1] == "LABEL_PENDING"

"""One case per subject, an append-only timeline, and the label handshake (domain.md 8.4, 8.5)."""

from typing import Any

import msgspec

from case_management.store import CASES, LABEL_EMISSIONS, TIMELINE, Case, LabelEmission, TimelineEntry
from laws import ids
from laws.canonical import canonical_json
from laws.contracts.case import CaseAssertion, CaseTrigger
from laws.contracts.label import LabelAssertion, LabelSubjectKey, label_semantic_hash
from laws.encode import canonical_struct
from laws.evidence import TimelineEventType
from laws.labels import check_label
from laws.reasons import Reason
from spine.service import Answer, Append, Call, Cause, Effect, Effects, Event, Put, Read, Reads, Reply, State

POLICY_REV = "cm.case.v0@r1"
LABEL_SUBMIT = "label.submit"

_CAUSE_ENCODER = msgspec.msgpack.Encoder()
_CAUSE = msgspec.msgpack.Decoder(Cause)
_LABEL = msgspec.json.Decoder(LabelAssertion)


class Acknowledged(msgspec.Struct, frozen=True):
    """What the label store says once a label is durable."""

    assertion_ref: str
    reason: str


_ACKNOWLEDGED = msgspec.json.Decoder(Acknowledged)


class Asserted(msgspec.Struct, frozen=True):
    """What the caller of an assertion is told: it is on the timeline; the label is pending."""

    case_timeline_event_id: str
    label_assertion_id: str


def on_trigger(event: Event[CaseTrigger], state: State) -> Effects:
    """Open one case per subject and append the trigger to its timeline (8.4)."""
    body = event.body
    subject = body.case_subject_key
    case = state.get(CASES, body.case_id)
    if case is None:
        opened = Case(
            case_id=body.case_id,
            platform_run_id=subject.platform_run_id,
            subject_event_class=subject.event_class,
            subject_event_id=subject.event_id,
            first_observed_time=body.observed_time,
            last_observed_time=body.observed_time,
            trigger_count=1,
            trigger_types=body.trigger_type.value,
            cause=_CAUSE_ENCODER.encode(event.cause),
        )
    else:
        opened = msgspec.structs.replace(
            case,
            first_observed_time=min(case.first_observed_time, body.observed_time),
            last_observed_time=max(case.last_observed_time, body.observed_time),
            trigger_count=case.trigger_count + 1,
            trigger_types=",".join(sorted({*case.trigger_types.split(","), body.trigger_type.value})),
        )
    payload = {
        "case_trigger_id": body.case_trigger_id,
        "trigger_type": body.trigger_type.value,
        "trigger_payload": body.trigger_payload,
        "evidence_refs": msgspec.to_builtins(body.evidence_refs),
    }
    entry = _entry(body.case_id, TimelineEventType.CASE_TRIGGERED, body.source_ref_id, body.observed_time, payload)
    return [Put(CASES, opened), Append(TIMELINE, entry)]


def trigger_reads(event: Event[CaseTrigger]) -> Reads:
    """The case of the subject."""
    yield Read(CASES, (event.body.case_id,))


def on_assertion(event: Event[CaseAssertion], state: State) -> Effects:
    """Put what an investigator or the outside asserts on the timeline, and hand the label to the label store (8.5).

    The boundary has checked that the case exists and who asserts. Raises ValueError for a value that the catalogue does not have.
    """
    body = event.body
    check_label(body.label_type, body.label_value)
    case = state.get(CASES, body.case_id)
    if case is None:
        raise ValueError(f"case_id={body.case_id} is not known here")
    asserted = _entry(
        body.case_id,
        TimelineEventType.INVESTIGATOR_ASSERTION,
        f"assertion:{body.assertion_ref}",
        body.observed_time,
        {
            "label_type": body.label_type.value,
            "label_value": body.label_value,
            "source_type": body.source_type.value,
            "actor_id": body.actor_id,
            "effective_time": body.effective_time,
        },
    )
    label = _label(body, case, asserted.case_timeline_event_id)
    pending = _entry(
        body.case_id,
        TimelineEventType.LABEL_PENDING,
        f"label:{label.label_assertion_id}",
        body.observed_time,
        {"label_assertion_id": label.label_assertion_id},
    )
    emission = LabelEmission(
        label.label_assertion_id, body.case_id, asserted.case_timeline_event_id, "PENDING", body.observed_time, 0, None, None
    )
    cause = _CAUSE.decode(case.cause)
    return [
        Append(TIMELINE, asserted, cause),
        Append(TIMELINE, pending, cause),
        Put(LABEL_EMISSIONS, emission, cause),
        Call(LABEL_SUBMIT, label.label_assertion_id, canonical_struct(label), cause),
        Reply(202, Asserted(asserted.case_timeline_event_id, label.label_assertion_id)),
    ]


def assertion_reads(event: Event[CaseAssertion]) -> Reads:
    """The case that the assertion is about."""
    yield Read(CASES, (event.body.case_id,))


def on_label_answer(answer: Answer, state: State) -> Effects:
    """ACCEPTED only after the label store's durable acknowledgement; anything else is a rejection with its reason (8.5)."""
    emission = state.get(LABEL_EMISSIONS, answer.ref)
    if emission is None:
        raise ValueError(f"label_assertion_id={answer.ref} has an answer but no emission")
    label = _LABEL.decode(answer.request)
    source = f"label:{answer.ref}"
    payload: dict[str, Any] = {"label_assertion_id": answer.ref}
    if answer.result == "DONE":
        acknowledged = _ACKNOWLEDGED.decode(answer.body)
        kind, status, reason = TimelineEventType.LABEL_ACCEPTED, "ACCEPTED", acknowledged.reason
        reference: str | None = acknowledged.assertion_ref
        payload |= {"assertion_ref": reference, "reason": reason}
    else:
        kind, status, reference = TimelineEventType.LABEL_REJECTED, "REJECTED", None
        reason = answer.code or answer.result if answer.result == "REFUSED" else Reason.RETRY_LIMIT_EXCEEDED.value
        payload |= {"reason": reason}
    ended = msgspec.structs.replace(emission, status=status, attempts=len(answer.attempts), reason=reason, assertion_ref=reference)
    effects: list[Effect] = [
        Put(LABEL_EMISSIONS, ended),
        Append(TIMELINE, _entry(emission.case_id, kind, source, label.observed_time, payload)),
    ]
    return effects


def label_answer_reads(answer: Answer) -> Reads:
    """The handshake that the answer ends."""
    yield Read(LABEL_EMISSIONS, (answer.ref,))


def _label(body: CaseAssertion, case: Case, timeline_event: str) -> LabelAssertion:
    subject = LabelSubjectKey(case.platform_run_id, case.subject_event_id)
    assertion_id = ids.label_assertion_id(timeline_event, subject.platform_run_id, subject.event_id, body.label_type.value)
    digest = label_semantic_hash(
        subject,
        body.label_type,
        body.label_value,
        body.effective_time,
        body.observed_time,
        body.source_type,
        body.actor_id,
        body.evidence_refs,
    )
    return LabelAssertion(
        label_assertion_id=assertion_id,
        case_timeline_event_id=timeline_event,
        label_subject_key=subject,
        pins=body.pins,
        label_type=body.label_type,
        label_value=body.label_value,
        effective_time=body.effective_time,
        observed_time=body.observed_time,
        source_type=body.source_type,
        evidence_refs=body.evidence_refs,
        payload_hash=digest,
        actor_id=body.actor_id,
    )


def _entry(case_id: str, kind: TimelineEventType, source_ref_id: str, observed_time: str, payload: dict[str, Any]) -> TimelineEntry:
    meaning = {"case_id": case_id, "type": kind.value, "source_ref_id": source_ref_id, "payload": payload}
    return TimelineEntry(
        case_timeline_event_id=ids.case_timeline_event_id(case_id, kind.value, source_ref_id),
        case_id=case_id,
        timeline_event_type=kind,
        source_ref_id=source_ref_id,
        observed_time=observed_time,
        payload=canonical_json(payload),
        payload_hash=ids.hex64("cm.timeline_payload_hash.v1", meaning),
    )

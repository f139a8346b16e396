"""One case per subject, an append-only timeline, and the label handshake (domain.md 8.4, 8.5)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from case_management.store import CASES, LABEL_EMISSIONS, TIMELINE, Case, LabelEmission, LabelStatus, TimelineEntry
from laws import ids
from laws.canonical import canonical_json
from laws.contracts.case import CaseAssertion, CaseTrigger
from laws.contracts.label import LabelAssertion, LabelSubjectKey, label_semantic_hash
from laws.encode import canonical_struct
from laws.evidence import TimelineEventType
from laws.labels import LABEL_VALUES, LabelType, SourceType, check_label
from laws.pins import PIN_FIELDS
from laws.reasons import Reason
from laws.times import parse_instant
from spine.service import Answer, Append, Call, Cause, Effect, Effects, Event, Put, Read, Reads, Reply, State

POLICY_REV = "cm.case.v0@r1"
LABEL_SUBMIT = "label.submit"

# Who may assert, and with which credential. AUTO and SYSTEM are not here: no label is the platform's own guess (8.8).
ASSERTERS = {SourceType.HUMAN: "HUMAN::", SourceType.EXTERNAL: "EXTERNAL::"}

# What decides here, as JSON: its digest is the bundle id of every output.
CONTENT: dict[str, Any] = {
    "policy_rev": POLICY_REV,
    "label_values": {kind.value: sorted(LABEL_VALUES[kind]) for kind in LabelType},
    "asserters": {source.value: prefix for source, prefix in ASSERTERS.items()},
}

_CAUSE_ENCODER = msgspec.msgpack.Encoder()
_CAUSE = msgspec.msgpack.Decoder(Cause)
_LABEL = msgspec.json.Decoder(LabelAssertion)


class Acknowledged(msgspec.Struct, frozen=True):
    """What the label store says once a label is durable."""

    assertion_ref: str
    reason: str


_ACKNOWLEDGED = msgspec.json.Decoder(Acknowledged)


class Refusal(NamedTuple):
    """Why an assertion is refused: the field, the value and what to do."""

    status: int
    reason: Reason
    detail: str


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


def refusal(assertion: CaseAssertion, case: Case | None, principal: str) -> Refusal | None:
    """Why this caller's assertion is not lawful, or None.

    The actor comes from the credential: a body that names another is not believed.
    """
    if case is None:
        return Refusal(404, Reason.CASE_UNKNOWN, f"case_id={assertion.case_id} is not known here (yet); send the same again later")
    prefix = ASSERTERS.get(assertion.source_type)
    if prefix is None:
        detail = f"source_type={assertion.source_type}: no label is the platform's own guess; send one of {sorted(ASSERTERS)}"
        return Refusal(403, Reason.UNAUTHORIZED, detail)
    if not principal.startswith(prefix):
        return Refusal(403, Reason.UNAUTHORIZED, f"source_type={assertion.source_type} needs a {prefix} credential, not {principal}")
    if assertion.actor_id is None and assertion.source_type is SourceType.HUMAN:
        return Refusal(400, Reason.ACTOR_MISSING, f"actor_id is missing: a person asserts as itself; send {principal}")
    if assertion.actor_id is not None and assertion.actor_id != principal:
        return Refusal(403, Reason.UNAUTHORIZED, f"actor_id={assertion.actor_id!r} is not the credential's {principal}")
    pins = _CAUSE.decode(case.cause).pins
    for name in PIN_FIELDS:
        if getattr(assertion.pins, name) != getattr(pins, name):
            detail = f"pins.{name}={getattr(assertion.pins, name)!r} is not {getattr(pins, name)!r}, which the case has"
            return Refusal(400, Reason.CONTRACT_INVALID, detail)
    try:
        check_label(assertion.label_type, assertion.label_value)
        parse_instant(assertion.effective_time)
        parse_instant(assertion.observed_time)
    except ValueError as error:
        return Refusal(400, Reason.CONTRACT_INVALID, str(error))
    return None


def on_assertion(event: Event[CaseAssertion], state: State) -> Effects:
    """Put what an investigator or the outside asserts on the timeline, and hand the label to the label store (8.5).

    The boundary has refused what is not lawful before the command had an identity; what is left raises ValueError, and is parked.
    """
    body = event.body
    case = state.get(CASES, body.case_id)
    refused = refusal(body, case, event.producer or "")
    if refused is not None or case is None:
        raise ValueError(refused.detail if refused else f"case_id={body.case_id} is not known here")
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
        label.label_assertion_id, body.case_id, asserted.case_timeline_event_id, LabelStatus.PENDING, body.observed_time, 0, None, None
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
    """ACCEPTED only after the label store's durable acknowledgement; anything else is a rejection with its reason (8.5).

    RETRY_LIMIT_EXCEEDED says that no acknowledgement came within the tries, not that the label store has nothing.
    """
    emission = state.get(LABEL_EMISSIONS, answer.ref)
    if emission is None:
        raise ValueError(f"label_assertion_id={answer.ref} has an answer but no emission")
    label = _LABEL.decode(answer.request)
    source = f"label:{answer.ref}"
    payload: dict[str, Any] = {"label_assertion_id": answer.ref}
    if answer.result == "DONE":
        acknowledged = _ACKNOWLEDGED.decode(answer.body)
        kind, status, reason = TimelineEventType.LABEL_ACCEPTED, LabelStatus.ACCEPTED, acknowledged.reason
        reference: str | None = acknowledged.assertion_ref
        payload |= {"assertion_ref": reference, "reason": reason}
    else:
        kind, status, reference = TimelineEventType.LABEL_REJECTED, LabelStatus.REJECTED, None
        reason = answer.code or answer.result if answer.result == "REFUSED" else Reason.RETRY_LIMIT_EXCEEDED.value
        payload |= {"reason": reason}
    ended = msgspec.structs.replace(emission, status=status, attempts=len(answer.attempts), reason=reason, assertion_ref=reference)
    effects: list[Effect] = [
        Put(LABEL_EMISSIONS, ended),
        Append(TIMELINE, _entry(emission.case_id, kind, source, label.observed_time, payload)),
    ]
    return effects


def status_of(timeline: Iterable[tuple[TimelineEventType, str]]) -> str:
    """A case's status, read off the types and source_ref_ids of its timeline in whatever order (8.4): it has no status of its own."""
    entries = set(timeline)
    of = {kind: {ref for found, ref in entries if found is kind} for kind in TimelineEventType}
    accepted, rejected = of[TimelineEventType.LABEL_ACCEPTED], of[TimelineEventType.LABEL_REJECTED]
    if of[TimelineEventType.LABEL_PENDING] - accepted - rejected:
        return "LABEL_PENDING"
    if accepted:
        return "LABELLED"
    return "LABEL_REJECTED" if rejected else "OPEN"


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

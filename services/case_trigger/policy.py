"""When a person must look: escalations, failed actions, anomalies, and what the outside says (domain.md 8.1)."""

from typing import Any

import msgspec

from case_trigger.store import PUBLISHED, PublishedTrigger
from laws import ids
from laws.actions import ESCALATING_KINDS, OutcomeStatus
from laws.catalogue import CASE_TRIGGER
from laws.contracts.action import ActionOutcome
from laws.contracts.audit import CorridorAnomaly, SubjectKey
from laws.contracts.case import CaseTrigger, ExternalSignal
from laws.contracts.decision import DecisionResponse
from laws.event_classes import EventClass
from laws.evidence import REQUIRED_EVIDENCE, EvidenceRef, EvidenceRefType, TriggerType
from laws.pins import ContextPins
from laws.times import parse_instant
from spine.service import Append, Effect, Effects, Emit, Event, Reply, State

POLICY_REV = "case_trigger.policy.v0@r1"

# A label or an escalation is about the source traffic event, never about the decision (domain.md 8.3).
SUBJECT_CLASS = EventClass.TRAFFIC_FRAUD.value

# What comes by the command; the other types are for the platform's own judgement of its own events.
SIGNAL_TYPES = (TriggerType.EXTERNAL_SIGNAL, TriggerType.MANUAL_ASSERTION)
FAILED_STATUSES = frozenset({OutcomeStatus.DENIED, OutcomeStatus.FAILED})

# A trigger's payload holds 32 entries (laws.contracts.case.CaseTrigger): the signal's details and its kind.
_KIND = "signal_kind"
MAX_DETAILS = 31

# What decides here, as JSON: its digest is the bundle id of every output.
CONTENT: dict[str, Any] = {
    "policy_rev": POLICY_REV,
    "subject_class": SUBJECT_CLASS,
    "escalating_kinds": sorted(ESCALATING_KINDS),
    "failed_statuses": sorted(FAILED_STATUSES),
    "signal_types": sorted(SIGNAL_TYPES),
    "required_evidence": {kind.value: sorted(refs) for kind, refs in REQUIRED_EVIDENCE.items()},
}


class Triggered(msgspec.Struct, frozen=True):
    """What the caller of a signal is told."""

    case_id: str
    case_trigger_id: str


def on_decision(event: Event[DecisionResponse], state: State) -> Effects:
    """An escalating decision opens a case; an ALLOW or a STEP_UP never does by itself."""
    body = event.body
    if body.decision.action_kind not in ESCALATING_KINDS:
        return ()
    subject = SubjectKey(body.pins.platform_run_id, SUBJECT_CLASS, body.source_event.event_id)
    evidence = (
        EvidenceRef(EvidenceRefType.DECISION, body.decision_id),
        EvidenceRef(EvidenceRefType.DLA_AUDIT_RECORD, ids.audit_id(body.pins.platform_run_id, body.decision_id)),
    )
    details = {"action_kind": body.decision.action_kind.value, "rules": ",".join(hit.rule_id for hit in body.decision.rule_hits)}
    return _trigger(event.ts_utc, TriggerType.DECISION_ESCALATION, f"decision:{body.decision_id}", subject, body.pins, evidence, details)


def on_outcome(event: Event[ActionOutcome], state: State) -> Effects:
    """An effect that was denied or failed wants a person."""
    body = event.body
    if body.status not in FAILED_STATUSES:
        return ()
    subject = SubjectKey(body.pins.platform_run_id, SUBJECT_CLASS, body.source_event_id)
    evidence = (
        EvidenceRef(EvidenceRefType.ACTION_OUTCOME, body.outcome_id),
        EvidenceRef(EvidenceRefType.DLA_AUDIT_RECORD, ids.audit_id(body.pins.platform_run_id, body.decision_id)),
    )
    details = {"status": body.status.value, "reason": body.reason.value if body.reason else ""}
    return _trigger(event.ts_utc, TriggerType.ACTION_FAILURE, f"action_outcome:{body.outcome_id}", subject, body.pins, evidence, details)


def on_anomaly(event: Event[CorridorAnomaly], state: State) -> Effects:
    """An anomaly of a traffic event is about its subject; anomalies of other classes have no source event to open a case about.

    Raises ValueError for one whose envelope carries fewer than six pins: no lawful trigger could be made of it, so it is parked.
    """
    body = event.body
    if body.subject.event_class != SUBJECT_CLASS:
        return ()
    place = body.other_ref or body.first_ref
    ref = f"{place.topic}/{place.partition}/{place.offset}" if place else f"{body.observer}:{body.other_payload_hash}"
    evidence = (EvidenceRef(EvidenceRefType.EB_ORIGIN_OFFSET, ref),)
    details = {"reason_code": body.reason_code.value, "observer": body.observer}
    source = f"audit:{event.identity.event_id}"
    return _trigger(event.ts_utc, TriggerType.ANOMALY, source, body.subject, event.cause.pins, evidence, details)


def refusal(signal: ExternalSignal, principal: str) -> str | None:
    """Why a signal of this caller is not lawful (field, value, what to do), or None."""
    if signal.trigger_type not in SIGNAL_TYPES:
        return f"trigger_type={signal.trigger_type}: the platform judges its own events; send one of {sorted(SIGNAL_TYPES)}"
    if signal.trigger_type is TriggerType.MANUAL_ASSERTION and not principal.startswith("HUMAN::"):
        return f"trigger_type={signal.trigger_type} is for people, not for {principal}: send EXTERNAL_SIGNAL"
    subject = signal.case_subject_key
    if subject.event_class != SUBJECT_CLASS:
        return f"case_subject_key.event_class={subject.event_class!r}: a case is about a source event of class {SUBJECT_CLASS}"
    if subject.platform_run_id != signal.pins.platform_run_id:
        return f"case_subject_key.platform_run_id={subject.platform_run_id} is not pins.platform_run_id={signal.pins.platform_run_id}"
    if len(signal.details) > MAX_DETAILS or _KIND in signal.details:
        return f"details has {len(signal.details)} entries: send at most {MAX_DETAILS}, none of them named {_KIND}"
    try:
        parse_instant(signal.observed_time)
    except ValueError as error:
        return f"observed_time={signal.observed_time}: {error}"
    return None


def on_signal(event: Event[ExternalSignal], state: State) -> Effects:
    """The outside, or a person, says something about a source event. The boundary has refused what is not lawful; what is left raises."""
    body = event.body
    if reason := refusal(body, event.producer or ""):
        raise ValueError(reason)
    manual = body.trigger_type is TriggerType.MANUAL_ASSERTION
    evidence = (EvidenceRef(EvidenceRefType.EXTERNAL_REF, body.external_ref or body.signal_id),)
    details = {**body.details, _KIND: body.signal_kind}
    source = f"{'manual' if manual else 'external'}:{body.signal_id}"
    effects = _trigger(body.observed_time, body.trigger_type, source, body.case_subject_key, body.pins, evidence, details)
    case_id = _case_id(body.case_subject_key)
    return [*effects, Reply(201, Triggered(case_id, ids.case_trigger_id(case_id, body.trigger_type.value, source)))]


def _case_id(subject: SubjectKey) -> str:
    return ids.case_id(subject.platform_run_id, subject.event_class, subject.event_id)


def _trigger(
    observed_time: str,
    trigger_type: TriggerType,
    source_ref_id: str,
    subject: SubjectKey,
    pins: ContextPins,
    evidence: tuple[EvidenceRef, ...],
    details: dict[str, str],
) -> list[Effect]:
    case_id = _case_id(subject)
    trigger_id = ids.case_trigger_id(case_id, trigger_type.value, source_ref_id)
    meaning = {
        "case_id": case_id,
        "trigger_type": trigger_type.value,
        "source_ref_id": source_ref_id,
        "observed_time": observed_time,
        "evidence_refs": [[ref.ref_type.value, ref.ref_id, ref.ref_scope] for ref in sorted(evidence)],
        "trigger_payload": details,
    }
    body = CaseTrigger(
        case_id=case_id,
        case_trigger_id=trigger_id,
        trigger_type=trigger_type,
        source_ref_id=source_ref_id,
        case_subject_key=subject,
        pins=pins,
        observed_time=observed_time,
        payload_hash=ids.hex64("cm.case_trigger_payload_hash.v1", meaning),
        evidence_refs=evidence,
        trigger_payload=details,
    )
    row = PublishedTrigger(trigger_id, case_id, subject.platform_run_id, trigger_type.value, source_ref_id, subject.event_id)
    return [Append(PUBLISHED, row), Emit(CASE_TRIGGER, trigger_id, body)]

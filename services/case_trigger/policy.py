"""When a person must look: escalations, failed actions, anomalies, and what the outside says (domain.md 8.1)."""

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
from laws.evidence import EvidenceRef, EvidenceRefType, TriggerType
from laws.pins import ContextPins
from spine.service import Append, Effect, Effects, Emit, Event, Reply, State

POLICY_REV = "case_trigger.policy.v0@r1"

# A label or an escalation is about the source traffic event, never about the decision (domain.md 8.3).
SUBJECT_CLASS = EventClass.TRAFFIC_FRAUD.value


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
    if body.status is OutcomeStatus.EXECUTED:
        return ()
    subject = SubjectKey(body.pins.platform_run_id, SUBJECT_CLASS, body.source_event_id)
    evidence = (
        EvidenceRef(EvidenceRefType.ACTION_OUTCOME, body.outcome_id),
        EvidenceRef(EvidenceRefType.DLA_AUDIT_RECORD, ids.audit_id(body.pins.platform_run_id, body.decision_id)),
    )
    details = {"status": body.status.value, "reason": body.reason.value if body.reason else ""}
    return _trigger(event.ts_utc, TriggerType.ACTION_FAILURE, f"action_outcome:{body.outcome_id}", subject, body.pins, evidence, details)


def on_anomaly(event: Event[CorridorAnomaly], state: State) -> Effects:
    """An anomaly of a traffic event is about its subject; anomalies of other classes have no source event to open a case about."""
    body = event.body
    if body.subject.event_class != SUBJECT_CLASS:
        return ()
    place = body.other_ref or body.first_ref
    ref = f"{place.topic}/{place.partition}/{place.offset}" if place else f"{body.observer}:{body.other_payload_hash}"
    evidence = (EvidenceRef(EvidenceRefType.EB_ORIGIN_OFFSET, ref),)
    details = {"reason_code": body.reason_code.value, "observer": body.observer}
    source = f"audit:{event.identity.event_id}"
    return _trigger(event.ts_utc, TriggerType.ANOMALY, source, body.subject, event.cause.pins, evidence, details)


def on_signal(event: Event[ExternalSignal], state: State) -> Effects:
    """The outside, or a person, says something about a source event."""
    body = event.body
    manual = body.trigger_type is TriggerType.MANUAL_ASSERTION
    evidence = (EvidenceRef(EvidenceRefType.EXTERNAL_REF, body.external_ref or body.signal_id),)
    details = {**body.details, "signal_kind": body.signal_kind}
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

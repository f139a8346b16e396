"""Evidence by reference: what a record points at instead of copying it (domain.md 8.1, 8.2)."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta


class EvidenceRefType(StrEnum):
    """What a reference leads to."""

    DLA_AUDIT_RECORD = "DLA_AUDIT_RECORD"
    DECISION = "DECISION"
    ACTION_OUTCOME = "ACTION_OUTCOME"
    EB_ORIGIN_OFFSET = "EB_ORIGIN_OFFSET"
    CASE_EVENT = "CASE_EVENT"
    EXTERNAL_REF = "EXTERNAL_REF"


class EvidenceRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, order=True):
    """A reference; ordered by (ref_type, ref_id, ref_scope), the order in which it is hashed."""

    ref_type: EvidenceRefType
    ref_id: Annotated[str, Meta(min_length=1, max_length=2048)]
    ref_scope: Annotated[str, Meta(max_length=256)] = ""


class TriggerType(StrEnum):
    """Why a case trigger exists (domain.md 8.1)."""

    DECISION_ESCALATION = "DECISION_ESCALATION"
    ACTION_FAILURE = "ACTION_FAILURE"
    ANOMALY = "ANOMALY"
    EXTERNAL_SIGNAL = "EXTERNAL_SIGNAL"
    MANUAL_ASSERTION = "MANUAL_ASSERTION"


REQUIRED_EVIDENCE = {
    TriggerType.DECISION_ESCALATION: frozenset({EvidenceRefType.DECISION, EvidenceRefType.DLA_AUDIT_RECORD}),
    TriggerType.ACTION_FAILURE: frozenset({EvidenceRefType.ACTION_OUTCOME, EvidenceRefType.DLA_AUDIT_RECORD}),
    TriggerType.ANOMALY: frozenset({EvidenceRefType.EB_ORIGIN_OFFSET}),
    TriggerType.EXTERNAL_SIGNAL: frozenset({EvidenceRefType.EXTERNAL_REF}),
    TriggerType.MANUAL_ASSERTION: frozenset({EvidenceRefType.EXTERNAL_REF}),
}


class TimelineEventType(StrEnum):
    """Kinds of entries of a case's append-only timeline (domain.md 8.2)."""

    CASE_TRIGGERED = "CASE_TRIGGERED"
    EVIDENCE_ATTACHED = "EVIDENCE_ATTACHED"
    ACTION_INTENT_REQUESTED = "ACTION_INTENT_REQUESTED"
    ACTION_OUTCOME_ATTACHED = "ACTION_OUTCOME_ATTACHED"
    LABEL_PENDING = "LABEL_PENDING"
    LABEL_ACCEPTED = "LABEL_ACCEPTED"
    LABEL_REJECTED = "LABEL_REJECTED"
    INVESTIGATOR_ASSERTION = "INVESTIGATOR_ASSERTION"

"""Label assertions (domain.md 8.6)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from laws.evidence import EvidenceRef
from laws.fields import EventId, Hex32, Hex64, Instant, Label, Name, PlatformRunId
from laws.ids import hex64
from laws.labels import LabelType, SourceType
from laws.pins import ContextPins


class LabelSubjectKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is labelled: a source event of one run."""

    platform_run_id: PlatformRunId
    event_id: EventId


class LabelAssertion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """label_assertion: the command that LS takes and, once durable, the event that it publishes."""

    label_assertion_id: Hex32
    case_timeline_event_id: Hex32
    label_subject_key: LabelSubjectKey
    pins: ContextPins
    label_type: LabelType
    label_value: Label
    effective_time: Instant
    observed_time: Instant
    source_type: SourceType
    evidence_refs: Annotated[tuple[EvidenceRef, ...], Meta(min_length=1)]
    payload_hash: Hex64
    actor_id: Label | None = None
    label_payload: Annotated[dict[str, Name], Meta(max_length=32)] = {}


def label_semantic_hash(
    subject: LabelSubjectKey,
    label_type: LabelType,
    label_value: str,
    effective_time: str,
    observed_time: str,
    source_type: SourceType,
    actor_id: str | None,
    evidence_refs: tuple[EvidenceRef, ...],
) -> str:
    """The assertion's own payload_hash (hex64): its meaning, evidence in sorted order (domain.md, appendix A, Case & labels)."""
    payload = {
        "label_subject_key": {"platform_run_id": subject.platform_run_id, "event_id": subject.event_id},
        "label_type": label_type.value,
        "label_value": label_value,
        "effective_time": effective_time,
        "observed_time": observed_time,
        "source_type": source_type.value,
        "actor_id": actor_id if source_type is SourceType.HUMAN else None,
        "evidence_refs": [[ref.ref_type.value, ref.ref_id, ref.ref_scope] for ref in sorted(evidence_refs)],
    }
    return hex64("ls.label_payload_hash.v1", payload)

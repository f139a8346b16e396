"""Case triggers, external signals and case assertions (domain.md 8)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from laws.contracts.audit import SubjectKey
from laws.evidence import EvidenceRef, TriggerType
from laws.fields import EventId, Hex32, Hex64, Instant, Label, Name
from laws.labels import LabelType, SourceType
from laws.pins import ContextPins

SourceRefId = Annotated[str, Meta(min_length=1, max_length=512)]


class CaseTrigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """case_trigger: something that a person must look at, about one source event."""

    case_id: Hex32
    case_trigger_id: Hex32
    trigger_type: TriggerType
    source_ref_id: SourceRefId
    case_subject_key: SubjectKey
    pins: ContextPins
    observed_time: Instant
    payload_hash: Hex64
    evidence_refs: tuple[EvidenceRef, ...] = ()
    trigger_payload: Annotated[dict[str, str], Meta(max_length=32)] = {}


class ExternalSignal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """external_signal (command to CaseTrigger): the outside, or a person, says something about a source event."""

    signal_id: EventId
    signal_kind: Label
    case_subject_key: SubjectKey
    pins: ContextPins
    observed_time: Instant
    trigger_type: TriggerType = TriggerType.EXTERNAL_SIGNAL
    external_ref: Name | None = None
    details: Annotated[dict[str, str], Meta(max_length=32)] = {}


class CaseAssertion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """case_assertion (command to CM): an investigator, or the outside, asserts a label about the subject of a case."""

    assertion_ref: EventId
    case_id: Hex32
    label_type: LabelType
    label_value: Label
    effective_time: Instant
    observed_time: Instant
    source_type: SourceType
    pins: ContextPins
    evidence_refs: Annotated[tuple[EvidenceRef, ...], Meta(min_length=1)]
    actor_id: Label | None = None
    notes: Name | None = None

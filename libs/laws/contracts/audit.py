"""Audit records, their pointers, anomalies and quarantine facts (domain.md 7, 10.6; architecture.md, settled questions)."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from laws.contracts.decision import BundleRef, ContextRef
from laws.coordinates import OffsetBasis, OriginOffset
from laws.degrade import DegradePosture
from laws.fields import EventId, Hex32, Hex64, Label, Name, PlatformRunId
from laws.pins import ContextPins
from laws.reasons import Reason


class ChainStatus(StrEnum):
    """Whether decision, intent and outcome of one decision are all known."""

    UNRESOLVED = "UNRESOLVED"
    RESOLVED = "RESOLVED"


class EventRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record by reference: its id, where it stands and the hash of its payload."""

    event_id: EventId
    event_type: Name
    origin_offset: OriginOffset
    payload_hash: Hex64


class AuditRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """audit_record: the evidence of one decision by reference. recorded_at_utc is a column of its row."""

    audit_id: Hex32
    decision_event: EventRef
    action_intents: tuple[EventRef, ...]
    action_outcomes: tuple[EventRef, ...]
    bundle_ref: BundleRef
    snapshot_hash: Hex64
    eb_offset_basis: OffsetBasis
    degrade_posture: DegradePosture
    policy_rev: Label
    run_config_digest: Hex64
    pins: ContextPins
    context_refs: tuple[ContextRef, ...]
    snapshot_ref: Name | None = None
    graph_version: Hex32 | None = None
    supersedes_audit_id: Hex32 | None = None


class AuditPointer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """audit_pointer on fp.bus.audit.v1: an audit record is complete; its digest and where its decision stands."""

    audit_id: Hex32
    decision_id: Hex32
    record_digest: Hex64
    chain_status: ChainStatus
    decision_ref: OriginOffset
    pins: ContextPins


class SubjectKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject: the identity of the source event (domain.md 8.2, case_subject_key)."""

    platform_run_id: PlatformRunId
    event_class: Label
    event_id: EventId


class QuarantineSpike(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ig.quarantine.spike: the edge refused so many items within so many seconds (domain.md 2.15); emitted_at_utc says when."""

    policy_id: Label
    quarantine_count: Annotated[int, Meta(ge=1, le=2**53)]
    window_seconds: Annotated[int, Meta(ge=1, le=86_400)]


class CorridorAnomaly(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """corridor_anomaly: the same identity came with another payload hash. Both hashes and both places are the evidence."""

    reason_code: Reason
    subject: SubjectKey
    observer: Label
    first_payload_hash: Hex64
    other_payload_hash: Hex64
    first_ref: OriginOffset | None = None
    other_ref: OriginOffset | None = None
    details: Annotated[dict[str, str], Meta(max_length=16)] = {}

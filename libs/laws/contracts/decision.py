"""decision_response (domain.md 5.5). decided_at is the envelope's emitted_at_utc (architecture.md, settled questions)."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from laws.actions import ActionKind
from laws.coordinates import OffsetBasis, OriginOffset
from laws.degrade import DegradePosture
from laws.fields import EventId, Hex32, Hex64, Instant, Label, Name
from laws.pins import ContextPins

Count = Annotated[int, Meta(ge=0, le=2**53)]


class ContextStatus(StrEnum):
    """Outcome of waiting for the context of a trigger (domain.md 5.2)."""

    CONTEXT_READY = "CONTEXT_READY"
    CONTEXT_MISSING = "CONTEXT_MISSING"


class ContextRole(StrEnum):
    """Roles that context records play for a decision (domain.md 3.4)."""

    ARRIVAL_EVENTS = "arrival_events"
    ARRIVAL_ENTITIES = "arrival_entities"
    FLOW_ANCHOR = "flow_anchor"


class BundleRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bundle decided; its id is the digest of its content."""

    bundle_id: Hex64
    bundle_version: Label
    registry_ref: Name


class SourceEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trigger."""

    event_id: EventId
    event_type: Name
    ts_utc: Instant
    origin_offset: OriginOffset


class ContextRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record that the decision saw beside its trigger."""

    event_id: EventId
    event_type: Name
    role: ContextRole
    origin_offset: OriginOffset


class RuleHit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule that fired, with the values that made it fire (as text, so that they are exact and comparable)."""

    rule_id: Label
    action_kind: ActionKind
    values: dict[str, str]


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was decided and why."""

    action_kind: ActionKind
    context_status: ContextStatus
    registry_outcome: Label
    context_evidence_digest: Hex64
    stage: Label
    rule_hits: tuple[RuleHit, ...]
    missing_roles: tuple[ContextRole, ...] = ()


class DecisionResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One decision of one trigger."""

    decision_id: Hex32
    decision_kind: Literal["fraud_decision_v0"]
    bundle_ref: BundleRef
    snapshot_hash: Hex64
    eb_offset_basis: OffsetBasis
    degrade_posture: DegradePosture
    pins: ContextPins
    run_config_digest: Hex64
    policy_rev: Label
    source_event: SourceEvent
    decision: DecisionBody
    context_refs: tuple[ContextRef, ...]
    reason_codes: tuple[Label, ...]
    snapshot_ref: Name | None = None
    graph_version: Hex32 | None = None

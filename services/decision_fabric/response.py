"""A judgement as what goes out: the decision, its one intent, and the row that remembers both (domain.md 5.4 to 5.6)."""

from typing import NamedTuple

import msgspec

from decision_fabric.pack import Pack
from decision_fabric.store import DECISIONS, Anchor, Decision
from laws import ids
from laws.actions import ActionKind, ActionOrigin
from laws.catalogue import ACTION_INTENT, DECISION_RESPONSE, FLOW_ANCHOR
from laws.contracts.action import ActionIntent, ActionSubject
from laws.contracts.decision import (
    BundleRef,
    ContextRef,
    ContextRole,
    ContextStatus,
    DecisionBody,
    DecisionResponse,
    RuleHit,
    SourceEvent,
)
from laws.contracts.world import TrafficEvent
from laws.coordinates import Coordinate, offset_basis
from laws.degrade import DegradeMode, DegradePosture, mask_for
from laws.encode import canonical_struct
from laws.reasons import Reason
from spine.service import Append, Effect, Emit, Event, State

ACTION_DOMAIN = "fraud.disposition"
PRINCIPAL = "SYSTEM::decision_fabric"

# What does not exist yet is absent by mask and named, never invented (architecture.md, settled questions).
ABSENT = frozenset({"ieg", "model_primary", "model_stage2", "core_features", "entity_graph"})
POSTURE = DegradePosture(
    mode=DegradeMode.NORMAL,
    capabilities_mask=mask_for(DegradeMode.NORMAL, ABSENT),
    policy_rev="dl.policy.v0",
    posture_seq=0,
    reason="no degrade ladder yet: guardrails only",
    absent=tuple(sorted(ABSENT)),
)


class Judgement(NamedTuple):
    """What the guardrails say of one trigger."""

    action: ActionKind
    hits: tuple[RuleHit, ...]
    reasons: tuple[Reason, ...]


def outputs(pack: Pack, event: Event[TrafficEvent], anchor: Anchor | None, judgement: Judgement, state: State) -> list[Effect]:
    """One decision, one intent and one row; call it right after the decision's reads, because it closes their read set.

    Raises ValueError for a trigger that is no record: a decision names the place of its trigger.
    """
    origin = event.origin
    if origin is None:
        raise ValueError(f"trigger {event.identity.event_id} has no origin: only records are decided on")
    provenance, pins = state.provenance, event.cause.pins
    scope = msgspec.to_builtins(pins)
    source_id = event.identity.event_id
    decision_id = ids.decision_id(source_id, pins.platform_run_id, provenance.bundle_id, _place(origin))
    decision_event_id = ids.decision_event_id(source_id, scope)
    snapshot_hash = ids.snapshot_hash(state.read_set())
    context = () if anchor is None else (_context_ref(anchor),)
    body = DecisionBody(
        action_kind=judgement.action,
        context_status=ContextStatus.CONTEXT_MISSING if anchor is None else ContextStatus.CONTEXT_READY,
        # No registry yet: the pack of this release is the bundle, and nothing says that a registry resolved it.
        registry_outcome="PACK_PINNED",
        context_evidence_digest=ids.canonical_digest("df.context_evidence.v1", canonical_struct(context)).hex(),
        stage="guardrails",
        rule_hits=judgement.hits,
        missing_roles=(ContextRole.FLOW_ANCHOR,) if anchor is None else (),
    )
    codes = tuple(reason.value for reason in judgement.reasons)
    decision = DecisionResponse(
        decision_id=decision_id,
        decision_kind="fraud_decision_v0",
        bundle_ref=BundleRef(provenance.bundle_id, pack.version, f"pack:{pack.pack_id}"),
        snapshot_hash=snapshot_hash,
        eb_offset_basis=offset_basis(origin.topic, {origin.partition: origin.offset + 1}),
        degrade_posture=POSTURE,
        pins=pins,
        run_config_digest=provenance.config_digest,
        policy_rev=provenance.policy_rev,
        source_event=SourceEvent(source_id, event.event_type, event.ts_utc, origin.ref()),
        decision=body,
        context_refs=context,
        reason_codes=codes,
        snapshot_ref=f"read_set:{snapshot_hash}",
    )
    intent = ActionIntent(
        action_id=ids.action_id(decision_id, judgement.action.value),
        decision_id=decision_id,
        action_kind=judgement.action,
        idempotency_key=ids.idempotency_key(source_id, ACTION_DOMAIN, scope),
        actor_principal=PRINCIPAL,
        origin=ActionOrigin.DF,
        policy_rev=provenance.policy_rev,
        run_config_digest=provenance.config_digest,
        pins=pins,
        action_payload=ActionSubject(source_id, event.body.flow_id, anchor.account_id if anchor else None),
    )
    row = Decision(
        decision_id=decision_id,
        platform_run_id=pins.platform_run_id,
        source_event_id=source_id,
        flow_id=event.body.flow_id,
        action_kind=judgement.action.value,
        context_status=body.context_status.value,
        snapshot_hash=snapshot_hash,
        reason_codes=",".join(codes),
        decision_event_id=decision_event_id,
    )
    return [
        Append(DECISIONS, row, event.cause),
        Emit(DECISION_RESPONSE, decision_event_id, decision, source_id, event.cause),
        Emit(ACTION_INTENT, ids.intent_event_id(source_id, ACTION_DOMAIN, scope), intent, decision_event_id, event.cause),
    ]


def _context_ref(anchor: Anchor) -> ContextRef:
    place = Coordinate(anchor.cluster_id, anchor.topic_uuid, anchor.topic, anchor.home_partition, anchor.home_offset)
    return ContextRef(anchor.event_id, FLOW_ANCHOR.name, ContextRole.FLOW_ANCHOR, place.ref())


def _place(origin: Coordinate) -> list[str | int]:
    return [origin.cluster_id, origin.topic_id, origin.topic, origin.partition, str(origin.offset)]

"""What DF decides: pure functions from a trigger, its anchor and velocities to one decision and one intent (domain.md 5)."""

import msgspec
from laws import ids
from laws.actions import ActionKind, ActionOrigin
from laws.catalogue import ACTION_INTENT, DECISION_RESPONSE
from laws.catalogue import FLOW_ANCHOR as FLOW_ANCHOR_TYPE
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
from laws.contracts.world import FlowAnchor, TrafficEvent, TrafficKind
from laws.coordinates import Coordinate, offset_basis
from laws.degrade import DegradeMode, DegradePosture, mask_for
from laws.reasons import Reason
from laws.topics import FLOW_ANCHOR
from spine.service import Append, Due, Effect, Effects, Emit, Event, Put, Read, Reads, ReadWaits, Settle, State, Wait

from decision_fabric.pack import Dimension, Pack, Window
from decision_fabric.rules import hits, most_severe
from decision_fabric.store import ANCHORS, DECISIONS, VELOCITIES, Anchor, Decision, Velocity
from decision_fabric.velocity import Total, added, seconds_of, total

CONTEXT_WAIT = "context_wait"
ACTION_DOMAIN = "fraud.disposition"
POLICY_REV = "df.guardrails.v1"
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


def is_trigger(event: Event[TrafficEvent]) -> bool:
    """Whether a traffic event is decided on: requests are, everything after them is not (architecture.md, settled questions)."""
    return event.body.event_type is TrafficKind.AUTH_REQUEST


class Fabric:
    """The handlers of one pack."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    # --- anchors ---

    def on_anchor(self, event: Event[FlowAnchor], state: State) -> Effects:
        """Keep the anchor, and decide every trigger of the flow that waited for it."""
        anchor = _anchor_row(event)
        effects: list[Effect] = [Put(ANCHORS, anchor)]
        for waiting in state.waits(CONTEXT_WAIT, event.body.flow_id):
            effects += [Settle(waiting), *self._decide(waiting.event, anchor, state)]
        return effects

    @staticmethod
    def anchor_reads(event: Event[FlowAnchor]) -> Reads:
        """The waits of the flow, and the velocities of whom the anchor names."""
        yield ReadWaits(CONTEXT_WAIT, event.body.flow_id)
        yield from _velocity_reads(event.identity.platform_run_id, _anchor_row(event))

    # --- traffic ---

    def on_traffic(self, event: Event[TrafficEvent], state: State) -> Effects:
        """Decide a trigger whose anchor is there; let it wait where it is not. Other traffic has no effect here."""
        if not is_trigger(event):
            return ()
        anchor = state.get(ANCHORS, event.identity.platform_run_id, event.body.flow_id)
        if anchor is not None:
            return self._decide(event, anchor, state)
        budget = self._pack.context
        wait = Wait(
            CONTEXT_WAIT,
            event.body.flow_id,
            budget.join_wait_ms / 1000,
            until_read=FLOW_ANCHOR.name,
            cap=budget.cap_ms / 1000,
        )
        return (wait,)

    @staticmethod
    def traffic_reads(event: Event[TrafficEvent]) -> Reads:
        """The flow's anchor; velocities are read once the anchor says whose."""
        if is_trigger(event):
            yield Read(ANCHORS, (event.identity.platform_run_id, event.body.flow_id))

    @staticmethod
    def traffic_reads_then(event: Event[TrafficEvent], state: State) -> Reads:
        """The velocities of whom the anchor names, where it is there already."""
        if is_trigger(event):
            anchor = state.get(ANCHORS, event.identity.platform_run_id, event.body.flow_id)
            if anchor is not None:
                yield from _velocity_reads(event.identity.platform_run_id, anchor)

    def on_wait_over(self, due: Due[TrafficEvent], state: State) -> Effects:
        """The anchor did not come in time: decide without it, and name what is missing (domain.md 5.7)."""
        state.get(ANCHORS, due.event.identity.platform_run_id, due.event.body.flow_id)
        reason = Reason.CONTEXT_WAIT_CAP if due.capped else Reason.CONTEXT_MISSING
        found = hits(self._pack, due.event.body.amount_minor, {})
        action = most_severe(found, ActionKind.STEP_UP)
        return self._outputs(due.event, None, state, action, found, (reason,))

    @staticmethod
    def wait_over_reads(due: Due[TrafficEvent]) -> Reads:
        """The absent anchor is what was read."""
        yield Read(ANCHORS, (due.event.identity.platform_run_id, due.event.body.flow_id))

    # --- deciding ---

    def _decide(self, event: Event[TrafficEvent], anchor: Anchor, state: State) -> list[Effect]:
        now_s = seconds_of(event.ts_utc)
        velocities: dict[tuple[Dimension, Window], Total] = {}
        writes: list[Effect] = []
        run = event.identity.platform_run_id
        for dimension, value in _subjects(anchor):
            rows = [row.buckets for row in state.all_lanes(VELOCITIES, run, dimension.value, value)]
            for window in Window:
                velocities[(dimension, window)] = total(rows, window, now_s)
            own = state.own(VELOCITIES, run, dimension.value, value)
            buckets = added(own.buckets if own else None, now_s, event.body.amount_minor)
            writes.append(Put(VELOCITIES, Velocity(run, dimension.value, value, buckets), event.cause))
        found = hits(self._pack, event.body.amount_minor, velocities)
        reason = Reason.RULE_HIT if found else Reason.NO_RULE_HIT
        action = most_severe(found, ActionKind.ALLOW)
        return [*writes, *self._outputs(event, anchor, state, action, found, (reason,))]

    def _outputs(
        self,
        event: Event[TrafficEvent],
        anchor: Anchor | None,
        state: State,
        action: ActionKind,
        found: tuple[RuleHit, ...],
        reasons: tuple[Reason, ...],
    ) -> list[Effect]:
        if event.origin is None:
            raise ValueError(f"trigger {event.identity.event_id} has no origin: only records are decided on")
        provenance = state.provenance
        cause, pins = event.cause, event.cause.pins
        scope = msgspec.to_builtins(pins)
        source_id = event.identity.event_id
        origin = event.origin
        decision_id = ids.decision_id(source_id, pins.platform_run_id, provenance.bundle_id, _place(origin))
        snapshot_hash = ids.snapshot_hash(state.read_set())
        context = () if anchor is None else (_context_ref(anchor),)
        body = DecisionBody(
            action_kind=action,
            context_status=ContextStatus.CONTEXT_MISSING if anchor is None else ContextStatus.CONTEXT_READY,
            registry_outcome="PACK_PINNED",
            context_evidence_digest=ids.hex64("df.context_evidence.v1", [msgspec.to_builtins(ref) for ref in context]),
            stage="guardrails",
            rule_hits=found,
            missing_roles=(ContextRole.FLOW_ANCHOR,) if anchor is None else (),
        )
        codes = tuple(reason.value for reason in reasons)
        decision = DecisionResponse(
            decision_id=decision_id,
            decision_kind="fraud_decision_v0",
            bundle_ref=BundleRef(provenance.bundle_id, self._pack.version, f"pack:{self._pack.pack_id}"),
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
            action_id=ids.action_id(decision_id, action.value),
            decision_id=decision_id,
            action_kind=action,
            idempotency_key=ids.idempotency_key(source_id, ACTION_DOMAIN, scope),
            actor_principal=PRINCIPAL,
            origin=ActionOrigin.DF,
            policy_rev=provenance.policy_rev,
            run_config_digest=provenance.config_digest,
            pins=pins,
            action_payload=ActionSubject(source_id, event.body.flow_id, anchor.account_id if anchor else None),
        )
        decision_event_id = ids.decision_event_id(source_id, scope)
        row = Decision(
            decision_id=decision_id,
            platform_run_id=pins.platform_run_id,
            source_event_id=source_id,
            flow_id=event.body.flow_id,
            action_kind=action.value,
            context_status=body.context_status.value,
            snapshot_hash=snapshot_hash,
            reason_codes=",".join(codes),
            decision_event_id=decision_event_id,
        )
        return [
            Append(DECISIONS, row, cause),
            Emit(DECISION_RESPONSE, decision_event_id, decision, source_id, cause),
            Emit(ACTION_INTENT, ids.intent_event_id(source_id, ACTION_DOMAIN, scope), intent, decision_event_id, cause),
        ]


def _anchor_row(event: Event[FlowAnchor]) -> Anchor:
    body, origin = event.body, event.origin
    if origin is None:
        raise ValueError(f"anchor {event.identity.event_id} has no origin: only records are anchors")
    return Anchor(
        platform_run_id=event.identity.platform_run_id,
        flow_id=body.flow_id,
        event_id=event.identity.event_id,
        merchant_id=body.merchant_id,
        account_id=body.account_id,
        party_id=body.party_id,
        instrument_id=body.instrument_id,
        device_id=body.device_id,
        ip_id=body.ip_id,
        amount_minor=body.amount_minor,
        currency=body.currency,
        cluster_id=origin.cluster_id,
        topic_uuid=origin.topic_id,
        topic=origin.topic,
        home_partition=origin.partition,
        home_offset=origin.offset,
    )


def _subjects(anchor: Anchor) -> list[tuple[Dimension, str]]:
    named = [
        (Dimension.ACCOUNT, anchor.account_id),
        (Dimension.INSTRUMENT, anchor.instrument_id),
        (Dimension.DEVICE, anchor.device_id),
        (Dimension.IP, anchor.ip_id),
        (Dimension.MERCHANT, anchor.merchant_id),
    ]
    return [(dimension, value) for dimension, value in named if value is not None]


def _velocity_reads(run: str, anchor: Anchor) -> Reads:
    return [Read(VELOCITIES, (run, dimension.value, value)) for dimension, value in _subjects(anchor)]


def _context_ref(anchor: Anchor) -> ContextRef:
    place = Coordinate(anchor.cluster_id, anchor.topic_uuid, anchor.topic, anchor.home_partition, anchor.home_offset)
    return ContextRef(anchor.event_id, FLOW_ANCHOR_TYPE.name, ContextRole.FLOW_ANCHOR, place.ref())


def _place(origin: Coordinate) -> list[str | int]:
    return [origin.cluster_id, origin.topic_id, origin.topic, origin.partition, str(origin.offset)]

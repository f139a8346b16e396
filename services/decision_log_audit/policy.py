"""One audit record per decision, from decision, intent and outcome in any order of arrival (domain.md 7)."""

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from decision_log_audit.store import AUDIT_RECORDS, CHAINS, AuditRow, Chain
from laws import ids
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, AUDIT_POINTER, DECISION_RESPONSE
from laws.contracts.action import ActionIntent, ActionOutcome
from laws.contracts.audit import AuditPointer, AuditRecord, ChainStatus, EventRef, SubjectKey
from laws.contracts.decision import DecisionResponse
from laws.encode import canonical_struct
from laws.reasons import Reason
from spine.service import Anomaly, Append, Cause, Effect, Effects, Emit, Event, Put, Read, Reads, State

POLICY_REV = "dla.intake.v2"
POINTER_RECIPE = "dla.audit_pointer.event_id.v1"

_REF = msgspec.json.Decoder(EventRef)
_DECISION = msgspec.json.Decoder(DecisionResponse)
_CAUSE_ENCODER = msgspec.msgpack.Encoder()
_CAUSE = msgspec.msgpack.Decoder(Cause)


class Slot(StrEnum):
    """The three places of a chain."""

    DECISION = "decision"
    INTENT = "intent"
    OUTCOME = "outcome"


_MISSING = {
    Slot.DECISION: Reason.MISSING_DECISION,
    Slot.INTENT: Reason.MISSING_INTENT_LINK,
    Slot.OUTCOME: Reason.MISSING_OUTCOME_LINK,
}
_CONFLICT = {
    Slot.DECISION: Reason.DECISION_LINK_CONFLICT,
    Slot.INTENT: Reason.INTENT_LINK_CONFLICT,
    Slot.OUTCOME: Reason.OUTCOME_LINK_CONFLICT,
}

# What decides here, as JSON: its digest is the bundle id of every output.
CONTENT: dict[str, Any] = {
    "policy_rev": POLICY_REV,
    "families": [DECISION_RESPONSE.name, ACTION_INTENT.name, ACTION_OUTCOME.name],
    "unresolved_reasons": {slot.value: reason.value for slot, reason in _MISSING.items()},
    "conflicts": {slot.value: reason.value for slot, reason in _CONFLICT.items()},
    "pointer_recipe": POINTER_RECIPE,
}

Linked = DecisionResponse | ActionIntent | ActionOutcome


def chain_reads(event: Event[Linked]) -> Reads:
    """The chain of the decision that the event belongs to."""
    yield Read(CHAINS, (event.identity.platform_run_id, event.body.decision_id))


def on_decision(event: Event[DecisionResponse], state: State) -> Effects:
    """Take the decision, and keep what the record will say of it. Raises ValueError for an event whose payload is of another run."""
    return _link(event, Slot.DECISION, state)


def on_intent(event: Event[ActionIntent], state: State) -> Effects:
    """Take the intent. Raises as `on_decision` does."""
    return _link(event, Slot.INTENT, state)


def on_outcome(event: Event[ActionOutcome], state: State) -> Effects:
    """Take the outcome. Raises as `on_decision` does."""
    return _link(event, Slot.OUTCOME, state)


def _link(event: Event[Linked], slot: Slot, state: State) -> list[Effect]:
    run, decision_id = event.identity.platform_run_id, event.body.decision_id
    if event.body.pins.platform_run_id != run:
        # The record would say that it is of another run than the chain that it stands in (domain.md 7, RUN_SCOPE_MISMATCH).
        raise ValueError(f"pins.platform_run_id={event.body.pins.platform_run_id} is not the run of the event, {run}")
    empty = Chain(run, decision_id, ChainStatus.UNRESOLVED, "", None, None, None, None, None)
    chain = state.get(CHAINS, run, decision_id) or empty
    held = getattr(chain, f"{slot}_ref")
    if held is not None:
        return [_conflict(event, slot, _REF.decode(held))]
    chain = msgspec.structs.replace(chain, **{f"{slot}_ref": canonical_struct(_ref(event))})
    if isinstance(event.body, DecisionResponse):
        chain = msgspec.structs.replace(chain, decision=canonical_struct(event.body), cause=_CAUSE_ENCODER.encode(event.cause))
    missing = [_MISSING[other] for other in Slot if getattr(chain, f"{other}_ref") is None]
    status = ChainStatus.UNRESOLVED if missing else ChainStatus.RESOLVED
    chain = msgspec.structs.replace(chain, chain_status=status.value, unresolved_reasons=",".join(missing))
    if missing:
        return [Put(CHAINS, chain)]
    # The record says now what was kept for it: kept twice, it was half of what the store wrote for a record.
    return [Put(CHAINS, msgspec.structs.replace(chain, decision=None, cause=None)), *_record(chain)]


def _record(chain: Chain) -> list[Effect]:
    if chain.decision is None or chain.decision_ref is None or chain.intent_ref is None or chain.outcome_ref is None or chain.cause is None:
        raise ValueError(f"chain of decision {chain.decision_id} is not complete")
    decision = _DECISION.decode(chain.decision)
    decision_ref = _REF.decode(chain.decision_ref)
    cause = _CAUSE.decode(chain.cause)
    audit_id = ids.audit_id(chain.platform_run_id, chain.decision_id)
    record = AuditRecord(
        audit_id=audit_id,
        decision_event=decision_ref,
        action_intents=(_REF.decode(chain.intent_ref),),
        action_outcomes=(_REF.decode(chain.outcome_ref),),
        bundle_ref=decision.bundle_ref,
        snapshot_hash=decision.snapshot_hash,
        eb_offset_basis=decision.eb_offset_basis,
        degrade_posture=decision.degrade_posture,
        policy_rev=decision.policy_rev,
        run_config_digest=decision.run_config_digest,
        pins=decision.pins,
        context_refs=decision.context_refs,
        snapshot_ref=decision.snapshot_ref,
        graph_version=decision.graph_version,
    )
    encoded = canonical_struct(record)
    digest = hashlib.sha256(encoded).hexdigest()
    row = AuditRow(audit_id, chain.platform_run_id, chain.decision_id, decision.source_event.event_id, encoded, digest)
    pointer = AuditPointer(audit_id, chain.decision_id, digest, ChainStatus.RESOLVED, decision_ref.origin_offset, decision.pins)
    event_id = ids.hex64(POINTER_RECIPE, {"audit_id": audit_id})
    return [Append(AUDIT_RECORDS, row, cause), Emit(AUDIT_POINTER, event_id, pointer, decision_ref.event_id, cause)]


def _ref(event: Event[Linked]) -> EventRef:
    if event.origin is None:
        raise ValueError(f"event {event.identity.event_id} has no origin: only records are audited")
    return EventRef(event.identity.event_id, event.event_type, event.origin.ref(), event.payload_hash.hex())


def _conflict(event: Event[Linked], slot: Slot, held: EventRef) -> Anomaly:
    identity = event.identity
    subject = SubjectKey(identity.platform_run_id, identity.event_class.value, identity.event_id)
    details = {"decision_id": event.body.decision_id, "kept_event_id": held.event_id}
    return Anomaly(_CONFLICT[slot], subject, bytes.fromhex(held.payload_hash), event.payload_hash, details)

"""Payloads of the events that the case and label plane reads."""

from typing import Any

import msgspec

from laws import ids
from laws.coordinates import offset_basis
from laws.degrade import MASKS, DegradeMode
from laws.event_classes import EventClass
from tests.services.bench import INSTANT, PINS
from tests.services.fake_state import RUN

SOURCE = "5" * 64
TRAFFIC = EventClass.TRAFFIC_FRAUD.value
PLACE = {"cluster_id": "cluster", "topic_id": "topic", "topic": "fp.bus.traffic.fraud.v1", "partition": 2, "offset": "17"}


def decision_id(source: str = SOURCE) -> str:
    """The decision about a source event."""
    return ids.decision_id(source, RUN, "d" * 64, ["cluster", "topic", "fp.bus.traffic.fraud.v1", 2, "17"])


def decision(kind: str = "QUEUE_REVIEW", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """A decision_response."""
    mask = msgspec.to_builtins(MASKS[DegradeMode.NORMAL])
    return {
        "decision_id": decision_id(source),
        "decision_kind": "fraud_decision_v0",
        "bundle_ref": {"bundle_id": "d" * 64, "bundle_version": "1", "registry_ref": "local"},
        "snapshot_hash": "e" * 64,
        "eb_offset_basis": msgspec.to_builtins(offset_basis("fp.bus.traffic.fraud.v1", {2: 18})),
        "degrade_posture": {"mode": "NORMAL", "capabilities_mask": mask, "policy_rev": "dl", "posture_seq": 1, "reason": "healthy"},
        "pins": PINS,
        "run_config_digest": "f" * 64,
        "policy_rev": "df.v1",
        "source_event": {"event_id": source, "event_type": "s3_event_stream_with_fraud_6B", "ts_utc": INSTANT, "origin_offset": PLACE},
        "decision": {
            "action_kind": kind,
            "context_status": "CONTEXT_READY",
            "registry_outcome": "RESOLVED",
            "context_evidence_digest": "0" * 64,
            "stage": "guardrails",
            "rule_hits": [{"rule_id": "velocity", "action_kind": kind, "values": {"count": "9"}}],
        },
        "context_refs": [],
        "reason_codes": ["RULE_HIT"],
        **changes,
    }


def intent(kind: str = "QUEUE_REVIEW", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """The action_intent of a decision."""
    return {
        "action_id": ids.action_id(decision_id(source), kind),
        "decision_id": decision_id(source),
        "action_kind": kind,
        "idempotency_key": "1" * 64,
        "actor_principal": "SYSTEM::decision_fabric",
        "origin": "DF",
        "policy_rev": "df.v1",
        "run_config_digest": "f" * 64,
        "pins": PINS,
        "action_payload": {"event_id": source, "flow_id": "flow-1"},
        **changes,
    }


def outcome(status: str = "EXECUTED", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """The action_outcome of an intent."""
    return {
        "outcome_id": ids.outcome_id(RUN, "1" * 64),
        "decision_id": decision_id(source),
        "action_id": ids.action_id(decision_id(source), "QUEUE_REVIEW"),
        "action_kind": "QUEUE_REVIEW",
        "status": status,
        "idempotency_key": "1" * 64,
        "actor_principal": "SYSTEM::decision_fabric",
        "origin": "DF",
        "authz_policy_rev": "al.v1",
        "run_config_digest": "f" * 64,
        "pins": PINS,
        "source_event_id": source,
        "outcome_payload": {"terminal_state": status},
        **changes,
    }


def anomaly(event_class: str = TRAFFIC, source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """A corridor_anomaly about an event of a class."""
    return {
        "reason_code": "PAYLOAD_HASH_MISMATCH",
        "subject": {"platform_run_id": RUN, "event_class": event_class, "event_id": source},
        "observer": "decision_fabric",
        "first_payload_hash": "2" * 64,
        "other_payload_hash": "3" * 64,
        "first_ref": PLACE,
        "other_ref": {**PLACE, "offset": "23"},
        **changes,
    }


def signal(signal_id: str = "card_scheme:dispute-1", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """An external_signal about a source event."""
    return {
        "signal_id": signal_id,
        "signal_kind": "DISPUTE",
        "case_subject_key": {"platform_run_id": RUN, "event_class": TRAFFIC, "event_id": source},
        "pins": PINS,
        "observed_time": "2026-01-09T08:00:00.000000Z",
        "external_ref": "dispute-1",
        **changes,
    }


def case_id(source: str = SOURCE) -> str:
    """The case of a source event."""
    return ids.case_id(RUN, TRAFFIC, source)


def trigger(kind: str = "DECISION_ESCALATION", ref: str = "decision:1", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """A case_trigger."""
    case = case_id(source)
    return {
        "case_id": case,
        "case_trigger_id": ids.case_trigger_id(case, kind, ref),
        "trigger_type": kind,
        "source_ref_id": ref,
        "case_subject_key": {"platform_run_id": RUN, "event_class": TRAFFIC, "event_id": source},
        "pins": PINS,
        "observed_time": INSTANT,
        "payload_hash": "4" * 64,
        "evidence_refs": [{"ref_type": "DECISION", "ref_id": "1"}],
        **changes,
    }


ANALYST = "HUMAN::analyst-03"


def assertion(ref: str = "a1", source: str = SOURCE, **changes: Any) -> dict[str, Any]:
    """A case_assertion of an analyst."""
    return {
        "assertion_ref": ref,
        "case_id": case_id(source),
        "label_type": "fraud_disposition",
        "label_value": "FRAUD_CONFIRMED",
        "effective_time": INSTANT,
        "observed_time": "2026-01-09T09:30:00.000000Z",
        "source_type": "HUMAN",
        "pins": PINS,
        "evidence_refs": [{"ref_type": "CASE_EVENT", "ref_id": "9" * 32}],
        "actor_id": ANALYST,
        **changes,
    }

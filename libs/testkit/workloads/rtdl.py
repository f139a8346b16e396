"""Payloads of decision, intent and outcome of one subject, lawful by contract, as the services before would say them."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from laws import ids
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from laws.coordinates import offset_basis
from laws.degrade import MASKS, DegradeMode
from laws.topics import TRAFFIC
from testkit.harness import PLATFORM_RUN
from testkit.workloads.facts import INSTANT, PINS, Fact, id_of

_KINDS = ("ALLOW", "STEP_UP", "QUEUE_REVIEW", "BLOCK")
_DIGEST = "d" * 64


def decision_id(seed: int, number: int) -> str:
    """The decision of a subject."""
    return id_of(seed, number, "decision id")[:32]


def kind_of(number: int) -> str:
    """What was decided on a subject."""
    return _KINDS[number % len(_KINDS)]


def decision(seed: int, number: int) -> Fact:
    """The decision_response."""
    source = id_of(seed, number, "source")
    place = {"cluster_id": "cluster", "topic_id": "topic", "topic": TRAFFIC.name, "partition": 2, "offset": str(number)}
    posture = {"mode": "NORMAL", "capabilities_mask": msgspec.to_builtins(MASKS[DegradeMode.NORMAL]), "policy_rev": "dl", "posture_seq": 1}
    payload: dict[str, Any] = {
        "decision_id": decision_id(seed, number),
        "decision_kind": "fraud_decision_v0",
        "bundle_ref": {"bundle_id": _DIGEST, "bundle_version": "1", "registry_ref": "local"},
        "snapshot_hash": "e" * 64,
        "eb_offset_basis": msgspec.to_builtins(offset_basis(TRAFFIC.name, {2: number + 1})),
        "degrade_posture": {**posture, "reason": "healthy"},
        "pins": PINS,
        "run_config_digest": "f" * 64,
        "policy_rev": "df.v1",
        "source_event": {"event_id": source, "event_type": "s3_event_stream_with_fraud_6B", "ts_utc": INSTANT, "origin_offset": place},
        "decision": {
            "action_kind": kind_of(number),
            "context_status": "CONTEXT_READY",
            "registry_outcome": "RESOLVED",
            "context_evidence_digest": "0" * 64,
            "stage": "guardrails",
            "rule_hits": [],
        },
        "context_refs": [],
        "reason_codes": ["NO_RULE_HIT"],
    }
    return Fact(DECISION_RESPONSE, id_of(seed, number, DECISION_RESPONSE.name), payload)


def intent(seed: int, number: int, kind: str | None = None) -> Fact:
    """The action_intent."""
    kind = kind or kind_of(number)
    payload: dict[str, Any] = {
        "action_id": ids.action_id(decision_id(seed, number), kind),
        "decision_id": decision_id(seed, number),
        "action_kind": kind,
        "idempotency_key": id_of(seed, number, "key"),
        "actor_principal": "SYSTEM::decision_fabric",
        "origin": "DF",
        "policy_rev": "df.v1",
        "run_config_digest": "f" * 64,
        "pins": PINS,
        "action_payload": {"event_id": id_of(seed, number, "source"), "flow_id": f"{seed}-{number}"},
    }
    return Fact(ACTION_INTENT, id_of(seed, number, ACTION_INTENT.name), payload)


def outcome(seed: int, number: int) -> Fact:
    """The action_outcome: one in three failed."""
    failed = number % 3 == 0
    wish = intent(seed, number).payload
    payload: dict[str, Any] = {
        "outcome_id": ids.outcome_id(PLATFORM_RUN, wish["idempotency_key"]),
        **{
            name: wish[name] for name in ("decision_id", "action_id", "action_kind", "idempotency_key", "actor_principal", "origin", "pins")
        },
        "status": "FAILED" if failed else "EXECUTED",
        "authz_policy_rev": "al.v1",
        "run_config_digest": "f" * 64,
        "source_event_id": id_of(seed, number, "source"),
        "outcome_payload": {"terminal_state": "FAILED" if failed else "EXECUTED"},
    }
    return Fact(ACTION_OUTCOME, id_of(seed, number, ACTION_OUTCOME.name), payload)


def changed(fact: Fact, **fields: Any) -> Fact:
    """The same identity with other fields."""
    return dataclasses.replace(fact, payload={**fact.payload, **fields})


def other(fact: Fact) -> Fact:
    """The same identity under another configuration than it has."""
    return changed(fact, run_config_digest=("b" if fact.payload["run_config_digest"] == "a" * 64 else "a") * 64)


def elsewhere(fact: Fact) -> Fact:
    """The same identity about another decision."""
    return changed(fact, decision_id=id_of(fact.event_id, "elsewhere")[:32])

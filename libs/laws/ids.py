"""Ids by named, versioned recipes: SHA-256 over the canonical JSON of {"payload": P, "recipe": R} (domain.md 2.3, 5.4, 8.3).

A recipe's name is part of what is hashed, so two kinds of id never collide, and a changed recipe is a new name.
"""

import hashlib
from functools import lru_cache
from typing import Any

from laws.canonical import JsonInput, canonical_json, canonical_plain

DECISION_SCOPE = "fraud.primary"


def recipe_digest(recipe: str, payload: Any) -> bytes:
    """32 bytes of `payload` (any JSON value) under `recipe`. Raises laws.canonical.CanonicalError for what is not exact JSON."""
    return canonical_digest(recipe, canonical_json(payload))


def canonical_digest(recipe: str, payload: bytes) -> bytes:
    """recipe_digest of a payload that is canonical JSON already."""
    return hashlib.sha256(b'{"payload":' + payload + _recipe_member(recipe)).digest()


def plain_digest(recipe: str, payload: JsonInput) -> bytes:
    """recipe_digest of a payload that `laws.canonical.canonical_plain` takes."""
    return canonical_digest(recipe, canonical_plain(payload))


@lru_cache(maxsize=256)
def _recipe_member(recipe: str) -> bytes:
    # "payload" sorts before "recipe": what is hashed is the canonical JSON of both, written from its parts.
    return b',"recipe":' + canonical_json(recipe) + b"}"


def hex64(recipe: str, payload: Any) -> str:
    """The digest as 64 hex characters."""
    return recipe_digest(recipe, payload).hex()


def hex32(recipe: str, payload: Any) -> str:
    """The first half of the digest as 32 hex characters."""
    return recipe_digest(recipe, payload)[:16].hex()


def _plain_hex32(recipe: str, payload: JsonInput) -> str:
    return plain_digest(recipe, payload)[:16].hex()


def engine_event_id(output_id: str, primary_key: list[str | int], pins: dict[str, str]) -> str:
    """event_id of a row of the data engine: independent of the platform run, so the same row is the same event in every run (2.3)."""
    return hex64("fp.engine_event_id.v1", {"output_id": output_id, "primary_key": primary_key, "pins": pins})


def decision_id(source_event_id: str, platform_run_id: str, bundle_id: str, origin_offset: list[str | int]) -> str:
    """decision_id (hex32): moves with the bundle and with the place of its trigger (5.4)."""
    payload = {
        "source_event_id": source_event_id,
        "platform_run_id": platform_run_id,
        "decision_scope": DECISION_SCOPE,
        "bundle_ref": bundle_id,
        "origin_offset": origin_offset,
    }
    return _plain_hex32("df.decision_id.v2", payload)


def decision_event_id(source_event_id: str, pin_scope: dict[str, str]) -> str:
    """event_id of a decision_response: one decision per source event and run, whatever the bundle (5.4)."""
    return _scoped("df.decision_response.event_id.v1", "decision_scope", DECISION_SCOPE, pin_scope, source_event_id)


def intent_event_id(source_event_id: str, action_domain: str, pin_scope: dict[str, str]) -> str:
    """event_id of an action_intent (5.4)."""
    return _scoped("df.action_intent.event_id.v1", "action_domain", action_domain, pin_scope, source_event_id)


def idempotency_key(source_event_id: str, action_domain: str, pin_scope: dict[str, str]) -> str:
    """The key under which the provider executes an intent at most once (5.4)."""
    return _scoped("df.action_intent.idempotency_key.v1", "action_domain", action_domain, pin_scope, source_event_id)


def _scoped(recipe: str, kind: str, value: str, pin_scope: dict[str, str], source_event_id: str) -> str:
    """The digest of {kind: value, pin_scope, source_event_id}: of these a run has all but the last once."""
    before, after = _around_source(recipe, kind, value, tuple(pin_scope), tuple(pin_scope.values()))
    return hashlib.sha256(before + canonical_plain(source_event_id) + after).hexdigest()


@lru_cache(maxsize=256)
def _around_source(recipe: str, kind: str, value: str, pins: tuple[str, ...], values: tuple[str, ...]) -> tuple[bytes, bytes]:
    # Either kind sorts before "pin_scope", and that before "source_event_id".
    before = canonical_json({kind: value, "pin_scope": dict(zip(pins, values, strict=True))})
    return b'{"payload":' + before[:-1] + b',"source_event_id":', b"}" + _recipe_member(recipe)


def action_id(decision: str, action_kind: str) -> str:
    """action_id (hex32) of the one action of `action_kind` that a decision asks for."""
    return _plain_hex32("df.action_id.v1", {"decision_id": decision, "action_kind": action_kind})


def outcome_id(platform_run_id: str, key: str) -> str:
    """outcome_id (hex32): one terminal outcome per idempotency key and run."""
    return _plain_hex32("al.outcome_id.v1", {"platform_run_id": platform_run_id, "idempotency_key": key})


def audit_id(platform_run_id: str, decision: str) -> str:
    """audit_id (hex32): one audit record per decision; others may refer to it before it exists (8.1)."""
    return _plain_hex32("dla.audit_id.v1", {"platform_run_id": platform_run_id, "decision_id": decision})


def case_id(platform_run_id: str, event_class: str, event_id: str) -> str:
    """case_id (hex32) of a subject: one case per subject, no merges, ever (8.3)."""
    subject = {"platform_run_id": platform_run_id, "event_class": event_class, "event_id": event_id}
    return _plain_hex32("cm.case_id.v1", {"case_subject_key": subject})


def case_trigger_id(case: str, trigger_type: str, source_ref_id: str) -> str:
    """case_trigger_id (hex32) (8.3)."""
    return _plain_hex32("cm.case_trigger_id.v1", {"case_id": case, "trigger_type": trigger_type, "source_ref_id": source_ref_id})


def case_timeline_event_id(case: str, timeline_event_type: str, source_ref_id: str) -> str:
    """case_timeline_event_id (hex32) (8.3)."""
    payload = {"case_id": case, "timeline_event_type": timeline_event_type, "source_ref_id": source_ref_id}
    return _plain_hex32("cm.case_timeline_event_id.v1", payload)


def label_assertion_id(timeline_event: str, platform_run_id: str, event_id: str, label_type: str) -> str:
    """label_assertion_id (hex32) (8.6)."""
    payload: dict[str, JsonInput] = {
        "case_timeline_event_id": timeline_event,
        "label_subject_key": {"platform_run_id": platform_run_id, "event_id": event_id},
        "label_type": label_type,
    }
    return _plain_hex32("ls.label_assertion_id.v1", payload)


def anomaly_event_id(platform_run_id: str, event_class: str, event_id: str, other_hash: str, observer: str) -> str:
    """event_id of a corridor_anomaly: one per (identity, other payload hash) and observing service."""
    payload = {
        "platform_run_id": platform_run_id,
        "event_class": event_class,
        "event_id": event_id,
        "other_payload_hash": other_hash,
        "observer": observer,
    }
    return plain_digest("fp.anomaly_event_id.v1", payload).hex()


def quarantine_id(platform_run_id: str, event_class: str, event_id: str, digest: str, reasons: list[str]) -> str:
    """quarantine_id (hex32): scoped by run and class; malformed bodies are told apart by their raw digest (2.11)."""
    payload = {
        "platform_run_id": platform_run_id,
        "event_class": event_class,
        "event_id": event_id,
        "digest": digest,
        "reason_codes": reasons,
    }
    return _plain_hex32("ig.quarantine_id.v1", payload)


def receipt_id(platform_run_id: str, event_class: str, event_id: str, decision: str, digest: str) -> str:
    """receipt_id (hex32): scoped by run, class and payload (2.11)."""
    payload = {
        "platform_run_id": platform_run_id,
        "event_class": event_class,
        "event_id": event_id,
        "decision": decision,
        "payload_hash": digest,
    }
    return _plain_hex32("ig.receipt_id.v1", payload)


# A policy asks for it to put it into its decision, and the spine right afterwards to keep the read set under it: the same bytes.
@lru_cache(maxsize=16)
def snapshot_hash(read_set: bytes) -> str:
    """snapshot_hash (hex64) of the canonical bytes of everything that a decision read."""
    return hashlib.sha256(b"df.snapshot_hash.v1\n" + read_set).hexdigest()


def scenario_run_id(equivalence: dict[str, str]) -> str:
    """scenario_run_id (hex32): the same intent has the same id (2.16)."""
    return _plain_hex32("sr.scenario_run_id.v1", equivalence)

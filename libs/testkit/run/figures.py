"""What the report says about time: from the records' own timestamps on the bus, not from counters."""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

from laws.contracts.decision import ContextStatus
from laws.topics import BY_NAME
from testkit.run.reconcile import Bus


class Latency(NamedTuple):
    """Milliseconds of one hop, sorted."""

    name: str
    sorted_ms: list[int]

    def at(self, share: float) -> int:
        """The value that this share of the events does not exceed."""
        return self.sorted_ms[min(len(self.sorted_ms) - 1, int(share * len(self.sorted_ms)))] if self.sorted_ms else 0


# Plane -> event types whose records show that it did something.
PLANES = {
    "admitted": ("s3_event_stream_with_fraud_6B", "s3_flow_anchor_with_fraud_6B", "arrival_events_5B", "s1_arrival_entities_6B"),
    "decided": ("decision_response",),
    "acted": ("action_outcome",),
    "audited": ("audit_pointer",),
    "case triggers": ("case_trigger",),
    "labels": ("label_assertion",),
}


def latencies(bus: Bus) -> list[Latency]:
    """Decision after the later of trigger and anchor; context waits that ended without one apart; outcome; audit."""
    at = {(seen.event_type, seen.event_id): seen.at_ms for seen in reversed(bus.records)}
    ready: list[int] = []
    missing: list[int] = []
    decided_at: dict[str, int] = {}
    for seen in bus.of("decision_response"):
        body = json.loads(bytes(seen.envelope.payload))
        decided_at[body["decision_id"]] = seen.at_ms
        source = body["source_event"]
        seen_at = [at[(source["event_type"], source["event_id"])]]
        seen_at += [at[(ref["event_type"], ref["event_id"])] for ref in body["context_refs"]]
        waited = seen.at_ms - max(seen_at)
        (ready if body["decision"]["context_status"] == ContextStatus.CONTEXT_READY else missing).append(waited)
    outcome = [seen.at_ms - decided_at[_decision(seen)] for seen in bus.of("action_outcome")]
    audit = [seen.at_ms - decided_at[_decision(seen)] for seen in bus.of("audit_pointer")]
    return [
        Latency("trigger and anchor to decision", sorted(ready)),
        Latency("trigger to decision without anchor", sorted(missing)),
        Latency("decision to outcome", sorted(outcome)),
        Latency("decision to audit", sorted(audit)),
    ]


def _decision(seen: object) -> str:
    return str(json.loads(bytes(seen.envelope.payload))["decision_id"])  # type: ignore[attr-defined]  # a Seen


def throughput(bus: Bus) -> tuple[int, dict[str, list[int]]]:
    """Second in which the first record was made (epoch), and records per second of each plane since then."""
    plane_of = {event_type: plane for plane, types in PLANES.items() for event_type in types}
    counts: dict[str, Counter[int]] = {plane: Counter() for plane in PLANES}
    for seen in bus.records:
        if seen.event_type in plane_of:
            counts[plane_of[seen.event_type]][seen.at_ms // 1000] += 1
    seconds = [second for counted in counts.values() for second in counted]
    if not seconds:
        return 0, {plane: [] for plane in PLANES}
    first, last = min(seconds), max(seconds)
    return first, {plane: [counted[second] for second in range(first, last + 1)] for plane, counted in counts.items()}


def slowest_after(bus: Bus, since_ms: int) -> int:
    """The longest time (ms) from trigger to decision of those triggers that were on the bus within 10 s of a moment."""
    at = {seen.event_id: seen.at_ms for seen in bus.of(*PLANES["admitted"])}
    slowest = 0
    for seen in bus.of("decision_response"):
        begun = at.get(seen.parent_event_id)
        if begun is not None and abs(begun - since_ms) < 10_000:
            slowest = max(slowest, seen.at_ms - begun)
    return slowest


def records_by_topic(bus: Bus) -> dict[str, int]:
    """Records of each topic."""
    return dict(sorted(Counter(seen.topic for seen in bus.records if seen.topic in BY_NAME).items()))

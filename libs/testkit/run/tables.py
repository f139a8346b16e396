"""What the services' own tables hold, as sides of the reconciliation; read through a cursor, so that no table is held in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg

from laws.event_classes import CLASS_BY_NUMBER
from laws.identity import unpack_event_id
from testkit.harness import Site
from testkit.run.answers import identity_text
from testkit.run.platform import SERVICES
from testkit.run.sides import Side

_PORTION = 5000

_DECISIONS = """
SELECT encode(decision_id, 'hex') AS decision_id, source_event_id, encode(trace_id, 'hex') AS trace_id FROM decision
"""
_OUTCOMES = """
SELECT encode(outcome_id, 'hex') AS outcome_id, encode(decision_id, 'hex') AS decision_id,
       encode(idempotency_key, 'hex') AS idempotency_key, status FROM outcome
"""
_UNRESOLVED = """
SELECT encode(decision_id, 'hex') AS decision_id FROM chain WHERE chain_status = 'UNRESOLVED' AND unresolved_reasons <> ''
"""
_AUDITED = "SELECT encode(audit_id, 'hex') AS audit_id, encode(decision_id, 'hex') AS decision_id FROM audit_record"
_TRIGGERS = """
SELECT encode(case_trigger_id, 'hex') AS case_trigger_id, encode(case_id, 'hex') AS case_id, source_ref_id, trigger_type
FROM published_trigger
"""
_TIMELINE = """
SELECT encode(t.case_timeline_event_id, 'hex') AS event_id, encode(t.case_id, 'hex') AS case_id, t.timeline_event_type, t.source_ref_id,
       encode(t.trace_id, 'hex') AS trace_id, c.subject_event_id
FROM timeline t JOIN cases c USING (case_id)
"""
_EMISSIONS = "SELECT encode(label_assertion_id, 'hex') AS label_assertion_id, status FROM label_emission"
_LABELS = """
SELECT encode(label_assertion_id, 'hex') AS label_assertion_id, subject_event_id, encode(trace_id, 'hex') AS trace_id FROM label
"""
_OUTBOX = "SELECT topic, event_id, encode(payload_hash, 'hex') AS payload_hash FROM outbox"
_PARKED = "SELECT event_id, reason FROM parked WHERE released_seq IS NULL"
_ANOMALIES = "SELECT platform_run_id, class_no, event_id, encode(other_hash, 'hex') AS other_hash FROM anomaly JOIN run USING (run_no)"


@dataclass
class Tables:
    """Sides by what they say."""

    decisions: Side = field(default_factory=Side)
    decided_events: Side = field(default_factory=Side)
    """Source event ids of decisions."""
    decision_traces: Side = field(default_factory=Side)
    """Decision id and trace id."""
    source_traces: Side = field(default_factory=Side)
    """Source event id and trace id, of decisions."""
    outcomes: Side = field(default_factory=Side)
    outcome_decisions: Side = field(default_factory=Side)
    executed: Side = field(default_factory=Side)
    """Idempotency keys of what was done."""
    accounted: Side = field(default_factory=Side)
    """Decisions that are audited, or unresolved with a reason."""
    audits: Side = field(default_factory=Side)
    case_triggers: Side = field(default_factory=Side)
    triggered: Side = field(default_factory=Side)
    """Case and source of published triggers."""
    signalled: Side = field(default_factory=Side)
    timeline: Side = field(default_factory=Side)
    """Case and source of CASE_TRIGGERED entries."""
    handed_over: Side = field(default_factory=Side)
    accepted: Side = field(default_factory=Side)
    labels: Side = field(default_factory=Side)
    subject_traces: Side = field(default_factory=Side)
    """Subject event id and trace id, of timelines and labels."""
    outputs: Side = field(default_factory=Side)
    anomalies: Side = field(default_factory=Side)
    """Identity and other payload hash, as the decision fabric recorded them."""
    parked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(service, reason, event id)."""
    counts: Counter[str] = field(default_factory=Counter)


async def read_tables(site: Site) -> Tables:
    """Everything that the reconciliation compares."""
    tables = Tables()
    for name in SERVICES:
        async with site.store(name) as store, store.transaction(readonly=True):
            await _READERS[name](store, tables)
            async for row in store.cursor(_OUTBOX, prefetch=_PORTION):
                tables.outputs.add(f"{row['topic']}/{unpack_event_id(row['event_id'])}/{row['payload_hash']}")
            async for row in store.cursor(_PARKED, prefetch=_PORTION):
                tables.parked.append((name, row["reason"], unpack_event_id(row["event_id"]) if row["event_id"] is not None else None))
    return tables


async def _decision_fabric(store: asyncpg.Connection, tables: Tables) -> None:
    async for decision, source, trace in _rows(store, _DECISIONS):
        tables.decisions.add(decision)
        tables.decided_events.add(source)
        tables.decision_traces.add(f"{decision} {trace}")
        tables.source_traces.add(f"{source} {trace}")
    async for row in store.cursor(_ANOMALIES, prefetch=_PORTION):
        identity = identity_text(row["platform_run_id"], CLASS_BY_NUMBER[row["class_no"]].value, unpack_event_id(row["event_id"]))
        tables.anomalies.add(f"{identity}/{row['other_hash']}")


async def _action_layer(store: asyncpg.Connection, tables: Tables) -> None:
    async for outcome, decision, key, status in _rows(store, _OUTCOMES):
        tables.outcomes.add(outcome)
        tables.outcome_decisions.add(decision)
        if status == "EXECUTED":
            tables.executed.add(key)


async def _decision_log_audit(store: asyncpg.Connection, tables: Tables) -> None:
    async for audit, decision in _rows(store, _AUDITED):
        tables.audits.add(audit)
        tables.accounted.add(decision)
    async for (decision,) in _rows(store, _UNRESOLVED):
        tables.accounted.add(decision)
        tables.counts["unresolved"] += 1


async def _case_trigger(store: asyncpg.Connection, tables: Tables) -> None:
    async for trigger, case, source, kind in _rows(store, _TRIGGERS):
        tables.case_triggers.add(trigger)
        tables.triggered.add(f"{case}/{source}")
        if kind == "EXTERNAL_SIGNAL":
            tables.signalled.add(trigger)


async def _case_management(store: asyncpg.Connection, tables: Tables) -> None:
    async for _, case, kind, source, trace, subject in _rows(store, _TIMELINE):
        if kind == "CASE_TRIGGERED":
            tables.timeline.add(f"{case}/{source}")
        tables.subject_traces.add(f"{subject} {trace}")
    async for label, status in _rows(store, _EMISSIONS):
        tables.handed_over.add(label)
        if status == "ACCEPTED":
            tables.accepted.add(label)
    tables.counts["cases"] = int(await store.fetchval("SELECT count(*) FROM cases"))


async def _label_store(store: asyncpg.Connection, tables: Tables) -> None:
    async for label, subject, trace in _rows(store, _LABELS):
        tables.labels.add(label)
        tables.subject_traces.add(f"{subject} {trace}")


async def _rows(store: asyncpg.Connection, query: str) -> AsyncIterator[tuple[str, ...]]:
    async for row in store.cursor(query, prefetch=_PORTION):
        yield tuple(row)


_READERS = {
    "decision_fabric": _decision_fabric,
    "action_layer": _action_layer,
    "decision_log_audit": _decision_log_audit,
    "case_trigger": _case_trigger,
    "case_management": _case_management,
    "label_store": _label_store,
}

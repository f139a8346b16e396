"""The reconciliation: sets of ids from tables and topics, never counters of the services (domain.md C17, 10.5)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from botocore.credentials import Credentials

from ingress.dynamodb import DynamoDB
from ingress.quarantine_file import records_of
from ingress.row import Item
from laws.payload_hash import payload_hash_of_value
from testkit.run.answers import Answers, identity_text
from testkit.run.archived import Archived, read_archive
from testkit.run.bus_facts import Bus
from testkit.run.equations import Reconciliation, lacking
from testkit.run.platform import Platform
from testkit.run.sides import Side
from testkit.run.tables import Tables, read_tables
from testkit.world import Answer, InjectedAnomaly, Manifest


@dataclass
class Injected:
    """What went onto topics behind the edge's back."""

    named: int = 0
    """Injections of the world."""
    made: int = 0
    changed: set[str] = field(default_factory=set)
    """Identity and other payload hash of the changed payloads among them."""


@dataclass
class Said:
    """What people were told by the platform when they spoke."""

    signals: set[str] = field(default_factory=set)
    assertions: set[str] = field(default_factory=set)


def anomaly_texts(manifest: Manifest) -> set[str]:
    """Identity and other payload hash of every changed payload that the world sends to the edge."""
    return {_anomaly_text(anomaly) for anomaly in manifest.edge_anomalies}


def _anomaly_text(anomaly: InjectedAnomaly) -> str:
    identity = anomaly.identity
    digest = payload_hash_of_value(anomaly.event_type, anomaly.payload, None).hex()  # type: ignore[arg-type]  # a payload of the world is JSON
    return f"{identity_text(identity.platform_run_id, identity.event_class, identity.event_id)}/{digest}"


async def reconcile(platform: Platform, answers: Answers, changed: set[str], injected: Injected, said: Said, bus: Bus) -> Reconciliation:
    """Compare everything with everything that it must equal. `changed`: changed payloads at the edge, as `anomaly_texts` has them."""
    result = Reconciliation()
    tables = await read_tables(platform.site)
    quarantine = await _quarantine(platform)
    _edge(result, answers, injected, bus, quarantine)
    if platform.archive.is_dir():
        _archive(result, answers, quarantine, read_archive(platform.archive))
    _decisions(result, answers, bus, tables, await _effects(platform))
    _cases(result, bus, tables, said)
    _anomalies(result, changed, injected, bus, tables, quarantine)
    result.equal("outboxes", "outbox rows", tables.outputs, "outputs on the bus, by id and payload hash", bus.outputs)
    _traces(result, answers, bus, tables)
    # The world puts no poison and no foreign run onto a topic: whatever is parked is a defect of the platform.
    result.none("parked", "parked inputs", (f"{name}: {reason}: {event_id}" for name, reason, event_id in tables.parked))
    result.counts.update(
        {
            "sent": answers.sent,
            **{answer.value: answers.counts[answer] for answer in Answer},
            "retries": answers.retries,
            "triggers": len(answers.triggers),
            "decided": len(tables.decisions),
            "outcomes": len(tables.outcomes),
            "audited": len(tables.audits),
            "case_triggers": len(tables.case_triggers),
            "cases": tables.counts["cases"],
            "labels": len(tables.labels),
            "records": bus.records,
        }
    )
    return result


def _edge(result: Reconciliation, answers: Answers, injected: Injected, bus: Bus, quarantine: dict[str, Any]) -> None:
    answered = sum(answers.counts.values())
    result.same("sent", "sent", answers.sent, "admitted + duplicate + quarantined + rejected", answered)
    result.equal("quarantined", "answers QUARANTINE", answers.quarantined, "durable quarantine records", quarantine)
    result.none("surprises", "answers of another class or reason than expected", ("/".join(surprise) for surprise in answers.surprises))
    result.equal("admitted", "admitted", answers.admitted, "identities on the topics", bus.identities)
    copies = bus.ingress_records - len(bus.identities.distinct())
    result.same("copies", "copies on the topics", copies, "injected behind their original", injected.made)
    result.same("injected", "injections of the world", injected.named, "injections made", injected.made)
    result.counts["injected_on_topic"] = injected.made


def _archive(result: Reconciliation, answers: Answers, quarantine: dict[str, Any], archived: Archived) -> None:
    result.equal("receipts", "admitted", answers.admitted, "receipts in the archive", archived.receipts)
    twice = len(archived.receipts) - len(archived.receipts.distinct())
    result.same("receipts once", "receipts that stand twice", twice, "none", 0)
    result.equal("refusals archived", "durable quarantine records", quarantine, "quarantine records in the archive", archived.refusals)


def _decisions(result: Reconciliation, answers: Answers, bus: Bus, tables: Tables, effects: Side) -> None:
    accounted = tables.decided_events
    if parked := {event_id for name, _, event_id in tables.parked if name == "decision_fabric" and event_id}:
        accounted = Side.of([*accounted.texts(accounted.distinct()), *_among(parked, answers.triggers)])
    result.equal("decided", "admitted triggers", answers.triggers, "decided + parked with reason", accounted)
    result.equal("decisions published", "decisions", tables.decisions, "decisions on the bus", bus.decisions)
    result.equal("intents", "decisions", tables.decisions, "intents", bus.intents)
    result.equal("outcomes", "decisions", tables.decisions, "terminal outcomes", tables.outcome_decisions)
    result.equal("outcomes published", "terminal outcomes", tables.outcomes, "outcomes on the bus", bus.outcomes)
    result.equal("effects", "outcomes EXECUTED", tables.executed, "effects at the provider", effects)
    result.equal("audited", "decisions", tables.decisions, "audit records RESOLVED + unresolved with reason", tables.accounted)
    result.equal("pointers", "audit records", tables.audits, "audit pointers on the bus", bus.pointers)
    result.counts["unresolved"] = tables.counts["unresolved"]


def _among(ids: set[str], side: Side) -> Iterable[str]:
    return ids - set(lacking(ids, side))


def _cases(result: Reconciliation, bus: Bus, tables: Tables, said: Said) -> None:
    result.equal("triggers published", "case triggers", tables.case_triggers, "triggers on the bus", bus.case_triggers)
    result.equal("timelines", "triggers published", tables.triggered, "CASE_TRIGGERED timeline entries", tables.timeline)
    result.equal("signals", "signals acknowledged", said.signals, "EXTERNAL_SIGNAL triggers", tables.signalled)
    result.equal("assertions", "assertions acknowledged", said.assertions, "labels handed over", tables.handed_over)
    result.equal("labels", "labels acknowledged", tables.accepted, "label rows", tables.labels)
    result.equal("labels published", "label rows", tables.labels, "labels on the bus", bus.labels)


def _anomalies(result: Reconciliation, changed: set[str], injected: Injected, bus: Bus, tables: Tables, quarantine: dict[str, Any]) -> None:
    kept = {
        f"{identity_text(entry['platform_run_id'], entry['event_class'], entry['event_id'])}/{entry['other_payload_hash']}"
        for entry in quarantine.values()
        if entry is not None
    }
    told = dict(bus.anomalies)
    result.equal("anomalies at the edge", "changed payloads at the edge", changed, "mismatches kept by the edge", kept)
    result.equal("anomalies told by the edge", "mismatches kept by the edge", kept, "anomalies of ig on the bus", told.pop("ig", set()))
    result.equal("anomalies at DF", "changed payloads on topics", injected.changed, "anomalies recorded by DF", tables.anomalies)
    of_df = told.pop("decision_fabric", set())
    result.equal("anomalies told by DF", "anomalies recorded by DF", tables.anomalies, "anomalies of DF on the bus", of_df)
    result.none("other anomalies", "anomalies of other observers", (item for items in told.values() for item in items))
    result.counts["anomalies"] = len(changed) + len(injected.changed)


def _traces(result: Reconciliation, answers: Answers, bus: Bus, tables: Tables) -> None:
    """One trace id from admission to label: every record and row carries its source event's."""
    breaks = [f"topics: {text}" for text in lacking(bus.ingress_traces, answers.traces)]
    breaks += [f"decisions: {text}" for text in lacking(tables.source_traces, answers.traces)]
    breaks += [f"after a decision: {text}" for text in lacking(bus.decision_traces, tables.decision_traces)]
    breaks += [f"case triggers and labels: {text}" for text in lacking(bus.subject_traces, answers.traces)]
    breaks += [f"timelines and labels: {text}" for text in lacking(tables.subject_traces, answers.traces)]
    result.none("trace breaks", "trace breaks from admission to label", breaks)
    result.none("headers", "records without a required header", bus.without_headers)
    result.counts["trace_breaks"] = len(breaks)
    result.counts["sampled"] = answers.sampled


async def _effects(platform: Platform) -> Side:
    """Idempotency keys of the effects that the provider did."""
    url, after = f"{platform.url('provider')}/v1/effects", 0
    keys = Side()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url, params={"after": after, "limit": 1000}) as answer:
                page = await answer.json()
            for effect in page["effects"]:
                if effect["status"] == "EXECUTED":
                    keys.add(effect["key"])
            if page["next_after"] == after:
                return keys
            after = page["next_after"]


async def _quarantine(platform: Platform) -> dict[str, Any]:
    """Quarantine records by id; the mismatch where the record is of one."""
    environment = platform.processes["ingress"][0].environment
    if file := environment.get("FP_IG_QUARANTINE_FILE"):
        return {name: _mismatch(item) for name, item in records_of(Path(file)).items()}
    store = DynamoDB(environment["FP_IG_DYNAMODB_ENDPOINT"], "local", 2, lambda: Credentials("local", "local"))
    await store.start()
    found: dict[str, Any] = {}
    request: dict[str, Any] = {"TableName": environment["FP_IG_QUARANTINE_TABLE"], "ConsistentRead": True}
    try:
        while True:
            page = await store.call("Scan", request)
            for item in page["Items"]:
                found[item["quarantine_id"]["S"]] = _mismatch(item)
            if "LastEvaluatedKey" not in page:
                return found
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    finally:
        await store.stop()


def _mismatch(item: Item) -> Any:
    mismatch = item.get("mismatch")
    return json.loads(mismatch["S"]) if mismatch else None

"""The reconciliation: sets of ids from tables and topics, never counters of the services (domain.md C17, 10.5)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from botocore.credentials import Credentials

from ingress.dynamodb import DynamoDB
from laws.event_classes import CLASS_BY_NUMBER
from laws.identity import unpack_event_id
from laws.payload_hash import payload_hash_of_value
from laws.topics import ARRIVAL_ENTITIES, ARRIVAL_EVENTS, AUDIT, BY_NAME, CASE_TRIGGERS, FLOW_ANCHOR, LABELS, RTDL, TRAFFIC
from testkit.run.answers import Answers
from testkit.run.behind import Behind
from testkit.run.bus_reader import Seen, read_topics
from testkit.run.people import People
from testkit.run.platform import SERVICES, Platform
from testkit.world import Answer, Identity, Manifest

_INGRESS_TOPICS = (TRAFFIC, ARRIVAL_EVENTS, ARRIVAL_ENTITIES, FLOW_ANCHOR)
_PLATFORM_TOPICS = (RTDL, AUDIT, CASE_TRIGGERS, LABELS)
# Ids that a difference prints; all of them stand in reconciliation.json.
_SHOWN = 10


@dataclass
class Check:
    """One equation. It holds when neither side has what the other lacks."""

    name: str
    left: str
    right: str
    count: int
    only_left: list[str]
    only_right: list[str]

    @property
    def holds(self) -> bool:
        """Whether both sides are the same set."""
        return not self.only_left and not self.only_right

    def lines(self) -> list[str]:
        """What to print: one line where it holds, and the ids where it does not."""
        if self.holds:
            return [f"  ok    {self.left} = {self.right}: {self.count:,}"]
        shown = [f"  FAIL  {self.left} = {self.right} ({self.name})"]
        for side, ids in ((self.left, self.only_left), (self.right, self.only_right)):
            if ids:
                more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
                shown.append(f"        only in {side}: {', '.join(ids[:_SHOWN])}{more}")
        return shown


@dataclass
class Reconciliation:
    """All equations of a run."""

    checks: list[Check] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every equation holds."""
        return all(check.holds for check in self.checks)

    def equal(self, name: str, left_name: str, left: Iterable[Any], right_name: str, right: Iterable[Any]) -> None:
        """Compare two sets."""
        ours, theirs = {_text(item) for item in left}, {_text(item) for item in right}
        self.checks.append(Check(name, left_name, right_name, len(ours & theirs), sorted(ours - theirs), sorted(theirs - ours)))

    def none(self, name: str, what: str, found: Iterable[Any]) -> None:
        """There must be nothing of this."""
        self.checks.append(Check(name, what, "none", 0, sorted(_text(item) for item in found), []))

    def as_dict(self) -> dict[str, Any]:
        """For reconciliation.json."""
        return {
            "holds": self.holds,
            "counts": self.counts,
            "checks": [
                {
                    "name": check.name,
                    "left": check.left,
                    "right": check.right,
                    "holds": check.holds,
                    "in_both": check.count,
                    "only_left": check.only_left,
                    "only_right": check.only_right,
                }
                for check in self.checks
            ],
        }


def _text(item: Any) -> str:
    if isinstance(item, Identity):
        item = _parts(item)
    return item if isinstance(item, str) else "/".join(str(part) for part in item)


@dataclass
class Bus:
    """What stands on the topics."""

    records: list[Seen] = field(default_factory=list)

    def of(self, *event_types: str) -> list[Seen]:
        """Records of some event types."""
        return [seen for seen in self.records if seen.event_type in event_types]


async def read_bus(platform: Platform) -> Bus:
    """Read every topic that the run used."""
    bus = Bus()
    bootstrap = platform.engines.endpoints.kafka_bootstrap
    async for seen in read_topics(bootstrap, (*_INGRESS_TOPICS, *_PLATFORM_TOPICS), platform.site.prefix):
        bus.records.append(seen)
    return bus


async def reconcile(platform: Platform, answers: Answers, manifest: Manifest, behind: Behind, people: People, bus: Bus) -> Reconciliation:
    """Compare everything with everything that it must equal."""
    result = Reconciliation()
    rows = {name: await _rows(platform, name) for name in SERVICES}
    quarantine = await _quarantine(platform)
    _edge(result, answers, manifest, behind, bus, quarantine)
    _decisions(result, answers, bus, rows, await _effects(platform))
    _cases(result, bus, rows, people)
    _anomalies(result, manifest, behind, bus, rows, quarantine)
    _outboxes(result, bus, rows)
    _traces(result, answers, bus, rows)
    # The world puts no poison and no foreign run onto a topic: whatever is parked is a defect of the platform.
    result.none(
        "parked", "parked inputs", (f"{name}: {row['reason']}: {row['event_id']}" for name in SERVICES for row in rows[name]["parked"])
    )
    result.counts.update(
        {
            "sent": answers.sent,
            **{answer.value: answers.counts[answer] for answer in Answer},
            "retries": answers.retries,
            "triggers": len(answers.triggers),
            "decided": len(rows["decision_fabric"]["decision"]),
            "outcomes": len(rows["action_layer"]["outcome"]),
            "audited": len(rows["decision_log_audit"]["audit_record"]),
            "case_triggers": len(rows["case_trigger"]["published_trigger"]),
            "cases": len(rows["case_management"]["cases"]),
            "labels": len(rows["label_store"]["label"]),
            "records": len(bus.records),
        }
    )
    return result


def _edge(result: Reconciliation, answers: Answers, manifest: Manifest, behind: Behind, bus: Bus, quarantine: dict[str, Any]) -> None:
    answered = sum(answers.counts.values())
    result.equal("sent", "sent", [str(answers.sent)], "admitted + duplicate + quarantined + rejected", [str(answered)])
    result.equal("quarantined", "answers QUARANTINE", answers.quarantine_ids, "durable quarantine records", quarantine)
    result.none("surprises", "answers of another class or reason than expected", answers.surprises)
    ingress = [seen for seen in bus.records if BY_NAME[seen.topic] in _INGRESS_TOPICS]
    identities = Counter(Identity(seen.platform_run_id, seen.event_class, seen.event_id) for seen in ingress)
    result.equal("admitted", "admitted", answers.places, "identities on the topics", identities)
    copies = sum(identities.values()) - len(identities)
    result.equal("copies", "copies on the topics", [str(copies)], "injected behind their original", [str(behind.injected)])
    result.equal("injected", "injections of the world", [str(sum(manifest.topic.values()))], "injections made", [str(behind.injected)])
    result.counts["injected_on_topic"] = behind.injected


def _decisions(result: Reconciliation, answers: Answers, bus: Bus, rows: dict[str, dict[str, list[Any]]], effects: set[str]) -> None:
    df, al, dla = rows["decision_fabric"], rows["action_layer"], rows["decision_log_audit"]
    parked = {row["event_id"] for row in df["parked"]}
    decided = [row["source_event_id"] for row in df["decision"]]
    triggers = {identity.event_id for identity in answers.triggers}
    result.equal("decided", "admitted triggers", triggers, "decided + parked with reason", [*decided, *(parked & triggers)])
    decisions = {row["decision_id"] for row in df["decision"]}
    published = bus.of("decision_response")
    result.equal("decisions published", "decisions", decisions, "decisions on the bus", (_field(seen, "decision_id") for seen in published))
    intents = [_field(seen, "decision_id") for seen in bus.of("action_intent")]
    result.equal("intents", "decisions", decisions, "intents", intents)
    result.equal("outcomes", "decisions", decisions, "terminal outcomes", (row["decision_id"] for row in al["outcome"]))
    on_bus = {seen.event_id for seen in bus.of("action_outcome")}
    result.equal("outcomes published", "terminal outcomes", (row["outcome_id"] for row in al["outcome"]), "outcomes on the bus", on_bus)
    executed = [row["idempotency_key"] for row in al["outcome"] if row["status"] == "EXECUTED"]
    result.equal("effects", "outcomes EXECUTED", executed, "effects at the provider", effects)
    unresolved = [row["decision_id"] for row in dla["chain"] if row["chain_status"] == "UNRESOLVED" and row["unresolved_reasons"]]
    audited = [row["decision_id"] for row in dla["audit_record"]]
    result.equal("audited", "decisions", decisions, "audit records RESOLVED + unresolved with reason", [*audited, *unresolved])
    pointers = (_field(seen, "audit_id") for seen in bus.of("audit_pointer"))
    result.equal("pointers", "audit records", (row["audit_id"] for row in dla["audit_record"]), "audit pointers on the bus", pointers)
    result.counts["unresolved"] = len(unresolved)


def _cases(result: Reconciliation, bus: Bus, rows: dict[str, dict[str, list[Any]]], people: People) -> None:
    cm, ls = rows["case_management"], rows["label_store"]
    published = rows["case_trigger"]["published_trigger"]
    on_bus = {seen.event_id for seen in bus.of("case_trigger")}
    result.equal("triggers published", "case triggers", (row["case_trigger_id"] for row in published), "triggers on the bus", on_bus)
    triggered = [(row["case_id"], row["source_ref_id"]) for row in cm["timeline"] if row["timeline_event_type"] == "CASE_TRIGGERED"]
    named = [(row["case_id"], row["source_ref_id"]) for row in published]
    result.equal("timelines", "triggers published", named, "CASE_TRIGGERED timeline entries", triggered)
    signalled = [row["case_trigger_id"] for row in published if row["trigger_type"] == "EXTERNAL_SIGNAL"]
    result.equal("signals", "signals acknowledged", people.signals, "EXTERNAL_SIGNAL triggers", signalled)
    emitted = [row["label_assertion_id"] for row in cm["label_emission"]]
    result.equal("assertions", "assertions acknowledged", people.assertions, "labels handed over", emitted)
    accepted = [row["label_assertion_id"] for row in cm["label_emission"] if row["status"] == "ACCEPTED"]
    labels = [row["label_assertion_id"] for row in ls["label"]]
    result.equal("labels", "labels acknowledged", accepted, "label rows", labels)
    result.equal("labels published", "label rows", labels, "labels on the bus", {seen.event_id for seen in bus.of("label_assertion")})


def _anomalies(
    result: Reconciliation,
    manifest: Manifest,
    behind: Behind,
    bus: Bus,
    rows: dict[str, dict[str, list[Any]]],
    quarantine: dict[str, Any],
) -> None:
    told: dict[str, set[tuple[str, ...]]] = {}
    for seen in bus.of("corridor_anomaly"):
        body = json.loads(bytes(seen.envelope.payload))
        subject = body["subject"]
        identity = (subject["platform_run_id"], subject["event_class"], subject["event_id"], body["other_payload_hash"])
        told.setdefault(body["observer"], set()).add(identity)
    edge = {
        (*_parts(anomaly.identity), payload_hash_of_value(anomaly.event_type, anomaly.payload, None).hex())  # type: ignore[arg-type]  # JSON
        for anomaly in manifest.edge_anomalies
    }
    kept = {
        (entry["platform_run_id"], entry["event_class"], entry["event_id"], entry["other_payload_hash"])
        for entry in quarantine.values()
        if entry is not None
    }
    result.equal("anomalies at the edge", "changed payloads at the edge", edge, "mismatches kept by the edge", kept)
    result.equal("anomalies told by the edge", "mismatches kept by the edge", kept, "anomalies of ig on the bus", told.pop("ig", set()))
    injected = {(*_parts(identity), digest) for identity, digest in behind.changed}
    recorded = {
        (row["platform_run_id"], row["event_class"], row["event_id"], row["other_hash"]) for row in rows["decision_fabric"]["anomaly"]
    }
    result.equal("anomalies at DF", "changed payloads on topics", injected, "anomalies recorded by DF", recorded)
    result.equal(
        "anomalies told by DF", "anomalies recorded by DF", recorded, "anomalies of DF on the bus", told.pop("decision_fabric", set())
    )
    result.none("other anomalies", "anomalies of other observers", (item for items in told.values() for item in items))
    result.counts["anomalies"] = len(edge) + len(injected)


def _outboxes(result: Reconciliation, bus: Bus, rows: dict[str, dict[str, list[Any]]]) -> None:
    stored = {(row["topic"], row["event_id"], row["payload_hash"]) for name in SERVICES for row in rows[name]["outbox"]}
    on_bus = {
        (seen.topic, seen.event_id, seen.payload_hash)
        for seen in bus.records
        if BY_NAME[seen.topic] in _PLATFORM_TOPICS and seen.envelope.producer != "ig"
    }
    result.equal("outboxes", "outbox rows", stored, "outputs on the bus, by id and payload hash", on_bus)


def _traces(result: Reconciliation, answers: Answers, bus: Bus, rows: dict[str, dict[str, list[Any]]]) -> None:
    """One trace id from admission to label: every record carries its source event's."""
    breaks: list[str] = []
    source_of: dict[str, str] = {}
    admitted = {identity.event_id: trace for identity, trace in answers.traces.items()}
    for seen in bus.records:
        if BY_NAME[seen.topic] in _INGRESS_TOPICS and admitted.get(seen.event_id) != seen.trace_id:
            breaks.append(f"{seen.topic}:{seen.event_id}")
    for row in rows["decision_fabric"]["decision"]:
        source_of[row["decision_id"]] = row["source_event_id"]
    for seen in bus.of("decision_response", "action_intent", "action_outcome", "audit_pointer"):
        source = source_of.get(_field(seen, "decision_id"), "")
        if admitted.get(source) != seen.trace_id:
            breaks.append(f"{seen.event_type}:{seen.event_id}")
    for seen in bus.of("case_trigger", "label_assertion"):
        payload = json.loads(bytes(seen.envelope.payload))
        subject = payload.get("case_subject_key") or payload["label_subject_key"]
        if admitted.get(subject["event_id"]) != seen.trace_id:
            breaks.append(f"{seen.event_type}:{seen.event_id}")
    subject_of = {row["case_id"]: row["subject_event_id"] for row in rows["case_management"]["cases"]}
    for row in rows["case_management"]["timeline"]:
        if admitted.get(subject_of[row["case_id"]]) != row["trace_id"]:
            breaks.append(f"timeline:{row['case_timeline_event_id']}")
    for row in rows["label_store"]["label"]:
        if admitted.get(row["subject_event_id"]) != row["trace_id"]:
            breaks.append(f"label:{row['label_assertion_id']}")
    result.none("trace breaks", "trace breaks from admission to label", breaks)
    result.none("headers", "records without a required header", (f"{s.topic}:{s.event_id}: {s.missing}" for s in bus.records if s.missing))
    result.counts["trace_breaks"] = len(breaks)
    result.counts["sampled"] = len(answers.sampled)


def _field(seen: Seen, name: str) -> str:
    return str(json.loads(bytes(seen.envelope.payload))[name])


def _parts(identity: Identity) -> tuple[str, str, str]:
    return identity.platform_run_id, identity.event_class, identity.event_id


_SELECTS = {
    "decision_fabric": {"decision": "SELECT encode(decision_id, 'hex') AS decision_id, source_event_id FROM decision"},
    "action_layer": {
        "outcome": "SELECT encode(outcome_id, 'hex') AS outcome_id, encode(decision_id, 'hex') AS decision_id, "
        "encode(idempotency_key, 'hex') AS idempotency_key, status FROM outcome"
    },
    "decision_log_audit": {
        "chain": "SELECT encode(decision_id, 'hex') AS decision_id, chain_status, unresolved_reasons FROM chain",
        "audit_record": "SELECT encode(audit_id, 'hex') AS audit_id, encode(decision_id, 'hex') AS decision_id FROM audit_record",
    },
    "case_trigger": {
        "published_trigger": "SELECT encode(case_trigger_id, 'hex') AS case_trigger_id, encode(case_id, 'hex') AS case_id, "
        "source_ref_id, trigger_type FROM published_trigger"
    },
    "case_management": {
        "cases": "SELECT encode(case_id, 'hex') AS case_id, subject_event_id FROM cases",
        "timeline": "SELECT encode(case_timeline_event_id, 'hex') AS case_timeline_event_id, encode(case_id, 'hex') AS case_id, "
        "timeline_event_type, source_ref_id, encode(trace_id, 'hex') AS trace_id FROM timeline",
        "label_emission": "SELECT encode(label_assertion_id, 'hex') AS label_assertion_id, status FROM label_emission",
    },
    "label_store": {
        "label": "SELECT encode(label_assertion_id, 'hex') AS label_assertion_id, subject_event_id, "
        "encode(trace_id, 'hex') AS trace_id FROM label"
    },
}

_OF_ALL = {
    "outbox": "SELECT topic, event_id, encode(payload_hash, 'hex') AS payload_hash FROM outbox",
    "parked": "SELECT event_id, reason FROM parked WHERE released_seq IS NULL",
    "anomaly": "SELECT platform_run_id, class_no, event_id, encode(other_hash, 'hex') AS other_hash FROM anomaly JOIN run USING (run_no)",
}


async def _rows(platform: Platform, service: str) -> dict[str, list[Any]]:
    async with platform.site.store(service) as store:
        found = {name: [dict(row) for row in await store.fetch(sql)] for name, sql in {**_SELECTS[service], **_OF_ALL}.items()}
    for name in _OF_ALL:
        for row in found[name]:
            row["event_id"] = unpack_event_id(bytes(row["event_id"])) if row["event_id"] is not None else None
            if "class_no" in row:
                row["event_class"] = CLASS_BY_NUMBER[row["class_no"]].value
    return found


async def _effects(platform: Platform) -> set[str]:
    """Idempotency keys of the effects that the provider did."""
    url, after = f"{platform.url('provider')}/v1/effects", 0
    keys: set[str] = set()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url, params={"after": after, "limit": 1000}) as answer:
                page = await answer.json()
            keys.update(effect["key"] for effect in page["effects"] if effect["status"] == "EXECUTED")
            if page["next_after"] == after:
                return keys
            after = page["next_after"]


async def _quarantine(platform: Platform) -> dict[str, Any]:
    """Quarantine records by id; the mismatch where the record is of one."""
    environment = platform.processes["ingress"][0].environment
    store = DynamoDB(environment["FP_IG_DYNAMODB_ENDPOINT"], "local", 2, lambda: Credentials("local", "local"))
    await store.start()
    found: dict[str, Any] = {}
    request: dict[str, Any] = {"TableName": environment["FP_IG_QUARANTINE_TABLE"], "ConsistentRead": True}
    try:
        while True:
            page = await store.call("Scan", request)
            for item in page["Items"]:
                mismatch = item.get("mismatch")
                found[item["quarantine_id"]["S"]] = json.loads(mismatch["S"]) if mismatch else None
            if "LastEvaluatedKey" not in page:
                return found
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    finally:
        await store.stop()

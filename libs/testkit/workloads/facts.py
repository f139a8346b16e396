"""What a producer says, before it is bytes: envelope, headers and place of a record, or the request of a command."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from laws.canonical import canonical_json
from laws.catalogue import EventType
from laws.envelope import encode_envelope
from laws.headers import Correlation, Provenance
from laws.ids import hex64
from laws.topics import Topic
from testkit.harness import PLATFORM_RUN

SCENARIO_RUN = "a" * 32
PINS = {
    "platform_run_id": PLATFORM_RUN,
    "scenario_run_id": SCENARIO_RUN,
    "manifest_fingerprint": "b" * 64,
    "parameter_hash": "c" * 64,
    "seed": "7",
    "scenario_id": "baseline",
}
INSTANT = "2026-01-05T00:00:00.000000Z"
_PROVENANCE = Provenance("workload", "0" * 64, "0" * 64, "workload")


@dataclass(frozen=True)
class Fact:
    """One event; `key` overrides the key that the payload gives, for payloads that give none."""

    event_type: EventType
    event_id: str
    payload: dict[str, Any]
    pins: dict[str, str] = field(default_factory=lambda: PINS)
    raw: bytes | None = None
    """The whole value, where it is no envelope at all."""
    key: bytes | None = None


@dataclass(frozen=True)
class Ask(Fact):
    """A command: what is posted to a writer boundary, by whom."""

    path: str = ""
    principal: str = ""


@dataclass(frozen=True)
class Record:
    """One record as it stands on a topic."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def id_of(*parts: str | int) -> str:
    """An event id that follows from what it is about."""
    return hex64("testkit.workload.v1", list(parts))


def key_of(fact: Fact) -> bytes:
    """The bus key of a fact."""
    topic = fact.event_type.topic
    key = fact.key or (topic.key.key_of(fact.event_id, fact.payload) if topic is not None else None)
    if key is None:
        raise ValueError(f"{fact.event_type.name} {fact.event_id} has no key")
    return key


def record_of(fact: Fact) -> Record:
    """The record of a fact, lawful where the fact is."""
    event_type = fact.event_type
    if event_type.topic is None:
        raise ValueError(f"{event_type.name} travels on no topic")
    key = key_of(fact)
    run = fact.pins["platform_run_id"]
    value = fact.raw if fact.raw is not None else encode_envelope(_fields(fact), canonical_json(fact.payload))
    trace = hashlib.sha256(fact.event_id.encode()).hexdigest()
    correlation = Correlation(f"00-{trace[:32]}-{trace[32:48]}-00", "", run, SCENARIO_RUN, "P6", fact.event_id, "ig")
    headers = (*correlation.headers(), *_PROVENANCE.headers())
    return Record(event_type.topic, event_type.topic.partition(key), key, value, headers)


def _fields(fact: Fact) -> dict[str, Any]:
    event_type = fact.event_type
    fields: dict[str, Any] = {
        "event_id": fact.event_id,
        "event_type": event_type.name,
        "ts_utc": INSTANT,
        "producer": "workload",
        **fact.pins,
    }
    if "run_id" in event_type.required_pins:
        fields["run_id"] = fact.pins["scenario_run_id"]
    if event_type.schema_versions:
        fields["schema_version"] = event_type.schema_versions[-1]
    return fields


def garbage(like: Fact) -> Fact:
    """Bytes that are no envelope, under the key of a fact: its contract is broken before anything can be read from it."""
    return replace(like, key=key_of(like), raw=b"not json")


def unlawful(like: Fact) -> Fact:
    """An envelope whose payload breaks its contract, under the key and the id of a fact."""
    return replace(like, key=key_of(like), payload={"unlawful": like.event_id})


def of_unknown_run(like: Fact) -> Fact:
    """A fact of a run that nobody opened: parked before dedupe."""
    return replace(like, pins={**like.pins, "platform_run_id": "platform_20250101T000000Z"})

"""What a person must look at: decisions, failed outcomes, anomalies, and what the outside signals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from laws.catalogue import CORRIDOR_ANOMALY, EXTERNAL_SIGNAL
from laws.event_classes import EventClass
from laws.topics import AUDIT, CASE_TRIGGERS, RTDL
from testkit.harness import PLATFORM_RUN
from testkit.workloads import rtdl
from testkit.workloads.facts import INSTANT, PINS, Ask, Fact, id_of
from testkit.workloads.workload import Workload

_THREE_PINS = {name: PINS[name] for name in ("platform_run_id", "scenario_run_id", "manifest_fingerprint")}


class CaseTriggerWorkload(Workload):
    """A decision, its outcome, an anomaly and a signal, by turns."""

    service = "case_trigger"
    module = "case_trigger.app"
    topics = (RTDL, AUDIT, CASE_TRIGGERS)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """Every subject has a decision and an outcome; every third an anomaly, every second a signal."""
        facts = [rtdl.decision(seed, number), rtdl.outcome(seed, number)]
        if number % 3 == 0:
            facts.append(_anomaly(seed, number))
        if number % 2 == 0:
            facts.append(_signal(seed, number))
        return facts

    def other(self, fact: Fact) -> Fact:
        """Other words about the same subject."""
        if fact.event_type is EXTERNAL_SIGNAL:
            return rtdl.changed(fact, signal_kind="CHARGEBACK")
        return rtdl.changed(fact, other_payload_hash="4" * 64) if fact.event_type is CORRIDOR_ANOMALY else rtdl.other(fact)

    def elsewhere(self, fact: Fact) -> Fact:
        """Another subject."""
        for name in ("case_subject_key", "subject"):
            if name in fact.payload:
                return rtdl.changed(fact, **{name: {**fact.payload[name], "event_id": id_of(fact.event_id, "elsewhere")}})
        return rtdl.elsewhere(fact)

    def poison(self, seed: int, number: int) -> Sequence[Fact]:
        """An anomaly whose envelope has too few pins for a lawful trigger."""
        return [dataclasses.replace(_anomaly(seed, number), pins=_THREE_PINS)]


def _subject(seed: int, number: int) -> dict[str, str]:
    return {"platform_run_id": PLATFORM_RUN, "event_class": EventClass.TRAFFIC_FRAUD.value, "event_id": id_of(seed, number, "source")}


def _anomaly(seed: int, number: int) -> Fact:
    payload = {
        "reason_code": "PAYLOAD_HASH_MISMATCH",
        "subject": _subject(seed, number),
        "observer": "decision_fabric",
        "first_payload_hash": "2" * 64,
        "other_payload_hash": "3" * 64,
    }
    return Fact(CORRIDOR_ANOMALY, id_of(seed, number, "anomaly"), payload)


def _signal(seed: int, number: int) -> Ask:
    signal = f"card_scheme:{id_of(seed, number, 'signal')[:16]}"
    payload = {
        "signal_id": signal,
        "signal_kind": "DISPUTE",
        "case_subject_key": _subject(seed, number),
        "pins": PINS,
        "observed_time": INSTANT,
        "external_ref": "dispute",
    }
    return Ask(EXTERNAL_SIGNAL, signal, payload, path="/v1/signals", principal="EXTERNAL::card_scheme")

"""Label assertions, handed over as case management does; one of four about a subject that has a label of another source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from laws import ids
from laws.catalogue import LABEL_ASSERTION
from laws.contracts.label import LabelSubjectKey, label_semantic_hash
from laws.evidence import EvidenceRef
from laws.labels import LabelType, SourceType
from laws.topics import LABELS
from testkit.harness import PLATFORM_RUN
from testkit.workloads.facts import INSTANT, PINS, Ask, Fact, id_of
from testkit.workloads.workload import Workload

F = TypeVar("F", bound=Fact)

_TYPE = LabelType.FRAUD_DISPOSITION
_EVIDENCE = ({"ref_type": "CASE_EVENT", "ref_id": "9" * 32},)


class LabelStoreWorkload(Workload):
    """One label a subject, or two."""

    service = "label_store"
    module = "label_store.app"
    topics = (LABELS,)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """What a person says and, every fourth time, what the outside said before."""
        labels = [_label(seed, number, SourceType.HUMAN, "FRAUD_CONFIRMED")]
        return [*labels, _label(seed, number, SourceType.EXTERNAL, "LEGIT_CONFIRMED")] if number % 4 == 0 else labels

    def other(self, fact: Fact) -> Fact:
        """The same label with another value."""
        return _said(fact, label_value="FRAUD_SUSPECTED")

    def elsewhere(self, fact: Fact) -> Fact:
        """As `other`: a label's id is made from its subject, so no lawful label has this id and another lane."""
        return self.other(fact)


def _label(seed: int, number: int, source: SourceType, value: str) -> Ask:
    subject = {"platform_run_id": PLATFORM_RUN, "event_id": id_of(seed, number, "source")}
    timeline = id_of(seed, number, source.value)[:32]
    label = ids.label_assertion_id(timeline, PLATFORM_RUN, subject["event_id"], _TYPE.value)
    payload: dict[str, Any] = {
        "label_assertion_id": label,
        "case_timeline_event_id": timeline,
        "label_subject_key": subject,
        "pins": PINS,
        "label_type": _TYPE.value,
        "label_value": value,
        "effective_time": INSTANT,
        "observed_time": INSTANT,
        "source_type": source.value,
        "evidence_refs": list(_EVIDENCE),
        "payload_hash": "",
        **({"actor_id": "HUMAN::analyst-03"} if source is SourceType.HUMAN else {}),
    }
    ask = Ask(LABEL_ASSERTION, label, payload, path="/v1/labels", principal="SYSTEM::case_management")
    return _said(ask, label_value=value)


def _said(fact: F, label_value: str) -> F:
    payload = {**fact.payload, "label_value": label_value}
    payload["payload_hash"] = label_semantic_hash(
        msgspec.convert(payload["label_subject_key"], LabelSubjectKey),
        _TYPE,
        label_value,
        INSTANT,
        INSTANT,
        SourceType(payload["source_type"]),
        payload.get("actor_id"),
        msgspec.convert(payload["evidence_refs"], tuple[EvidenceRef, ...]),
    )
    return dataclasses.replace(fact, payload=payload)

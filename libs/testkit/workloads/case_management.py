"""Cases opened by triggers, and what analysts assert about them before a label store that now and then loses its answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from laws import ids
from laws.catalogue import CASE_ASSERTION, CASE_TRIGGER
from laws.event_classes import EventClass
from laws.topics import CASE_TRIGGERS
from testkit.harness import PLATFORM_RUN, Site
from testkit.provider.faults import FaultRates
from testkit.workloads import rtdl
from testkit.workloads.facts import INSTANT, PINS, Ask, Fact, id_of
from testkit.workloads.stand_in import StandIn
from testkit.workloads.workload import Workload

_ANALYST = "HUMAN::analyst-03"
_CLASS = EventClass.TRAFFIC_FRAUD.value
# A label that is not acknowledged at once waits five seconds for the next try: rare, or a run would wait for nothing else.
_FAULTS = FaultRates(unavailable=0.01, lost_before=0.01, lost_after=0.01)


class CaseManagementWorkload(Workload):
    """A case of two triggers a subject; every second is asserted upon."""

    service = "case_management"
    module = "case_management.app"
    topics = (CASE_TRIGGERS,)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """The triggers, and the assertion, which its caller repeats until the case is known."""
        facts = [_trigger(seed, number, "DECISION_ESCALATION", "decision:1"), _trigger(seed, number, "EXTERNAL_SIGNAL", "external:1")]
        return [*facts, _assertion(seed, number)] if number % 2 else facts

    def other(self, fact: Fact) -> Fact:
        """Other words about the same case."""
        if fact.event_type is CASE_ASSERTION:
            return rtdl.changed(fact, label_value="LEGIT_CONFIRMED")
        return rtdl.changed(fact, payload_hash="5" * 64)

    def elsewhere(self, fact: Fact) -> Fact:
        """Another case; an assertion's case must be known, so it stays at its own."""
        if fact.event_type is CASE_ASSERTION:
            return self.other(fact)
        source = id_of(fact.event_id, "elsewhere")
        subject = {**fact.payload["case_subject_key"], "event_id": source}
        return rtdl.changed(fact, case_id=ids.case_id(PLATFORM_RUN, _CLASS, source), case_subject_key=subject)

    def poison(self, seed: int, number: int) -> Sequence[Fact]:
        """A trigger that came before under another id: its place on the timeline is taken, and the store says so."""
        first = _trigger(seed, number, "DECISION_ESCALATION", "decision:1")
        return [first, dataclasses.replace(first, event_id=id_of(seed, number, "again"))]

    @contextlib.asynccontextmanager
    async def outside(self, site: Site, folder: Path, seed: int) -> AsyncIterator[None]:
        """The label store's two routes."""
        store = StandIn(dataclasses.replace(_FAULTS, seed=seed), lambda _, body: str(json.loads(body)["label_assertion_id"]), _acknowledged)
        async with store.serving("/v1/labels", "/v1/labels/{key}") as url:
            site.environment["FP_LABEL_STORE_URL"] = url
            yield


def _acknowledged(key: str) -> bytes:
    said = {"assertion_ref": f"ls:{key}", "reason": "ASSERTION_COMMITTED_NEW", "committed_at": INSTANT}
    return json.dumps(said).encode()


def _case_id(seed: int, number: int) -> str:
    return ids.case_id(PLATFORM_RUN, _CLASS, id_of(seed, number, "source"))


def _trigger(seed: int, number: int, kind: str, ref: str) -> Fact:
    case = _case_id(seed, number)
    payload = {
        "case_id": case,
        "case_trigger_id": ids.case_trigger_id(case, kind, ref),
        "trigger_type": kind,
        "source_ref_id": ref,
        "case_subject_key": {"platform_run_id": PLATFORM_RUN, "event_class": _CLASS, "event_id": id_of(seed, number, "source")},
        "pins": PINS,
        "observed_time": INSTANT,
        "payload_hash": "4" * 64,
        "evidence_refs": [{"ref_type": "DECISION", "ref_id": "1"}],
    }
    return Fact(CASE_TRIGGER, id_of(seed, number, kind), payload)


def _assertion(seed: int, number: int) -> Ask:
    case, ref = _case_id(seed, number), id_of(seed, number, "assertion")
    payload = {
        "assertion_ref": ref,
        "case_id": case,
        "label_type": "fraud_disposition",
        "label_value": "FRAUD_CONFIRMED",
        "effective_time": INSTANT,
        "observed_time": INSTANT,
        "source_type": "HUMAN",
        "pins": PINS,
        "evidence_refs": [{"ref_type": "CASE_EVENT", "ref_id": "9" * 32}],
        "actor_id": _ANALYST,
    }
    return Ask(CASE_ASSERTION, ref, payload, path=f"/v1/cases/{case}/assertions", principal=_ANALYST)

"""Decision, intent and outcome of each subject, in any order of arrival; some chains stay incomplete."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from laws.topics import RTDL
from testkit.workloads import rtdl
from testkit.workloads.facts import PINS, Fact, id_of
from testkit.workloads.workload import Workload


class DecisionLogAuditWorkload(Workload):
    """One chain a subject."""

    service = "decision_log_audit"
    module = "decision_log_audit.app"
    topics = (RTDL,)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """A whole chain; of seven, one without its outcome, and one whose decision is told again under another id."""
        facts = [rtdl.outcome(seed, number), rtdl.intent(seed, number), rtdl.decision(seed, number)]
        if number % 7 == 2:
            return facts[1:]
        if number % 7 == 5:
            facts.append(dataclasses.replace(rtdl.other(facts[2]), event_id=id_of(seed, number, "conflict")))
        return facts

    def other(self, fact: Fact) -> Fact:
        """Another configuration."""
        return rtdl.other(fact)

    def elsewhere(self, fact: Fact) -> Fact:
        """Another decision."""
        return rtdl.elsewhere(fact)

    def poison(self, seed: int, number: int) -> Sequence[Fact]:
        """A decision whose payload says that it is of another run, and its intent behind it."""
        return [
            rtdl.changed(rtdl.decision(seed, number), pins={**PINS, "platform_run_id": "platform_20250101T000000Z"}),
            rtdl.intent(seed, number),
        ]

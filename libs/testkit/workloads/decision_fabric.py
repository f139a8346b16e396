"""Flows: an anchor and traffic, in any order, some without an anchor; few accounts and devices, so that lanes share velocities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from laws.catalogue import FLOW_ANCHOR, TRAFFIC_EVENT
from laws.topics import FLOW_ANCHOR as ANCHOR_TOPIC
from laws.topics import RTDL, TRAFFIC
from testkit.workloads.facts import INSTANT, Fact, id_of
from testkit.workloads.workload import Workload

# Amounts that no rule, a step-up, a review and card testing look at.
_AMOUNTS = (2_500, 45_000, 120_000, 100)


class DecisionFabricWorkload(Workload):
    """One flow a subject."""

    service = "decision_fabric"
    module = "decision_fabric.app"
    topics = (ANCHOR_TOPIC, TRAFFIC, RTDL)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """Trigger, clearing, and in nine flows of ten the anchor."""
        flow, amount = f"{seed}-{number}", _AMOUNTS[number % len(_AMOUNTS)]
        money = {"amount_minor": amount, "currency": "EUR", "ts_utc": INSTANT, "flow_id": flow}
        facts = [
            Fact(TRAFFIC_EVENT, id_of(seed, number, kind), {**money, "event_seq": sequence, "event_type": kind})
            for sequence, kind in enumerate(("AUTH_REQUEST", "CLEARING"), 1)
        ]
        if number % 10:
            who = {"account_id": f"a{number % 9}", "party_id": f"p{number % 9}", "device_id": f"d{number % 5}", "ip_id": f"i{number % 3}"}
            anchor = {**money, **who, "merchant_id": f"m{number % 4}", "arrival_seq": number + 1}
            facts.append(Fact(FLOW_ANCHOR, id_of(seed, number, "anchor"), anchor))
        return facts

    def other(self, fact: Fact) -> Fact:
        """Another amount."""
        return dataclasses.replace(fact, payload={**fact.payload, "amount_minor": fact.payload["amount_minor"] + 1})

    def elsewhere(self, fact: Fact) -> Fact:
        """Another flow."""
        return dataclasses.replace(fact, payload={**fact.payload, "flow_id": fact.payload["flow_id"] + "x"})

"""The service of docs/add_a_service.md: refunds of flows, and traffic that is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from laws.catalogue import TRAFFIC_EVENT
from laws.topics import TRAFFIC
from refund_watch import app
from testkit.workloads.facts import INSTANT, Fact, id_of
from testkit.workloads.workload import Workload


class RefundWatchWorkload(Workload):
    """A request and two refunds a flow."""

    service = "refund_watch"
    module = "refund_watch.app"
    paths = (Path(app.__file__).parents[1],)
    topics = (TRAFFIC,)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """Events of one flow."""
        return [
            Fact(
                TRAFFIC_EVENT,
                id_of(seed, number, sequence),
                {
                    "flow_id": f"{seed}-{number}",
                    "event_seq": sequence,
                    "event_type": kind,
                    "ts_utc": INSTANT,
                    "amount_minor": 100 + number,
                    "currency": "EUR",
                },
            )
            for sequence, kind in enumerate(("AUTH_REQUEST", "REFUND", "REFUND"), 1)
        ]

    def other(self, fact: Fact) -> Fact:
        """Another amount."""
        return dataclasses.replace(fact, payload={**fact.payload, "amount_minor": fact.payload["amount_minor"] + 1})

    def elsewhere(self, fact: Fact) -> Fact:
        """Another flow."""
        return dataclasses.replace(fact, payload={**fact.payload, "flow_id": fact.payload["flow_id"] + "x"})

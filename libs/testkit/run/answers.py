"""What the sender got as final answers, by identity."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from testkit.world import Answer, EdgeSend, Identity


class Place(NamedTuple):
    """Where an admitted event stands, as the edge said."""

    topic: str
    partition: int
    offset: int


class Surprise(NamedTuple):
    """A final answer of another class or reason than the world expected."""

    kind: str
    expected: str
    got: str
    event_id: str


@dataclass
class Answers:
    """Every body that was sent, by the class of its final answer."""

    sent: int = 0
    counts: Counter[Answer] = field(default_factory=Counter)
    places: dict[Identity, Place] = field(default_factory=dict)
    triggers: set[Identity] = field(default_factory=set)
    quarantine_ids: set[str] = field(default_factory=set)
    traces: dict[Identity, str] = field(default_factory=dict)
    sampled: set[Identity] = field(default_factory=set)
    rejected_by_status: Counter[int] = field(default_factory=Counter)
    retries: int = 0
    surprises: list[Surprise] = field(default_factory=list)

    def final(self, step: EdgeSend, answer: Answer, reason: str, place: Place | None, quarantine_id: str | None, status: int) -> None:
        """Take the final answer to one body."""
        self.counts[answer] += 1
        if answer is Answer.ADMITTED and step.identity is not None and place is not None:
            self.places[step.identity] = place
            self.traces[step.identity] = step.traceparent[3:35]
            if step.traceparent.endswith("-01"):
                self.sampled.add(step.identity)
            if step.is_trigger:
                self.triggers.add(step.identity)
        if quarantine_id is not None:
            self.quarantine_ids.add(quarantine_id)
        if answer is Answer.REJECTED:
            self.rejected_by_status[status] += 1
        expected = step.expected
        if answer is not expected.answer or (expected.reason is not None and reason != expected.reason):
            event_id = step.identity.event_id if step.identity else ""
            self.surprises.append(
                Surprise(step.kind.value, f"{expected.answer} {expected.reason or ''}", f"{answer} {reason} {status}", event_id)
            )

"""What a sender got as final answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from testkit.run.sides import Side
from testkit.world import Answer, EdgeKind, Expected, Identity

_SIDES = ("admitted", "traces", "triggers", "quarantined")


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


class Sent(NamedTuple):
    """What is remembered of a body for its answer."""

    kind: EdgeKind
    identity: Identity | None
    trace_id: str
    sampled: bool
    is_trigger: bool
    expected: Expected


def identity_text(platform_run_id: str, event_class: str, event_id: str) -> str:
    """An identity as one text."""
    return f"{platform_run_id}/{event_class}/{event_id}"


@dataclass
class Answers:
    """Every body that was sent, by the class of its final answer; what was admitted, as sides of the reconciliation."""

    sent: int = 0
    counts: Counter[Answer] = field(default_factory=Counter)
    admitted: Side = field(default_factory=Side)
    """Identities."""
    traces: Side = field(default_factory=Side)
    """Event id and trace id of what was admitted."""
    triggers: Side = field(default_factory=Side)
    """Event ids of admitted triggers."""
    quarantined: Side = field(default_factory=Side)
    """Quarantine ids."""
    rejected_by_status: Counter[int] = field(default_factory=Counter)
    sampled: int = 0
    retries: int = 0
    surprises: list[Surprise] = field(default_factory=list)

    @classmethod
    def kept_in(cls, folder: Path) -> Answers:
        """Answers whose sides stand in files of a folder, for another process to read."""
        answers = cls()
        for name in _SIDES:
            setattr(answers, name, Side(folder / f"{name}.txt"))
        return answers

    @classmethod
    def left_in(cls, folder: Path) -> Answers:
        """The sides that another process kept in a folder; its counts come by another way."""
        answers = cls()
        for name in _SIDES:
            setattr(answers, name, Side.load(folder / f"{name}.txt"))
        return answers

    def flush(self) -> None:
        """Everything kept so far stands in its file."""
        for name in _SIDES:
            getattr(self, name).flush()

    def final(self, sent: Sent, answer: Answer, reason: str, quarantine_id: str | None, status: int) -> None:
        """Take the final answer to one body."""
        self.counts[answer] += 1
        identity = sent.identity
        event_id = identity.event_id if identity is not None else ""
        if answer is Answer.ADMITTED and identity is not None:
            self.admitted.add(identity_text(identity.platform_run_id, identity.event_class, event_id))
            self.traces.add(f"{event_id} {sent.trace_id}")
            self.sampled += sent.sampled
            if sent.is_trigger:
                self.triggers.add(event_id)
        if quarantine_id is not None:
            self.quarantined.add(quarantine_id)
        if answer is Answer.REJECTED:
            self.rejected_by_status[status] += 1
        expected = sent.expected
        if answer is not expected.answer or (expected.reason is not None and reason != expected.reason):
            self.surprises.append(
                Surprise(sent.kind.value, f"{expected.answer} {expected.reason or ''}", f"{answer} {reason} {status}", event_id)
            )

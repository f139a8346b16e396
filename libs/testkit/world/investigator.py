"""The people who work the cases: what they assert once they know the truth, and when it became true (domain.md 8.1, 8.6).

An investigator sees what a person would see: the subject of a case, why it was opened, and the facts of the flow. A case
without a reason that concerns the customer (an anomaly of the platform, a failed action) gets no label.
"""

from collections.abc import Collection
from enum import StrEnum
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from testkit.world.clock import format_utc
from testkit.world.config import WorldConfig
from testkit.world.identity import Identity
from testkit.world.outside import ExternalSignal, SignalKind
from testkit.world.steps import EdgeKind, EdgeSend, Step
from testkit.world.truth import FlowIds, FraudKind, Truth

ANALYSTS = 12


class TriggerType(StrEnum):
    """domain.md 8.1."""

    DECISION_ESCALATION = "DECISION_ESCALATION"
    ACTION_FAILURE = "ACTION_FAILURE"
    ANOMALY = "ANOMALY"
    EXTERNAL_SIGNAL = "EXTERNAL_SIGNAL"
    MANUAL_ASSERTION = "MANUAL_ASSERTION"


ABOUT_THE_CUSTOMER: Final = frozenset({TriggerType.DECISION_ESCALATION, TriggerType.EXTERNAL_SIGNAL, TriggerType.MANUAL_ASSERTION})


class LabelDraft(msgspec.Struct, frozen=True):
    """What a label assertion says (domain.md 8.6); case ids, pins, evidence and hash are the platform's to add.

    effective_time is when the fact became true: the event's own time. observed_time is when it was learned, in world time.
    """

    about: Identity
    label_type: str
    label_value: str
    effective_time: str
    observed_time: str
    source_type: str
    actor_id: str | None = None
    external_ref: str | None = None


class TruthOfEvent(Protocol):
    """Answers what is true of the flow behind an event id."""

    def of_event(self, event_id: str) -> Truth:
        """The truth about the flow that the event belongs to."""


_HONEST: Final = Truth(FraudKind.NONE, None, 0)


class FraudBook:
    """Truth by event id, for cases that know no flow id.

    An event id can't be inverted, so the triggers of flows that are not honest are remembered and every other event is
    honest. Memory: one entry in some 80 triggers. Whoever has the flow id asks FlowIds.truth_of, which remembers nothing.
    """

    def __init__(self, config: WorldConfig) -> None:
        self._flow_ids = FlowIds(config.seed)
        self._by_event: dict[str, Truth] = {}

    def __len__(self) -> int:
        return len(self._by_event)

    def observe(self, step: Step) -> None:
        """Takes note of one step of the stream."""
        if isinstance(step, EdgeSend) and step.kind is EdgeKind.VALID and step.is_trigger and step.identity is not None:
            truth = self._flow_ids.truth_of(step.flow_id)
            if truth.kind is not FraudKind.NONE:
                self._by_event[step.identity.event_id] = truth

    def of_event(self, event_id: str) -> Truth:
        """The truth about the flow that the event belongs to."""
        return self._by_event.get(event_id, _HONEST)


def decide(
    subject: Identity, event_ts_us: int, triggers: Collection[TriggerType], truths: TruthOfEvent, learned_us: int
) -> list[LabelDraft]:
    """What an analyst asserts about the subject of a case, learned at a world time in microseconds.

    A flow of a campaign is FRAUD_CONFIRMED; a friendly one FRAUD_SUSPECTED, because nobody can prove who bought; any other
    is LEGIT_CONFIRMED. An account that was taken over is asserted too. The same case always goes to the same analyst.
    """
    if ABOUT_THE_CUSTOMER.isdisjoint(triggers):
        return []
    truth = truths.of_event(subject.event_id)
    if truth.is_campaign:
        disposition = "FRAUD_CONFIRMED"
    elif truth.kind is FraudKind.FRIENDLY:
        disposition = "FRAUD_SUSPECTED"
    else:
        disposition = "LEGIT_CONFIRMED"
    labels = [("fraud_disposition", disposition)]
    if truth.kind is FraudKind.ATO:
        labels.append(("account_takeover", "ATO_CONFIRMED"))
    analyst = f"HUMAN::analyst-{blake2b(subject.event_id.encode(), digest_size=1).digest()[0] % ANALYSTS + 1:02d}"
    return [
        LabelDraft(subject, label_type, value, format_utc(event_ts_us), format_utc(learned_us), "HUMAN", actor_id=analyst)
        for label_type, value in labels
    ]


_CHARGEBACK_STATUS: Final = {
    SignalKind.DISPUTE: "PENDING",
    SignalKind.CHARGEBACK: "CHARGEBACK",
    SignalKind.DISPUTE_CLOSED: "NO_CHARGEBACK",
}


def label_of(signal: ExternalSignal) -> LabelDraft | None:
    """The chargeback_status that a signal asserts by itself, source EXTERNAL; None for a detection, which only opens a case."""
    status = _CHARGEBACK_STATUS.get(signal.kind)
    if status is None:
        return None
    return LabelDraft(
        signal.about,
        "chargeback_status",
        status,
        format_utc(signal.ts_us),
        format_utc(signal.at_us),
        "EXTERNAL",
        external_ref=signal.external_ref,
    )

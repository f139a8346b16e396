"""What was put into a stream, counted while it passes, to be compared with what the platform says it saw."""

from collections import Counter

import msgspec

from testkit.world.identity import Identity
from testkit.world.steps import EdgeKind, EdgeSend, Step, TopicInject, TopicKind


class InjectedAnomaly(msgspec.Struct, frozen=True):
    """A second payload for an identity that already has one.

    Its differing hash is taken over {event_type, payload}: engine outputs have no schema_version.
    """

    identity: Identity
    event_type: str
    payload: dict[str, object]


class Manifest:
    """Counts steps by kind and collects injected anomalies, at the edge and on a topic apart.

    Counts are flat in memory. The anomalies grow with the changed payloads, .4 % of the events by default; a long run takes
    them away with drain().
    """

    def __init__(self) -> None:
        self.edge: Counter[EdgeKind] = Counter()
        self.topic: Counter[TopicKind] = Counter()
        self.notes: Counter[str] = Counter()
        """Oddities of valid events: out_of_order, large_payload, late_context, missing_context, context_after_trigger."""
        self.valid_by_class: Counter[str] = Counter()
        self.quarantine_reasons: Counter[str] = Counter()
        """How many bodies the edge owes each quarantine reason."""
        self.triggers = 0
        self.edge_anomalies: list[InjectedAnomaly] = []
        self.topic_anomalies: list[InjectedAnomaly] = []

    def observe(self, step: Step) -> None:
        """Takes note of one step; call it once for each, in stream order."""
        if isinstance(step, TopicInject):
            self.topic[step.kind] += 1
            if step.payload is not None:
                self.topic_anomalies.append(InjectedAnomaly(step.of, step.event_type, step.payload))
            return
        self.edge[step.kind] += 1
        if step.kind is EdgeKind.VALID:
            self._observe_valid(step)
        elif step.expected.reason is not None:
            self.quarantine_reasons[step.expected.reason] += 1
        if step.changed_payload is not None and step.identity is not None:
            self.edge_anomalies.append(InjectedAnomaly(step.identity, step.event_type, step.changed_payload))

    def drain(self) -> tuple[list[InjectedAnomaly], list[InjectedAnomaly]]:
        """The anomalies at the edge and on topics since the last call; the counts stay."""
        taken = self.edge_anomalies, self.topic_anomalies
        self.edge_anomalies, self.topic_anomalies = [], []
        return taken

    def as_dict(self) -> dict[str, object]:
        """The counts as plain values, for a report."""
        return {
            "edge": {kind.value: self.edge[kind] for kind in EdgeKind},
            "topic": {kind.value: self.topic[kind] for kind in TopicKind},
            "valid_by_class": dict(sorted(self.valid_by_class.items())),
            "quarantine_reasons": dict(sorted(self.quarantine_reasons.items())),
            "notes": dict(sorted(self.notes.items())),
            "triggers": self.triggers,
        }

    def _observe_valid(self, step: EdgeSend) -> None:
        assert step.identity is not None
        self.valid_by_class[step.identity.event_class] += 1
        self.triggers += step.is_trigger
        self.notes.update(step.notes)

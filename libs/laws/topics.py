"""The fourteen topics and their keys (authority.md appendix C, domain.md 0.4 and 1.6). Partition counts never change."""

from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from laws.ids import hex64
from laws.partition import partition_for


class TopicClass(StrEnum):
    """Classes that retention and partition counts follow."""

    CONTROL = "control"
    HIGH_VOLUME = "high-volume"
    AUDIT = "audit"
    CASE = "case"
    LABELS = "labels"
    LEARNING_CONTROL = "learning-control"
    GOVERNANCE = "governance"


Path = tuple[str, ...]


class KeyRecipe(NamedTuple):
    """Which fields make the bus key. The first alternative whose paths are all present and not empty is taken."""

    name: str
    alternatives: tuple[tuple[Path, ...], ...]

    def key_of(self, event_id: str, payload: dict[str, Any] | msgspec.Struct) -> bytes | None:
        """The key (64 hex characters as bytes; opaque and uniform), or None where no alternative is complete."""
        for paths in self.alternatives:
            values = [event_id if path == ("event_id",) else _at(payload, path) for path in paths]
            if None not in values and "" not in values:
                return self.key_of_values(values)
        return None

    def key_of_values(self, values: list[Any]) -> bytes:
        """The key of field values that the caller has at hand."""
        return _key(self.name, *values)


# Keys that are remembered: the events of one decision follow each other closely. Typed, because 1 and true are equal and are two keys.
@lru_cache(maxsize=4096, typed=True)
def _key(recipe: str, *values: Any) -> bytes:
    return hex64(recipe, list(values)).encode()


def _at(payload: Any, path: Path) -> Any:
    for step in path:
        if isinstance(payload, dict):
            payload = payload.get(step)
        elif isinstance(payload, msgspec.Struct):
            payload = getattr(payload, step, None)
        else:
            return None
    return payload


class Topic(NamedTuple):
    """One topic of the catalogue."""

    name: str
    topic_class: TopicClass
    partitions: int
    retention_days: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    key: KeyRecipe

    def partition(self, key: bytes) -> int:
        """The partition of a key: murmur2 as Kafka's own clients compute it, set explicitly by every producer."""
        return partition_for(key, self.partitions)


_RUN_KEY = KeyRecipe("fp.key.run.v1", ((("platform_run_id",),), (("event_id",),)))
# Traffic and anchors share one recipe and one partition count: a lane reads partition i of both, so that they meet.
_FLOW_KEY = KeyRecipe("fp.key.flow.v1", ((("flow_id",),),))
_ARRIVAL_KEY = KeyRecipe("fp.key.arrival.v1", ((("merchant_id",), ("arrival_seq",)),))
# Decision, intent and outcome of one decision share a partition, so their order is the order of the log.
_DECISION_KEY = KeyRecipe("fp.key.decision.v1", ((("decision_id",),),))
_AUDIT_KEY = KeyRecipe("fp.key.audit.v1", ((("decision_id",),), (("subject", "event_id"),), (("event_id",),)))
_CASE_KEY = KeyRecipe("fp.key.case.v1", ((("case_id",),),))
_LABEL_KEY = KeyRecipe("fp.key.label.v1", ((("label_subject_key", "event_id"),),))
_REQUEST_KEY = KeyRecipe("fp.key.request.v1", ((("request_id",),),))
_SCOPE_KEY = KeyRecipe("fp.key.scope.v1", ((("scope_key",),),))


def _high(name: str, producers: tuple[str, ...], consumers: tuple[str, ...], key: KeyRecipe) -> Topic:
    return Topic(name, TopicClass.HIGH_VOLUME, 6, 7, producers, consumers, key)


def _low(  # one row of the table
    name: str, topic_class: TopicClass, producers: tuple[str, ...], consumers: tuple[str, ...], key: KeyRecipe, days: int = 30
) -> Topic:
    return Topic(name, topic_class, 3, days, producers, consumers, key)


CONTROL = _low("fp.bus.control.v1", TopicClass.CONTROL, ("sr", "orchestrator"), ("wsp", "reporter"), _RUN_KEY)
TRAFFIC = _high("fp.bus.traffic.fraud.v1", ("ig",), ("decision_fabric",), _FLOW_KEY)
ARRIVAL_EVENTS = _high("fp.bus.context.arrival_events.v1", ("ig",), ("context_binder",), _ARRIVAL_KEY)
ARRIVAL_ENTITIES = _high("fp.bus.context.arrival_entities.v1", ("ig",), ("context_binder",), _ARRIVAL_KEY)
FLOW_ANCHOR = _high("fp.bus.context.flow_anchor.fraud.v1", ("ig",), ("decision_fabric", "context_binder"), _FLOW_KEY)
RTDL = _high(
    "fp.bus.rtdl.v1",
    ("decision_fabric", "action_layer"),
    ("action_layer", "decision_log_audit", "case_trigger"),
    _DECISION_KEY,
)
AUDIT = _low(
    "fp.bus.audit.v1",
    TopicClass.AUDIT,
    # Anomalies and quarantine facts of every service are events on this topic (docs/decisions, anomalies on the audit topic).
    (
        "decision_log_audit",
        "ig",
        "decision_fabric",
        "action_layer",
        "case_trigger",
        "case_management",
        "label_store",
    ),
    ("case_trigger", "case_management", "evidence"),
    _AUDIT_KEY,
)
CASE_TRIGGERS = _low("fp.bus.case.triggers.v1", TopicClass.CASE, ("case_trigger",), ("case_management",), _CASE_KEY)
LABELS = _low("fp.bus.labels.events.v1", TopicClass.LABELS, ("label_store",), ("ofs", "reporter"), _LABEL_KEY)
OFS_REQUESTS = _low("fp.bus.learning.ofs.requests.v1", TopicClass.LEARNING_CONTROL, ("orchestrator",), ("ofs",), _REQUEST_KEY)
OFS_EVENTS = _low("fp.bus.learning.ofs.events.v1", TopicClass.LEARNING_CONTROL, ("ofs",), ("orchestrator", "reporter"), _REQUEST_KEY)
MF_REQUESTS = _low("fp.bus.learning.mf.requests.v1", TopicClass.LEARNING_CONTROL, ("orchestrator",), ("mf",), _REQUEST_KEY)
MF_EVENTS = _low("fp.bus.learning.mf.events.v1", TopicClass.LEARNING_CONTROL, ("mf",), ("orchestrator", "reporter"), _REQUEST_KEY)
REGISTRY_EVENTS = _low("fp.bus.learning.registry.events.v1", TopicClass.GOVERNANCE, ("mpr",), ("decision_fabric",), _SCOPE_KEY, days=90)

TOPICS = (
    CONTROL,
    TRAFFIC,
    ARRIVAL_EVENTS,
    ARRIVAL_ENTITIES,
    FLOW_ANCHOR,
    RTDL,
    AUDIT,
    CASE_TRIGGERS,
    LABELS,
    OFS_REQUESTS,
    OFS_EVENTS,
    MF_REQUESTS,
    MF_EVENTS,
    REGISTRY_EVENTS,
)
BY_NAME = {topic.name: topic for topic in TOPICS}

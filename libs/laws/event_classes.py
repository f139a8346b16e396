"""Event classes: the middle part of the dedupe identity (domain.md 2.4)."""

from enum import StrEnum


class EventClass(StrEnum):
    """Class of an event or command. Stored as `number`: numbers are for ever and are never reused."""

    # Enum hashes by a function of Python; these are keys of every record's dictionaries.
    __hash__ = str.__hash__

    TRAFFIC_FRAUD = "traffic_fraud"
    CONTEXT_ARRIVAL = "context_arrival"
    CONTEXT_ARRIVAL_ENTITIES = "context_arrival_entities"
    CONTEXT_FLOW_FRAUD = "context_flow_fraud"
    RTDL_DECISION = "rtdl_decision"
    RTDL_ACTION_INTENT = "rtdl_action_intent"
    RTDL_ACTION_OUTCOME = "rtdl_action_outcome"
    AUDIT = "audit"
    CASE_TRIGGER = "case_trigger"
    LABEL_ASSERTION = "label_assertion"
    CONTROL = "control"
    LEARNING = "learning"
    REGISTRY = "registry"
    EXTERNAL_SIGNAL = "external_signal"
    CASE_ASSERTION = "case_assertion"
    OPERATOR = "operator"

    @property
    def number(self) -> int:
        """The small integer that rows carry instead of the name."""
        return _NUMBERS[self]


_NUMBERS = {
    EventClass.TRAFFIC_FRAUD: 1,
    EventClass.CONTEXT_ARRIVAL: 2,
    EventClass.CONTEXT_ARRIVAL_ENTITIES: 3,
    EventClass.CONTEXT_FLOW_FRAUD: 4,
    EventClass.RTDL_DECISION: 5,
    EventClass.RTDL_ACTION_INTENT: 6,
    EventClass.RTDL_ACTION_OUTCOME: 7,
    EventClass.AUDIT: 8,
    EventClass.CASE_TRIGGER: 9,
    EventClass.LABEL_ASSERTION: 10,
    EventClass.CONTROL: 11,
    EventClass.LEARNING: 12,
    EventClass.REGISTRY: 13,
    EventClass.EXTERNAL_SIGNAL: 14,
    EventClass.CASE_ASSERTION: 15,
    EventClass.OPERATOR: 16,
}

CLASS_BY_NUMBER = {number: event_class for event_class, number in _NUMBERS.items()}

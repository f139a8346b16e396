"""What the edge lets in, as one value with one digest: class map, schema policy and partitioning (domain.md 2.4, 2.13, 1.6)."""

from functools import cache
from typing import Any

import msgspec

from laws.catalogue import EVENT_TYPES, EventType
from laws.contracts.world import LEAK_FIELDS
from laws.ids import hex64

WRITER = "ig"
"""The edge's name among the producers of a topic, its runtime_lane, and the observer of its anomalies."""

DOORS: dict[str, EventType] = {
    event_type.name: event_type
    for event_type in EVENT_TYPES.values()
    if event_type.topic is not None and event_type.topic.producers == (WRITER,)
}
"""Types that come in here: those of topics which the edge alone writes. All others have a writer of their own, whose truth a
producer outside could otherwise forge."""

LEAK_PREFIXES = ("s4_",)
"""Truth products of the engine, which are read offline only (domain.md 0.5)."""

TYPE_OF_CLASS: dict[str, EventType] = {event_type.event_class.value: event_type for event_type in DOORS.values()}
"""The type of a class: one to one for the types that come in here, so that a row needs to keep the class only."""


@cache
def policy_digest() -> str:
    """Digest (hex64) over everything that decides on admission: one changed contract is another digest (domain.md 2.13)."""
    return hex64(
        "ig.schema_policy_digest.v1",
        {"leak_fields": sorted(LEAK_FIELDS), "leak_prefixes": list(LEAK_PREFIXES), "types": [_entry(t) for t in DOORS.values()]},
    )


def _entry(event_type: EventType) -> dict[str, Any]:
    topic = event_type.topic
    assert topic is not None
    return {
        "event_type": event_type.name,
        "event_class": event_type.event_class.value,
        "topic": topic.name,
        "partitions": topic.partitions,
        "key_recipe": topic.key.name,
        "key_alternatives": [[list(path) for path in paths] for paths in topic.key.alternatives],
        "required_pins": list(event_type.required_pins),
        "schema_versions": list(event_type.schema_versions),
        "payload_schema": msgspec.json.schema(event_type.contract),
    }

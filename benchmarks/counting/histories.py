"""Fixed histories for the counters: the same inputs in the same batches, whatever the machine does.

Nothing of them travels on a topic. Each record gets the place that it would have had there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.posting.service import build as build_posting
from benchmarks.workload import PARTITIONS, PAYMENTS, POSTINGS, RUN, records
from decision_fabric.app import build as build_fabric
from laws.canonical import canonical_json
from laws.catalogue import EVENT_TYPES
from laws.envelope import decode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import AUDIT, FLOW_ANCHOR, RTDL, TRAFFIC, Topic
from spine.inputs import Source
from spine.service import Service
from spine.settings import Settings
from testkit.world import NO_MESS, EdgeSend, RunIds, World, WorldConfig

CLUSTER = "counted-cluster-000000"
TOPIC_ID = "11111111-1111-1111-1111-111111111111"


class Shape(NamedTuple):
    """Batches of one size. Those that come first are applied and not counted: they prepare statements and touch pages."""

    batch: int
    first: int
    counted: int

    @property
    def events(self) -> int:
        """Of a whole history of this shape."""
        return self.batch * (self.first + self.counted)


# Two sizes tell what a batch costs from what an event costs. Each fits in what one partition has of `records` below.
SHAPES = {"batches_of_20": Shape(20, 3, 20), "batches_of_400": Shape(400, 2, 3)}


@dataclass(frozen=True)
class History:
    """A service and what comes to it."""

    build: Callable[[Settings], Service]
    topics: tuple[Topic, ...]
    """Where its outputs go."""
    sources: Callable[[int], list[Source]]
    """All records of one partition, in the order in which they came."""


def _place(topic: Topic, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]], ends: dict[str, int]) -> Source:
    offset = ends.get(topic.name, 0)
    ends[topic.name] = offset + 1
    return Source(CLUSTER, TOPIC_ID, topic.name, partition, offset, key, value, tuple(headers))


def _payments(partition: int) -> list[Source]:
    ends: dict[str, int] = {}
    size = int(PARTITIONS * 1.2 * max(shape.events for shape in SHAPES.values()))
    mine = (record for record in records(size, seed=5) if record.partition == partition)
    return [_place(PAYMENTS, partition, record.key, record.value, record.headers, ends) for record in mine]


def _flows(partition: int) -> list[Source]:
    ends: dict[str, int] = {}
    return [
        _place(topic, partition, key, value, headers, ends) for topic, key, value, headers in _world() if topic.partition(key) == partition
    ]


def _world() -> Iterator[tuple[Topic, bytes, bytes, list[tuple[str, bytes]]]]:
    # Six in ten of a world's events are traffic or anchors.
    size = int(PARTITIONS * 2.1 * max(shape.events for shape in SHAPES.values()))
    for step in World(WorldConfig(seed=5, size=size, mess=NO_MESS), RunIds(RUN, "a" * 32)):
        if not isinstance(step, EdgeSend):
            continue
        envelope = decode_envelope(step.envelope)
        topic = EVENT_TYPES[envelope.event_type].topic
        if topic not in (TRAFFIC, FLOW_ANCHOR):
            continue
        key = topic.key.key_of(envelope.event_id, json.loads(bytes(envelope.payload)))
        assert key is not None
        correlation = Correlation(step.traceparent, "", RUN, "a" * 32, "P6", envelope.event_id, "ig")
        headers = [*correlation.headers(), *Provenance("bench", "bench", "bench", "bench").headers()]
        yield topic, key, canonical_json(json.loads(step.envelope)), headers


HISTORIES = {
    "posting": History(build_posting, (POSTINGS, AUDIT), _payments),
    "decision_fabric": History(build_fabric, (RTDL, AUDIT), _flows),
}


def batches(sources: list[Source], shape: Shape, order: Sequence[str]) -> Iterator[list[Source]]:
    """A history's batches. Within one, each topic's records stand together, in the order in which the group names its topics."""
    if len(sources) < shape.events:
        raise ValueError(f"{len(sources)} records are less than the {shape.events} that {shape} takes")
    for start in range(0, shape.events, shape.batch):
        yield sorted(sources[start : start + shape.batch], key=lambda source: order.index(source.topic))

"""Fixed histories for the counters: the same inputs in the same batches, whatever the machine does.

Nothing of them travels on a topic. Each record gets the place that it would have had there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.posting.service import build as build_posting
from benchmarks.workload import PARTITIONS, PAYMENTS, POSTINGS, RUN, records
from decision_fabric.app import build as build_fabric
from laws.topics import AUDIT, FLOW_ANCHOR, RTDL, TRAFFIC, Topic
from spine.inputs import Source
from spine.service import Service
from spine.settings import Settings
from testkit.bench.filling import records as world_records
from testkit.harness import Site
from testkit.world import RunIds

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
    sources: Callable[[Site, int], list[Source]]
    """All records of one partition, in the order in which they came."""


def _place(topic: str, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]], ends: dict[str, int]) -> Source:
    offset = ends.get(topic, 0)
    ends[topic] = offset + 1
    return Source(CLUSTER, TOPIC_ID, topic, partition, offset, key, value, tuple(headers))


def _payments(_: Site, partition: int) -> list[Source]:
    ends: dict[str, int] = {}
    size = int(PARTITIONS * 1.2 * max(shape.events for shape in SHAPES.values()))
    mine = (record for record in records(size, seed=5) if record.partition == partition)
    return [_place(PAYMENTS.name, partition, record.key, record.value, record.headers, ends) for record in mine]


def _flows(site: Site, partition: int) -> list[Source]:
    ends: dict[str, int] = {}
    # Six in ten of a world's events are traffic or anchors.
    size = int(PARTITIONS * 2.1 * max(shape.events for shape in SHAPES.values()))
    world = world_records(site, size, RunIds(RUN, "a" * 32), (TRAFFIC, FLOW_ANCHOR), seed=5, partitions=[partition])
    return [_place(made.topic.removeprefix(site.prefix), partition, made.key, made.value, made.headers, ends) for made in world]


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

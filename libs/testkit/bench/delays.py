"""How long each record waited: from its own time to the transaction that applied it, told by the certificates."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from laws.topics import Topic
from testkit.harness import Site
from testkit.run.bus_reader import read_topics

_APPLIED = "SELECT ranges, extract(epoch FROM applied_at)::float8 AS at FROM certificate WHERE inlet = 'records'"


async def delays(site: Site, service: str, topics: Sequence[Topic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every record of the topics: when it was made (epoch milliseconds), and how long (ms) until its transaction began."""
    made: dict[tuple[str, int], list[int]] = {}
    async for portion in read_topics(site.endpoints.kafka_bootstrap, topics, site.prefix):
        for record in portion:
            made.setdefault((record.topic.removeprefix(site.prefix), record.partition), []).append(record.timestamp)
    sent: list[int] = []
    applied: list[float] = []
    async with site.store(service) as store:
        for row in await store.fetch(_APPLIED):
            for topic, _, partition, start, stop in json.loads(row["ranges"]):
                times = made[(topic, partition)][int(start) : int(stop)]
                sent += times
                applied += [1000 * row["at"]] * len(times)
    sent_ms = np.array(sent, dtype=np.float64)
    return sent_ms, np.array(applied, dtype=np.float64) - sent_ms

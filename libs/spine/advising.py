"""Tells lag tools how far the lanes of a worker have read (runtime.md, The lane)."""

import asyncio
from collections.abc import Mapping

import structlog

from spine.bus import TopicWatch
from spine.faults import TRANSIENT
from spine.lane_worker import LaneWorker

_log = structlog.get_logger(__name__)

_EVERY = 1.0


async def advise(watch: TopicWatch, group: str, lanes: Mapping[int, LaneWorker]) -> None:
    """Every second, in one commit for all lanes that are there then, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY)
        places: dict[str, dict[int, int]] = {}
        for worker in lanes.values():
            for topic, offsets in worker.places().items():
                places.setdefault(topic, {}).update(offsets)
        try:
            if places:
                await watch.advise(group, places)
        except TRANSIENT as error:
            # Only lag tools read it: the next second writes a newer one.
            _log.info("worker.advisory_commit_failed", error=str(error))

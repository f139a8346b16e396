"""Taking a closed run's identities away by its inbox partition, while the service works (runtime.md, State).

The registry outlives them: a record of the run that comes later is CLOSED_RUN, never NEW, whether or not anybody remembers it.
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from spine.deadline import Deadline
from spine.lanes import group_topics, lane_specs
from spine.service import Service
from spine.tables import quote

_LOOK_EVERY = 0.1

_RUN = "SELECT run_no, state, dropped_at FROM run WHERE platform_run_id = $1"

_POSITIONS = "SELECT topic, partition, next_offset FROM lane_position"

# The body of a wait or a call holds the cause that it descends from, and with it the run's id.
_OPEN_WORK = "SELECT count(*) FROM pending WHERE position(convert_to($1, 'UTF8') IN body) > 0"

# A detach that was cut off has begun all the same: it is finished, not begun again.
_PARTITION = """
SELECT i.inhdetachpending AS begun FROM pg_inherits i
WHERE i.inhparent = 'inbox'::regclass AND i.inhrelid = to_regclass($1)
"""


class Drop(StrEnum):
    """What dropping came to."""

    DROPPED = "DROPPED"
    ALREADY = "ALREADY"


class NotDroppableError(Exception):
    """The run's identities are still needed; the message says for what."""


async def drop_run(operator_dsn: str, service: Service, platform_run_id: str, bus: dict[str, Any], prefix: str, deadline: Deadline) -> Drop:
    """Drop the inbox partition of a closed run, once every lane has read what stood on its topics after the run was closed.

    Safe to repeat after a crash at any point. Raises NotDroppableError for a run that is unknown, open, or has work pending;
    DeadlineExceededError, naming the topic, where a lane does not get there in time.
    """
    operator = await asyncpg.connect(operator_dsn, server_settings={"search_path": service.name})
    try:
        run = await operator.fetchrow(_RUN, platform_run_id)
        if run is None:
            raise NotDroppableError(f"platform_run_id={platform_run_id} is unknown in {service.name}")
        if run["state"] != "CLOSED":
            raise NotDroppableError(f"platform_run_id={platform_run_id} is {run['state']} in {service.name}: close it first")
        partition = f"inbox_r{run['run_no']}"
        if run["dropped_at"] is not None and await operator.fetchval("SELECT to_regclass($1)", partition) is None:
            return Drop.ALREADY
        await _drained(operator, service, await _ends(service, bus, prefix), deadline)
        if count := await operator.fetchval(_OPEN_WORK, platform_run_id):
            raise NotDroppableError(f"{count} waits or calls of {platform_run_id} are pending in {service.name}: let them end")
        # Before the rows go: an auditor that misses an identity finds here why.
        await operator.execute("UPDATE run SET dropped_at = coalesce(dropped_at, now()) WHERE run_no = $1", run["run_no"])
        await _detach(operator, partition)
        await operator.execute(f"DROP TABLE IF EXISTS {quote(partition)}")
    finally:
        await operator.close()
    return Drop.DROPPED


async def _ends(service: Service, bus: dict[str, Any], prefix: str) -> Mapping[tuple[str, int], int]:
    """Where the service's topics end now: everything of the run that was taken before it was closed stands before."""
    places = [(topic.name, spec.home) for spec in lane_specs(service) for topic in group_topics(spec.group)]
    if not places:
        return {}
    consumer = AIOKafkaConsumer(**bus, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(prefix + name, home) for name, home in places])
    finally:
        await consumer.stop()
    return {(name, home): ends[TopicPartition(prefix + name, home)] for name, home in places}


async def _drained(operator: asyncpg.Connection, service: Service, ends: Mapping[tuple[str, int], int], deadline: Deadline) -> None:
    while True:
        stands = {(row["topic"], row["partition"]): row["next_offset"] for row in await operator.fetch(_POSITIONS)}
        behind = [place for place, end in ends.items() if stands.get(place, 0) < end]
        if not behind:
            return
        name, home = behind[0]
        deadline.check(f"{service.name} to read {name}/{home} up to {ends[behind[0]]}, it stands at {stands.get(behind[0], 0)}")
        await asyncio.sleep(_LOOK_EVERY)


async def _detach(operator: asyncpg.Connection, partition: str) -> None:
    attached = await operator.fetchrow(_PARTITION, partition)
    if attached is None:
        return
    # Concurrently: a plain detach, or a drop of the attached partition, waits for every open batch and stops all batches behind it.
    how = "FINALIZE" if attached["begun"] else "CONCURRENTLY"
    await operator.execute(f"ALTER TABLE inbox DETACH PARTITION {quote(partition)} {how}")

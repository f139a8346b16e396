"""Negative controls: the law with one rule left out, under a schedule that needs the rule, and a table that was tampered with.

The audit must find each. A control that it does not find fails the run: an audit that finds nothing proves nothing if it is blind.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from laws.topics import RTDL
from spine.deadline import Deadline
from spine.steps import Step
from testkit.chaos.engine_room import EngineRoom
from testkit.chaos.fork_server import WRONG
from testkit.chaos.ground import LEASE, Ground, ground
from testkit.chaos.run import FAULTS
from testkit.chaos.stream import Piece, What
from testkit.chaos.workers import ForkServer, within
from testkit.workloads import named
from testkit.wrong import Wrong

_SERVICE = "decision_fabric"
# Enough for every lane to have several records of each topic.
_SUBJECTS = 36
_SEED = 11
_SECONDS = 60.0
# A worker must stay the owner while its broker is killed, or its COMMIT is held, under it.
_LONG_LEASE = 4.0
_LONG = frozenset({Wrong.PUBLISH_BEFORE_COMMIT.name, Wrong.MARK_PAST_UNACKNOWLEDGED.name})

_TAMPER = """
UPDATE outbox SET value = value || ' '::bytea
WHERE (lane, lane_seq, i) = (SELECT lane, lane_seq, i FROM outbox ORDER BY lane, lane_seq, i LIMIT 1)
"""

Scene = Callable[[Ground, EngineRoom], Awaitable[None]]


async def _dedupe_outside(place: Ground, _: EngineRoom) -> None:
    """A worker dies before its first COMMIT: identities are in, effects are not, and the heir takes the records for duplicates."""
    doomed = place.worker({WRONG: Wrong.DEDUPE_OUTSIDE_TRANSACTION.name, FAULTS: f"KILL {Step.BEFORE_COMMIT} 1"})
    await _feed(place, 0)
    await within(doomed.ended, Deadline(_SECONDS), "the worker to die")
    place.worker()
    await place.settle()


async def _published_early(place: Ground, _: EngineRoom) -> None:
    """A worker dies before its COMMIT: outputs of a transaction that never was stand on the topic beside those of the next one."""
    doomed = place.worker({WRONG: Wrong.PUBLISH_BEFORE_COMMIT.name})
    await _feed(place, 0)
    await place.settle()
    before, deadline = await _outputs(place), Deadline(_SECONDS)
    async with place.proxy.holding():
        await _feed(place, 1)
        while await _outputs(place) == before:
            deadline.check("an output to stand on its topic before its COMMIT")
        doomed.send(signal.SIGKILL)
        await within(doomed.ended, deadline, "the worker to die")
    place.worker()
    await place.settle()


async def _gaps_allowed(place: Ground, _: EngineRoom) -> None:
    """The second owner is handed a later record than the next, and takes it."""
    for part in range(2):
        place.worker({WRONG: Wrong.GAPS_ALLOWED.name})
        await _feed(place, part)
        await place.settle()
        await place.end()


async def _marked_past(place: Ground, room: EngineRoom) -> None:
    """Outputs count as published while no broker is there; their owner dies, and nobody publishes them again."""
    owner = place.worker({WRONG: Wrong.MARK_PAST_UNACKNOWLEDGED.name})
    await _feed(place, 0)
    await place.settle()
    deadline = Deadline(_SECONDS)
    async with contextlib.AsyncExitStack() as dead:
        async with place.proxy.holding():
            await _feed(place, 1)
            await within(place.proxy.held, deadline, "a batch to stand before its COMMIT")
            marked = await _marked(place)
            await dead.enter_async_context(room.without_broker())
        while await _marked(place) == marked:
            deadline.check("outputs to count as published that no broker has seen")
            await asyncio.sleep(0.01)
        owner.send(signal.SIGKILL)
        await within(owner.ended, deadline, "the worker to die")
    place.worker()
    await place.settle()


async def _tampered(place: Ground, _: EngineRoom) -> None:
    """A good run, and one byte of one stored output changed by hand after it."""
    place.worker()
    await _feed(place, 0)
    await place.settle()
    if found := await place.audited():
        raise RuntimeError(f"the run was not good before the table was tampered with: {found[0]}")
    async with place.site.store(place.service.name) as store:
        await store.execute(_TAMPER)


SCENES: dict[str, Scene] = {
    Wrong.DEDUPE_OUTSIDE_TRANSACTION.name: _dedupe_outside,
    Wrong.PUBLISH_BEFORE_COMMIT.name: _published_early,
    Wrong.GAPS_ALLOWED.name: _gaps_allowed,
    Wrong.MARK_PAST_UNACKNOWLEDGED.name: _marked_past,
    "TAMPERED_ROW": _tampered,
}


# These scenes hurt nobody beside them, and mostly wait for leases.
_ALONE = frozenset({Wrong.MARK_PAST_UNACKNOWLEDGED.name})


async def controls(room: EngineRoom, server: ForkServer, folder: Path) -> dict[str, str]:
    """What the audit finds first in each scene; empty for one that it does not catch."""

    # The scenes share a service, and so a role of the cluster: two that alter it at once are refused.
    one_role = asyncio.Lock()

    async def caught(name: str) -> str:
        lease = _LONG_LEASE if name in _LONG else LEASE
        async with contextlib.AsyncExitStack() as stack:
            async with one_role:
                made = ground(room.endpoints, server, named(_SERVICE), folder / name, _SEED, lease=lease)
                place = await stack.enter_async_context(made)
            await SCENES[name](place, room)
            async with one_role:
                return next(iter(await place.audited()), "")

    together = [name for name in SCENES if name not in _ALONE]
    found = dict(zip(together, await asyncio.gather(*(caught(name) for name in together)), strict=True))
    return found | {name: await caught(name) for name in SCENES if name in _ALONE}


async def _feed(place: Ground, part: int) -> None:
    for number in range(part * _SUBJECTS, (part + 1) * _SUBJECTS):
        await place.feeder.feed([Piece(What.FIRST, fact, contested=False) for fact in place.workload.facts(_SEED, number)])
    await place.feeder.settled()


async def _outputs(place: Ground) -> int:
    """Records on the topic of decisions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.site.endpoints.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(place.site.prefix + RTDL.name, number) for number in range(RTDL.partitions)])
    finally:
        await consumer.stop()
    return sum(ends.values())


async def _marked(place: Ground) -> int:
    async with place.site.store(place.service.name) as store:
        return int(await store.fetchval("SELECT sum(published_seq) FROM lane"))

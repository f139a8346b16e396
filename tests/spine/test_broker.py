"""The broker and the store go away and come back: nothing is lost, nothing is doubled."""

import asyncio
from pathlib import Path

from rig import Rig, entry, rig_on
from spine.deadline import Deadline
from test_ownership import ACCOUNTS, exact
from testkit.engines import Kind, start
from testkit.harness import until


async def test_the_broker_and_the_store_are_killed_and_restarted_under_a_worker(tmp_path: Path) -> None:
    """On engines of its own: other tests share theirs."""
    engines = await asyncio.to_thread(start, {Kind.KAFKA, Kind.POSTGRES})
    try:
        async with rig_on(engines, tmp_path) as rig:
            worker = rig.process()
            worker.start()
            await worker.ready(Deadline(30))
            await send_rounds(rig, "before", 10)
            await asyncio.to_thread(engines.kafka.kill)
            await asyncio.to_thread(engines.kafka.restart)
            await send_rounds(rig, "between", 10)
            await rig.quiet(20 * len(ACCOUNTS), 60)
            await asyncio.to_thread(engines.postgres.kill)
            await asyncio.to_thread(engines.postgres.restart)
            await send_rounds(rig, "after", 10)
            await rig.quiet(30 * len(ACCOUNTS), 60)
            worker.terminate()
            await worker.ended(Deadline(20))
            await exact(rig, 30 * len(ACCOUNTS))
    finally:
        await asyncio.to_thread(engines.stop)


async def test_lanes_that_are_claimed_while_the_broker_is_down_wait_for_it(tmp_path: Path) -> None:
    """A lane that is given back at once wakes everybody, is claimed at once, and fails at once: hundreds of epochs in seconds."""
    engines = await asyncio.to_thread(start, {Kind.KAFKA, Kind.POSTGRES})
    try:
        async with rig_on(engines, tmp_path) as rig, rig.worker() as (worker, _):
            await rig.until("SELECT count(*)::int FROM handover WHERE event = 'READY'", 3)
            await asyncio.to_thread(engines.kafka.kill)
            await rig.rows("UPDATE lane_lease SET until = now() - interval '1 second' RETURNING 1")
            await rig.until("SELECT count(*)::int FROM handover WHERE event = 'CLAIMED'", 6)
            for _ in range(4):
                standing = worker._standing
                await until(lambda before=standing: worker._standing is not before, Deadline(20), "the next beat")  # type: ignore[misc]  # bound now, not when it is called
            assert await rig.value("SELECT count(*)::int FROM handover WHERE event = 'CLAIMED'") == 6
            await asyncio.to_thread(engines.kafka.restart)
            await send_rounds(rig, "after", 1)
            await rig.quiet(len(ACCOUNTS), 60)
            await exact(rig, len(ACCOUNTS))
    finally:
        await asyncio.to_thread(engines.stop)


async def send_rounds(rig: Rig, name: str, count: int) -> None:
    for number in range(count):
        await rig.send(*(entry(f"{name}-{number}-{account}", account=account) for account in ACCOUNTS))

"""The broker and the store go away and come back: nothing is lost, nothing is doubled."""

import asyncio
from pathlib import Path

from rig import Rig, entry, rig_on
from spine.deadline import Deadline
from test_ownership import ACCOUNTS, exact
from testkit.engines import Kind, start


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


async def send_rounds(rig: Rig, name: str, count: int) -> None:
    for number in range(count):
        await rig.send(*(entry(f"{name}-{number}-{account}", account=account) for account in ACCOUNTS))

"""Claiming, dying, joining, handing over: lanes always have one owner, and no event is lost or doubled."""

import asyncio
import signal
from itertools import pairwise

from ledger.service import POSTED
from rig import Rig, entry
from spine.deadline import Deadline
from testkit.harness import Process

ACCOUNTS = [f"account-{number}" for number in range(24)]


async def trickle(rig: Rig, name: str, count: int) -> None:
    for number in range(count):
        await rig.send(*(entry(f"{name}-{number}-{account}", account=account) for account in ACCOUNTS))
        await asyncio.sleep(0.02)


async def owners(rig: Rig) -> dict[str, int]:
    rows = await rig.rows("SELECT owner, count(*)::int AS lanes FROM lane_lease WHERE until > now() AND owner IS NOT NULL GROUP BY owner")
    return {row["owner"]: row["lanes"] for row in rows}


async def until_shared(rig: Rig, lanes: list[int], seconds: float = 30.0) -> None:
    deadline = Deadline(seconds)
    while sorted((await owners(rig)).values()) != lanes:
        deadline.check(f"lanes to be shared as {lanes}, they are {await owners(rig)}")
        await asyncio.sleep(0.05)


async def exact(rig: Rig, events: int) -> None:
    """Every event applied once, published once as an identity, every copy byte-equal, every chain of certificates whole."""
    assert await rig.value("SELECT count(*)::int FROM entry") == events
    assert await rig.value("SELECT sum(entries)::int FROM account") == events
    assert await rig.value("SELECT count(*)::int FROM inbox") == events
    copies: dict[bytes, set[bytes]] = {}
    for found in await rig.read(POSTED):
        copies.setdefault(dict(found.headers)["x-fp-event-id"], set()).add(found.value)
    assert len(copies) == events
    assert all(len(values) == 1 for values in copies.values())
    certificates = await rig.rows("SELECT lane, lane_seq, epoch, previous, hash FROM certificate ORDER BY lane, lane_seq")
    for before, after in pairwise(certificates):
        if before["lane"] == after["lane"]:
            assert after["lane_seq"] == before["lane_seq"] + 1
            assert after["previous"] == before["hash"]
            assert after["epoch"] >= before["epoch"]


async def test_a_joining_worker_gets_its_fair_share_and_a_leaving_one_gives_it_back(rig: Rig) -> None:
    first, second = rig.process(), rig.process()
    first.start()
    await first.ready(Deadline(30))
    await until_shared(rig, [3])
    sending = asyncio.create_task(trickle(rig, "t", 60))
    second.start()
    await second.ready(Deadline(30))
    await until_shared(rig, [1, 2])
    second.terminate()
    assert await second.ended(Deadline(20)) == 0
    await until_shared(rig, [3])
    await sending
    await rig.quiet(60 * len(ACCOUNTS))
    first.terminate()
    assert await first.ended(Deadline(20)) == 0
    await exact(rig, 60 * len(ACCOUNTS))


async def test_the_lanes_of_a_killed_worker_are_taken_over_when_its_lease_is_over(rig: Rig) -> None:
    workers = [rig.process(), rig.process()]
    for worker in workers:
        worker.start()
    await asyncio.gather(*(worker.ready(Deadline(30)) for worker in workers))
    await until_shared(rig, [1, 2])
    sending = asyncio.create_task(trickle(rig, "k", 60))
    await asyncio.sleep(0.4)
    workers[0].kill()
    await until_shared(rig, [3])
    await sending
    await rig.quiet(60 * len(ACCOUNTS))
    await stop(workers[1])
    await exact(rig, 60 * len(ACCOUNTS))


async def test_a_worker_that_sleeps_past_its_lease_wakes_up_as_a_zombie_and_is_refused(rig: Rig) -> None:
    workers = [rig.process(), rig.process()]
    for worker in workers:
        worker.start()
    await asyncio.gather(*(worker.ready(Deadline(30)) for worker in workers))
    await until_shared(rig, [1, 2])
    sending = asyncio.create_task(trickle(rig, "z", 80))
    await asyncio.sleep(0.3)
    workers[0].send(signal.SIGSTOP)
    await until_shared(rig, [3])
    workers[0].send(signal.SIGCONT)
    await until_shared(rig, [1, 2])
    await sending
    await rig.quiet(80 * len(ACCOUNTS))
    for worker in workers:
        await stop(worker)
    await exact(rig, 80 * len(ACCOUNTS))


async def stop(worker: Process) -> None:
    worker.terminate()
    await worker.ended(Deadline(20))

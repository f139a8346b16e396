"""Claiming, dying, joining, handing over: lanes always have one owner, and no event is lost or doubled."""

import asyncio
import signal
import socket
from collections.abc import Sequence
from itertools import pairwise

import asyncpg
import pytest

from ledger.service import POSTED
from rig import Rig, entry
from spine.deadline import Deadline
from spine.lane_worker import LaneWorker
from spine.ownership import Claim, Ownership, Standing
from spine.publisher import Publisher
from spine.worker import Worker
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


async def test_a_name_that_cannot_be_resolved_for_a_moment_ends_no_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is while a store fails over: the lanes wait, and go on."""
    renew = Ownership.renew
    failures = 0

    async def unresolved(self: Ownership, lanes: list[int]) -> tuple[Standing, float]:
        nonlocal failures
        if lanes and not failures:
            failures += 1
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return await renew(self, lanes)

    monkeypatch.setattr(Ownership, "renew", unresolved)
    async with rig.worker():
        await rig.until("SELECT count(*)::int FROM handover WHERE event = 'RENEWAL_MISSED'", 3)
        await rig.send(entry("e1"))
        await rig.quiet(1)
    assert failures == 1
    await exact(rig, 1)


async def test_a_lane_whose_old_task_still_ends_is_not_claimed_by_its_own_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks of one lane in one worker would share an entry in its books: the newer one would never be renewed."""
    run, slow = LaneWorker.run, asyncio.Event()

    async def lingering(self: LaneWorker) -> None:
        try:
            await run(self)
        finally:
            if self.claim.epoch == 1 and self.claim.lane == 0:
                await slow.wait()

    monkeypatch.setattr(LaneWorker, "run", lingering)
    hour = "now() + interval '1 hour'"
    await rig.rows(f"INSERT INTO worker (worker_id, until, address) VALUES ('other', {hour}, '') RETURNING 1")
    await rig.rows(f"UPDATE lane_lease SET owner = 'other', until = {hour} WHERE lane = 1 RETURNING 1")
    async with rig.worker():
        await rig.until("SELECT array_agg(lane ORDER BY lane) FROM lane WHERE epoch = 1", [0, 2])
        # The other is gone, and this one's lease of lane 0 was over before: of the two free lanes that one comes first.
        async with rig.site.store("ledger") as store, store.transaction():
            await store.execute("DELETE FROM worker WHERE worker_id = 'other'")
            await store.execute(
                "UPDATE lane_lease SET until = now() - (CASE lane WHEN 0 THEN 2 ELSE 1 END) * interval '1 s' WHERE lane < 2"
            )
        await rig.until("SELECT array_agg(lane ORDER BY lane) FROM lane WHERE epoch = 1", [0, 1, 2])
        slow.set()
        await rig.until("SELECT epoch FROM lane WHERE lane = 0", 2)
        await rig.send(*(entry(f"e-{account}", account=account) for account in ACCOUNTS))
        await rig.quiet(len(ACCOUNTS))
        assert await rig.value("SELECT max(epoch) FROM lane") == 2
    await exact(rig, len(ACCOUNTS))


async def test_a_mark_that_waits_behind_somebody_costs_the_lane_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published can be marked later; giving the lane away for it would stop it, and publish everything once more."""
    mark, refused, published = Publisher._mark, asyncio.Event(), asyncio.Event()
    may_mark = asyncio.Event()

    async def watched(self: Publisher) -> None:
        if self.acknowledged_seq > self.marked_seq:
            published.set()
            await may_mark.wait()
        try:
            await mark(self)
        except asyncpg.LockNotAvailableError:
            refused.set()
            raise

    async with rig.worker():
        await rig.until("SELECT count(*)::int FROM handover WHERE event = 'READY'", 3)
        monkeypatch.setattr(Publisher, "_mark", watched)
        await rig.send(entry("e1"))
        await published.wait()
        async with rig.site.store("ledger") as store, store.transaction():
            await store.execute("SELECT 1 FROM lane FOR UPDATE")
            may_mark.set()
            await refused.wait()
        await rig.until("SELECT bool_and(published_seq = lane_seq) FROM lane", True)
        assert await rig.value("SELECT max(epoch) FROM lane") == 1
    await exact(rig, 1)
    assert len(await rig.read(POSTED)) == 1


def lanes_of(worker: Worker) -> str:
    return f"SELECT array_agg(lane ORDER BY lane) FROM lane_lease WHERE until > now() AND owner = '{worker.progress()['worker']}'"


async def test_what_is_told_during_a_beat_is_not_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is released when the beat has looked already is claimed by the next one, which must not wait for its time."""
    rig.site.environment["FP_TIMEOUT_LEASE"] = "3600"
    await rig.rows("UPDATE lane_lease SET owner = 'other', until = now() + interval '1 hour' RETURNING 1")
    claim, freed = Ownership.claim, False

    async def outrun(self: Ownership, count: int, but: Sequence[int] = ()) -> list[Claim]:
        nonlocal freed
        found = await claim(self, count, but)
        if not freed:
            assert not found
            freed = True
            await rig.rows("UPDATE lane_lease SET owner = NULL, until = now() WHERE lane = 1 RETURNING 1")
            worker.told("lane")
        return found

    monkeypatch.setattr(Ownership, "claim", outrun)
    async with rig.worker() as (worker, _):
        await rig.until(lanes_of(worker), [1], seconds=15)


async def test_a_worker_that_drains_counts_no_more_and_its_lanes_are_claimed_one_by_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted until its last lane is drained, it would keep the others from those that it has released already.

    With leases of an hour nobody looks by himself: the others are told.
    """
    rig.site.environment["FP_TIMEOUT_LEASE"] = "3600"
    finish, slow = LaneWorker._finish, asyncio.Event()
    leaving: list[str] = []

    async def lingering(self: LaneWorker) -> None:
        await finish(self)
        if self.spec.lane == 2 and self._rt.worker_id in leaving:
            await slow.wait()

    monkeypatch.setattr(LaneWorker, "_finish", lingering)
    # A third worker that owns nothing: each one's fair share is one lane.
    await rig.rows("INSERT INTO worker (worker_id, until, address) VALUES ('idle', now() + interval '1 hour', '') RETURNING 1")
    async with rig.worker() as (first, _):
        await rig.until(lanes_of(first), [0, 1])
        await rig.rows("DELETE FROM worker WHERE worker_id = 'idle' RETURNING 1")
        first.told("lane")
        await rig.until(lanes_of(first), [0, 1, 2])
        leaving.append(first.progress()["worker"])
        await rig.rows("INSERT INTO worker (worker_id, until, address) VALUES ('idle', now() + interval '1 hour', '') RETURNING 1")
        async with rig.worker() as (second, _):
            await rig.until("SELECT count(*)::int FROM worker", 3)
            first.stop()
            await rig.until(lanes_of(second), [0, 1], seconds=15)
            slow.set()
            await rig.rows("DELETE FROM worker WHERE worker_id = 'idle' RETURNING 1")
            second.told("lane")
            await rig.until(lanes_of(second), [0, 1, 2], seconds=15)


async def test_a_worker_that_has_its_share_looks_when_the_lease_of_a_dead_one_ends(rig: Rig) -> None:
    """Its own next beat is a quarter of an hour away: looked at then, the lane would stand still for longer than the lease."""
    rig.site.environment["FP_TIMEOUT_LEASE"] = "3600"
    soon = "now() + interval '3 s'"
    await rig.rows(f"INSERT INTO worker (worker_id, until, address) VALUES ('dead', {soon}, '') RETURNING 1")
    await rig.rows(f"UPDATE lane_lease SET owner = 'dead', until = {soon} WHERE lane = 1 RETURNING 1")
    async with rig.worker() as (worker, _):
        await rig.until(lanes_of(worker), [0, 2])
        await rig.until(lanes_of(worker), [0, 1, 2], seconds=15)

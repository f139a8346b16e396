"""Lanes that share a transaction: each is judged, fenced and certified for itself (runtime.md, The transaction)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from felt import Felt
from laws.identity import pack_event_id
from laws.verdicts import Verdict
from ledger import service as ledger
from rig import PROVENANCE, Record, Rig, entry
from spine.inputs import Source
from spine.lanes import LaneSpec, lane_specs
from spine.outcome import Applied, Fence, FencedError, Part, RefusedByStoreError, UnknownCommitError
from spine.process import build_runtime, close_runtime
from spine.runtime import Runtime
from spine.tables import Table
from spine.together import Together
from spine.transaction import was_committed
from spine.turn import Shared, Turn, UndeclaredReadError, Versioned
from test_commit import LostAnswer
from testkit.harness import free_port

_IDLE, _FULL = Felt(0.0), Felt(1.0)
_REST = 0.1
TOPIC_ID = "00000000-0000-0000-0000-00000000000a"
# An account of each lane.
ACCOUNTS = {ledger.ENTRIES.partition(key): name for name in map(str, range(50)) if (key := ledger.ENTRIES.key.key_of_values([name]))}


class Lanes:
    """The lanes of the test service without a worker: what they are given is what a test says."""

    def __init__(self, rig: Rig, runtime: Runtime) -> None:
        self.runtime = runtime
        self._rig = rig
        self._specs = {spec.home: spec for spec in lane_specs(runtime.service)}
        self._offsets = dict.fromkeys(self._specs, 0)

    def part(self, home: int, *records: Record, fence: Fence | None = None) -> Part:
        """Records for one lane, at the place where it stands."""
        decoder = self.runtime.decoders["account"]
        sources = []
        for record in records:
            place = ("cluster", TOPIC_ID, record.topic.name, home, self._offsets[home])
            sources.append(Source(*place, record.key, record.value, record.headers))
            self._offsets[home] += 1
        return Part(self._specs[home], fence, [decoder.record(source) for source in sources])

    def spec(self, home: int) -> LaneSpec:
        """The lane of a partition."""
        return self._specs[home]

    async def apply(self, *parts: Part) -> list[Applied | None]:
        """In one transaction."""
        async with self.runtime.pool.acquire() as connection:
            return await self.runtime.law.apply(connection, parts)

    async def transactions(self) -> tuple[int, int]:
        """How many transactions there were, and how many certificates they left."""
        (row,) = await self._rig.rows(
            "SELECT count(DISTINCT applied_at)::int AS transactions, count(*)::int AS certificates FROM certificate"
        )
        return row["transactions"], row["certificates"]


@pytest.fixture
async def lanes(rig: Rig) -> AsyncIterator[Lanes]:
    """Lanes that stand at the beginning of a topic that nobody reads."""
    settings = rig.site.settings("ledger", free_port())
    runtime = await build_runtime(ledger.build(settings), settings)
    for spec in lane_specs(runtime.service):
        await rig.rows(
            "INSERT INTO lane_position VALUES ($1, $2, $3, 'cluster', $4, 0, 0) RETURNING 1",
            ledger.ENTRIES.name,
            spec.home,
            spec.lane,
            TOPIC_ID,
        )
    try:
        yield Lanes(rig, runtime)
    finally:
        await close_runtime(runtime)


def of(home: int, event_id: str, **fields: Any) -> Record:
    """An entry of an account whose lane it is."""
    return entry(event_id, account=ACCOUNTS[home], **fields)


def verdicts(applied: Sequence[Applied | None]) -> list[list[Verdict]]:
    """What became of each input of each part."""
    return [list(each.verdicts) if each else [] for each in applied]


async def test_on_a_busy_machine_little_waits_for_company(lanes: Lanes) -> None:
    together = Together(lanes.runtime.law, lanes.runtime.pool, transactions=2, batch_max=1000, contention=_FULL)
    await asyncio.gather(*(together.apply(lanes.part(home, of(home, f"e{home}")), 1, _REST) for home in range(3)))
    assert await lanes.transactions() == (1, 3)


async def test_lanes_that_come_while_a_transaction_is_under_way_go_together() -> None:
    law = _HeldLaw()
    together = Together(cast("Any", law), cast("Any", _Pool()), transactions=2, batch_max=1000, contention=_IDLE)
    first = asyncio.create_task(together.apply(cast("Part", 0), 1, _REST))
    # On an idle machine nobody waits for company.
    await law.called(1)
    others = [asyncio.create_task(together.apply(cast("Part", number), 1, _REST)) for number in (1, 2)]
    law.release.set()
    await first
    done = await asyncio.gather(*others)
    assert law.calls == [[0], [1, 2]]
    assert done[0].seconds == done[1].seconds


async def test_on_a_busy_machine_who_came_meanwhile_waits_for_those_who_come_back() -> None:
    law = _HeldLaw()
    together = Together(cast("Any", law), cast("Any", _Pool()), transactions=2, batch_max=1000, contention=_FULL)
    first = asyncio.create_task(together.apply(cast("Part", 0), 1, 0.0))
    await law.called(1)
    # One rests for long, and has patience; the other has none.
    patient = asyncio.create_task(together.apply(cast("Part", 1), 1, 3600.0))
    await asyncio.sleep(0)  # it is handed in
    law.release.set()
    await first
    back = asyncio.create_task(together.apply(cast("Part", 2), 1, 0.0))
    await asyncio.gather(patient, back)
    assert law.calls == [[0], [1, 2]]


async def test_what_is_enough_by_itself_waits_for_nobody() -> None:
    law = _HeldLaw()
    together = Together(cast("Any", law), cast("Any", _Pool()), transactions=2, batch_max=1000, contention=_IDLE)
    parts = [cast("Part", number) for number in range(4)]
    calls = [asyncio.create_task(together.apply(part, 400, _REST)) for part in parts]
    await law.called(2)
    # Two side by side; the others don't make three of them.
    assert law.calls == [[0], [1]]
    law.release.set()
    await asyncio.gather(*calls)
    # As many inputs as one transaction may have, and no more.
    assert law.calls == [[0], [1], [2, 3]]


@pytest.mark.parametrize(("longest_rest", "transactions"), [(_REST, [[0], [1]]), (10 * _REST, [[0, 1]])])
async def test_on_a_busy_machine_who_may_rest_long_waits_with_more(longest_rest: float, transactions: list[list[int]]) -> None:
    law = _HeldLaw()
    law.release.set()
    together = Together(cast("Any", law), cast("Any", _Pool()), transactions=2, batch_max=1000, contention=_FULL)
    await asyncio.gather(*(together.apply(cast("Part", number), 400, longest_rest) for number in range(2)))
    assert law.calls == transactions


async def test_a_lane_that_is_over_is_not_waited_for() -> None:
    law = _HeldLaw()
    together = Together(cast("Any", law), cast("Any", _Pool()), transactions=1, batch_max=1000, contention=_IDLE)
    first = asyncio.create_task(together.apply(cast("Part", 0), 1, _REST))
    await law.called(1)
    second, third = (asyncio.create_task(together.apply(cast("Part", number), 1, _REST)) for number in (1, 2))
    await asyncio.sleep(0)  # both are handed in
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    law.release.set()
    await asyncio.gather(first, third)
    assert law.calls == [[0], [2]]


async def test_three_lanes_cost_the_statements_of_one(lanes: Lanes) -> None:
    counts = []
    async with lanes.runtime.pool.acquire() as connection:
        # The first one also asks for the number of the run, and the driver for types.
        for number, homes in enumerate(((0,), (0,), (0, 1, 2))):
            logged: list[str] = []
            with connection.query_logger(lambda each, logged=logged: logged.append(each.query)):
                parts = [lanes.part(home, of(home, f"e{number} of {home}", note="count")) for home in homes]
                await lanes.runtime.law.apply(connection, parts)
            counts.append(len(logged))
    assert counts[2] == counts[1] > 5


async def test_a_lane_that_is_fenced_takes_no_other_with_it(rig: Rig, lanes: Lanes) -> None:
    together = Together(lanes.runtime.law, lanes.runtime.pool, transactions=1, batch_max=1000, contention=_IDLE)
    parts = [lanes.part(0, of(0, "e0")), lanes.part(1, of(1, "e1"), fence=Fence(7, b"another's")), lanes.part(2, of(2, "e2"))]
    done = await asyncio.gather(*(together.apply(part, 1, _REST) for part in parts), return_exceptions=True)
    assert isinstance(done[1], FencedError)
    assert [row["event_id"] for row in await rig.rows("SELECT event_id FROM entry ORDER BY 1")] == ["e0", "e2"]
    assert await rig.value("SELECT count(*)::int FROM inbox WHERE event_id = $1", pack_event_id("e1")) == 0


async def test_what_the_store_refuses_of_one_lane_is_told_that_lane_alone(rig: Rig, lanes: Lanes) -> None:
    await lanes.apply(lanes.part(0, of(0, "b0", note="bad")))
    together = Together(lanes.runtime.law, lanes.runtime.pool, transactions=1, batch_max=1000, contention=_IDLE)
    parts = [lanes.part(0, of(0, "e0")), lanes.part(1, of(1, "b1", note="bad")), lanes.part(2, of(2, "e2"))]
    done = await asyncio.gather(*(together.apply(part, 1, _REST) for part in parts), return_exceptions=True)
    assert isinstance(done[1], RefusedByStoreError)
    assert [row["event_id"] for row in await rig.rows("SELECT event_id FROM entry ORDER BY 1")] == ["e0", "e2", "fixed"]


async def test_an_identity_that_comes_by_two_lanes_at_once_is_applied_by_the_first_of_them(rig: Rig, lanes: Lanes) -> None:
    same, other = of(0, "e1", amount=5), of(1, "e1", amount=7)
    applied = await lanes.apply(lanes.part(1, other, same), lanes.part(0, same, of(0, "e2")))
    assert verdicts(applied) == [[Verdict.MISMATCH, Verdict.DUPLICATE], [Verdict.NEW, Verdict.NEW]]
    (anomaly,) = await rig.rows("SELECT lane, lane_seq, first_partition, first_offset, partition FROM anomaly")
    assert tuple(anomaly.values()) == (lanes.spec(1).lane, 1, 0, 0, 1)
    assert await rig.value("SELECT balance FROM account WHERE account = $1", ACCOUNTS[0]) == 6
    assert await rig.value("SELECT count(*)::int FROM account WHERE account = $1", ACCOUNTS[1]) == 0


async def test_lanes_of_one_transaction_see_what_those_before_them_wrote_to_shared_rows(rig: Rig, lanes: Lanes) -> None:
    await lanes.apply(*(lanes.part(home, of(home, f"e{home}", note="count"), of(home, f"f{home}", note="count")) for home in range(3)))
    assert await lanes.transactions() == (1, 3)
    rows = await rig.rows("SELECT event_id, how FROM entry")
    assert {row["event_id"]: row["how"] for row in rows} == {
        name: f"seen {seen}" for seen, name in enumerate(("e0", "f0", "e1", "f1", "e2", "f2"))
    }
    assert await rig.value("SELECT array_agg(times ORDER BY lane) FROM note") == [2, 2, 2]


def test_a_shared_row_that_another_lane_declared_is_undeclared_for_this_one() -> None:
    shared: Shared = {}
    first, second = Turn(0, 1, PROVENANCE, shared), Turn(1, 1, PROVENANCE, shared)
    notes: Table[ledger.Seen] = ledger.NOTES
    first.load(notes, [("n",)], [Versioned(ledger.Seen("n", 3), 0, 1)])
    assert [row.times for row in first.all_lanes(notes, "n")] == [3]
    with pytest.raises(UndeclaredReadError):
        second.all_lanes(notes, "n")


@pytest.mark.parametrize("committed", [True, False], ids=["it is in", "it is not in"])
async def test_of_a_commit_without_an_answer_every_lane_finds_out_for_itself(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    lost = LostAnswer(monkeypatch, 1, committed=committed)
    with pytest.raises(UnknownCommitError) as unknown:
        await lanes.apply(lanes.part(0, of(0, "e0")), lanes.part(2, of(2, "e2")))
    doubts = unknown.value.doubts
    assert sorted(doubts) == [lanes.spec(0).lane, lanes.spec(2).lane]
    assert lost.commits == 1
    async with lanes.runtime.pool.acquire() as connection:
        assert [await was_committed(connection, lane, doubt) for lane, doubt in doubts.items()] == [committed] * 2


class _HeldLaw:
    """Keeps what it is asked to apply until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.release = asyncio.Event()
        self._called = asyncio.Condition()

    async def apply(self, connection: Any, parts: Sequence[Any]) -> list[None]:
        async with self._called:
            self.calls.append(list(parts))
            self._called.notify_all()
        await self.release.wait()
        return [None] * len(parts)

    async def called(self, times: int) -> None:
        """Returns once it was called so often."""
        async with asyncio.timeout(10), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= times)


class _Pool:
    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        yield None

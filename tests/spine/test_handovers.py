"""What became of a lane's ownership stands in its service's schema, row by row, and no service can rewrite it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from cli.main import app
from forked import ForkedWorker
from ledger.service import ENTRIES
from rig import Rig, entry
from spine.deadline import Deadline
from spine.intake import Intake
from spine.ownership import Ownership
from testkit.harness import until


async def told(rig: Rig, **where: Any) -> list[asyncpg.Record]:
    """The rows, oldest first."""
    rows = await rig.rows("SELECT * FROM handover ORDER BY at, handover_no")
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


async def events_of(rig: Rig, lane: int, epoch: int) -> list[str]:
    return [row["event"] for row in await told(rig, lane=lane, epoch=epoch)]


async def ready(rig: Rig, epoch: int) -> None:
    """All three lanes are taken over under that epoch."""
    await rig.until(f"SELECT count(*)::int FROM handover WHERE event = 'READY' AND epoch = {epoch}", 3)


@pytest.fixture
async def first(rig: Rig) -> AsyncIterator[ForkedWorker]:
    """A worker that owns every lane under epoch 1, and has applied something."""
    worker = ForkedWorker(rig)
    worker.start()
    await rig.send(*(entry(f"e{number}", account=f"a{number}") for number in range(12)))
    await ready(rig, 1)
    await rig.quiet(12)
    yield worker
    worker.kill()


async def test_a_lane_s_first_life_is_told_from_claim_to_release(rig: Rig, first: ForkedWorker) -> None:
    assert await first.stopped(Deadline(20)) == 0
    for lane in range(3):
        rows = await told(rig, lane=lane)
        # It stands on two topics for the first time, which of the first rows is written last does not matter.
        assert [row["event"] for row in rows] == ["CLAIMED", "BEGAN", "BEGAN", "READY", "DRAINED", "RELEASED"]
        assert {row["epoch"] for row in rows} == {1} and len({row["worker_id"] for row in rows}) == 1
        durations = {row["event"]: row["duration_ms"] for row in rows}
        # Nobody owned it before: there is no gap to measure.
        assert durations["CLAIMED"] is None and rows[0]["reason"] == "no worker owned it before"
        assert durations["READY"] >= 0 and durations["DRAINED"] >= 0 and durations["RELEASED"] is None
        assert {row["reason"] for row in rows if row["event"] == "BEGAN"} == {
            f"test.keys.v1/{lane} at offset 0",
            f"test.entries.v1/{lane} at offset 0",
        }


async def test_after_sigterm_the_gap_runs_from_the_release_to_the_claim(rig: Rig, first: ForkedWorker) -> None:
    heir = ForkedWorker(rig)
    heir.start()
    await rig.until("SELECT count(*)::int FROM worker", 2)
    await first.stopped(Deadline(20))
    await rig.until("SELECT count(*)::int FROM lane_lease JOIN lane USING (lane) WHERE owner IS NOT NULL AND until > now()", 3)
    await rig.until("SELECT count(DISTINCT lane)::int FROM handover WHERE event = 'READY' AND epoch > 1", 3)
    await heir.stopped(Deadline(20))
    for claim in [row for row in await told(rig, event="CLAIMED") if row["epoch"] > 1]:
        assert claim["reason"] == "it was released"
        (release,) = await told(rig, lane=claim["lane"], epoch=claim["epoch"] - 1, event="RELEASED")
        assert release["worker_id"] != claim["worker_id"]
        # The claim's own statement: the gap ends when its row is written, and began when the release's transaction began.
        assert -1 <= claim["duration_ms"] - (claim["at"] - release["at"]).total_seconds() * 1000 < 50


async def test_after_sigkill_the_gap_runs_from_the_end_of_the_lease(rig: Rig, first: ForkedWorker) -> None:
    first.kill()
    ends = {row["lane"]: row["until"] for row in await rig.rows("SELECT lane, until FROM lane_lease")}
    heir = ForkedWorker(rig)
    heir.start()
    await ready(rig, 2)
    await heir.stopped(Deadline(20))
    dead = (await told(rig, epoch=1))[0]["worker_id"]
    for lane in range(3):
        # Nothing more was told of epoch 1: the dead tell nothing.
        assert await events_of(rig, lane, 1) == ["CLAIMED", "BEGAN", "BEGAN", "READY"]
        assert await events_of(rig, lane, 2) == ["CLAIMED", "READY", "DRAINED", "RELEASED"]
        (claim,) = await told(rig, lane=lane, epoch=2, event="CLAIMED")
        assert claim["reason"] == f"the lease of {dead} was over"
        assert abs(claim["duration_ms"] - (claim["at"] - ends[lane]).total_seconds() * 1000) <= 1


async def test_a_zombie_tells_that_it_gave_its_lanes_up(rig: Rig, first: ForkedWorker) -> None:
    first.send(signal.SIGSTOP)
    heir = ForkedWorker(rig)
    heir.start()
    await ready(rig, 2)
    first.send(signal.SIGCONT)
    # Whichever line of defence it meets first: its own clock, the lease that is over, or the fence.
    await rig.until(
        "SELECT count(DISTINCT lane)::int FROM handover WHERE epoch = 1 AND event IN ('LEASE_IN_DOUBT', 'LEASE_LOST', 'FENCED')", 3
    )
    for lane in range(3):
        assert "RELEASED" not in await events_of(rig, lane, 1), "a zombie released a lane that was another's"
    await heir.stopped(Deadline(20))


async def test_a_refused_write_is_told_with_the_epoch_that_was_over(rig: Rig, first: ForkedWorker) -> None:
    (lane,) = [row["lane"] for row in await rig.rows("UPDATE lane SET epoch = epoch + 1, token = 'another' WHERE lane = 0 RETURNING lane")]
    await rig.send(*(entry(f"f{number}", account=f"a{number}") for number in range(12)))
    await rig.until("SELECT count(*)::int FROM handover WHERE event = 'FENCED'", 1)
    (fenced,) = await told(rig, event="FENCED")
    assert (fenced["lane"], fenced["epoch"]) == (lane, 1)
    assert fenced["reason"] == "lane 0: epoch 1 is over, epoch 2 owns it"
    assert "RELEASED" not in await events_of(rig, lane, 1)


async def test_a_re_seek_is_told_with_the_offset_that_came(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that answers from somewhere else is read again from where the lane stands: told, and nothing is lost."""
    original = Intake._contiguous
    skipped: list[int] = []

    def skipping(intake: Intake, name: str, records: list[Any]) -> Any:
        # The client loses the first record of one fetch, as a fetch that races an assignment does.
        if name == ENTRIES.name and len(records) > 1 and not skipped:
            skipped.append(records[0].offset)
            records = records[1:]
        return original(intake, name, records)

    monkeypatch.setattr(Intake, "_contiguous", skipping)
    await rig.send(*(entry(f"e{number}", account="a") for number in range(10)))
    async with rig.worker():
        await rig.quiet(10)
    (row,) = await told(rig, event="RESEEK")
    assert row["epoch"] == 1 and row["duration_ms"] is None
    assert row["reason"].endswith(f"offset {skipped[0] + 1} came where {skipped[0]} was due")
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 10


async def test_a_stopped_lane_is_told_with_its_reason(rig: Rig) -> None:
    rig.site.environment["FP_BREAKER_CONSECUTIVE"] = "1"
    async with rig.worker():
        await rig.send(entry("e1", note="poison"))
        await rig.until("SELECT count(*)::int FROM handover WHERE event = 'RELEASED'", 1)
    (stopped,) = await told(rig, event="STOPPED")
    assert stopped["reason"] == "BREAKER_OPEN: 1 inputs in a row were poison"
    assert (await events_of(rig, stopped["lane"], 1))[-2:] == ["STOPPED", "RELEASED"]


async def test_notes_outlive_a_store_that_is_away_and_hold_no_lane_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal fails, and so does every note for a while: the lanes work on, and the notes come late, with their own time."""
    renew = Ownership.renew
    away: list[datetime] = []

    async def failing(ownership: Ownership, lanes: list[int]) -> Any:
        if len(lanes) == 3 and not away:
            away.append(await rig.value("SELECT clock_timestamp()"))
            raise asyncpg.PostgresConnectionError("the store is away")
        return await renew(ownership, lanes)

    monkeypatch.setattr(Ownership, "renew", failing)
    async with rig.worker():
        await ready(rig, 1)
        async with rig.site.store("ledger") as store, store.transaction():
            # The store takes no row of handovers as long as this lock is held.
            await store.execute("LOCK TABLE handover IN EXCLUSIVE MODE")
            await until(lambda: bool(away), Deadline(10), "a renewal to fail")
            await rig.send(*(entry(f"e{number}", account=f"a{number}") for number in range(12)))
            await rig.quiet(12)
        await rig.until("SELECT count(*)::int FROM handover WHERE event = 'RENEWAL_MISSED'", 3)
    for row in await told(rig, event="RENEWAL_MISSED"):
        assert row["epoch"] == 1 and row["reason"] == "PostgresConnectionError: the store is away"
        assert abs((row["at"] - away[0]).total_seconds()) < 0.3


async def test_a_service_cannot_rewrite_what_was_told(rig: Rig) -> None:
    connection = await asyncpg.connect(rig.site.dsn("ledger"))
    try:
        await connection.execute("INSERT INTO handover (lane, epoch, event, worker_id, reason) VALUES (0, 1, 'READY', 'w', '')")
        for statement in ("UPDATE handover SET reason = 'x'", "DELETE FROM handover", "TRUNCATE handover"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("INSERT INTO handover (lane, epoch, event, worker_id, reason) VALUES (0, 1, 'OTHER', 'w', '')")
    finally:
        await connection.close()


async def test_the_operator_lists_them_newest_last_with_the_gaps(rig: Rig) -> None:
    rows = [("CLAIMED", None), ("RELEASED", None), ("CLAIMED", 40), ("CLAIMED", 10), ("CLAIMED", 2310), ("READY", 700)]
    async with rig.site.store("ledger") as store:
        for number, (event, duration) in enumerate(rows):
            await store.execute(
                "INSERT INTO handover (lane, epoch, event, worker_id, reason, duration_ms, at) "
                "VALUES ($1, $2, $3, 'w', 'so it is', $4, timestamptz '2026-01-05 00:00:00+00' + make_interval(secs => $2::bigint::int))",
                number % 2,
                number,
                event,
                duration,
            )

    async def listed(*options: str) -> list[str]:
        arguments = ["handovers", "--service", "ledger", "--dsn", rig.site.operator_dsn, *options]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
        return result.output.splitlines()

    *lines, last = await listed()
    assert [line.split()[6] for line in lines] == [event for event, _ in rows]
    assert lines[4] == "2026-01-05 00:00:04.000000 lane 0 epoch 4 CLAIMED by w 2310 ms without an owner: so it is"
    assert last == "ledger: 4 CLAIMED, 1 READY, 1 RELEASED; longest gap without an owner 2310 ms, median 40 ms"
    *lines, last = await listed("--lane", "1", "--since", "2026-01-05T00:00:01Z", "--limit", "2")
    assert [line.split()[5] for line in lines] == ["3", "5"]
    assert last == "ledger: 1 CLAIMED, 1 READY; longest gap without an owner 10 ms, median 10 ms"
    assert (await listed("--since", "2027-01-01"))[-1] == "ledger: nothing; no lane changed its owner"
    assert any("no ISO 8601 instant" in line for line in await listed("--since", "yesterday"))

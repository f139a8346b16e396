"""A closed run's identities are dropped under a working service, and nothing of the run is ever NEW again."""

import asyncio

import pytest

from audit.auditor import Section, audit
from ledger import service as ledger
from ledger.service import ENTRIES
from rig import Rig, entry
from spine.deadline import Deadline, DeadlineExceededError
from spine.migrate import close_run, open_run
from spine.retention import Drop, NotDroppableError, drop_run
from testkit.harness import PLATFORM_RUN
from tests.audit.history import target

OLD_RUN = "platform_20250101T000000Z"


async def drop(rig: Rig, run: str = OLD_RUN, seconds: float = 20.0) -> Drop:
    service = ledger.build(rig.site.settings("ledger"))
    bus = {"bootstrap_servers": rig.engines.endpoints.kafka_bootstrap}
    return await drop_run(rig.site.operator_dsn, service, run, bus, rig.site.prefix, Deadline(seconds))


async def has_partition(rig: Rig, run: str) -> bool:
    number = await rig.value("SELECT run_no FROM run WHERE platform_run_id = $1", run)
    return await rig.value("SELECT to_regclass($1)", f"inbox_r{number}") is not None


async def test_a_run_is_dropped_while_the_service_works_and_stays_closed(rig: Rig) -> None:
    await open_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    old = [entry(f"o{n}", account=f"a{n % 9}", run=OLD_RUN) for n in range(300)]
    async with rig.worker():
        await rig.send(*old, *old[:20], entry("o1", account="a1", amount=7, run=OLD_RUN))
        await rig.quiet(321)
        with pytest.raises(NotDroppableError, match="close it first"):
            await drop(rig)
        await close_run(rig.site.operator_dsn, "ledger", OLD_RUN)
        new = asyncio.create_task(rig.send(*(entry(f"n{n}", account=f"a{n % 9}") for n in range(2000))))
        assert await drop(rig) is Drop.DROPPED
        await new
        await rig.send(*old[:30], entry("late", account="a1", run=OLD_RUN))
        await rig.quiet(2352)
    assert not await has_partition(rig, OLD_RUN)
    assert await has_partition(rig, PLATFORM_RUN)
    assert await rig.value("SELECT count(*) FROM entry") == 2300
    assert await rig.value("SELECT count(*) FROM parked WHERE reason = 'CLOSED_RUN'") == 31
    assert await drop(rig) is Drop.ALREADY
    report = await audit(target(rig))
    assert report.findings == ()
    assert (report.figures["new"], report.figures["duplicate"], report.figures["mismatch"]) == (2300, 20, 1)
    section = await audit(target(rig), Section(ENTRIES.name, 5, 40))
    assert section.findings == ()


async def test_without_the_registrys_word_a_missing_partition_is_found(rig: Rig) -> None:
    await open_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    async with rig.worker():
        await rig.send(*(entry(f"o{n}", account=f"a{n % 9}", run=OLD_RUN) for n in range(30)))
        await rig.quiet(30)
    await close_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    assert await drop(rig) is Drop.DROPPED
    await rig.rows("UPDATE run SET dropped_at = NULL")
    report = await audit(target(rig))
    assert {finding.code for finding in report.findings} == {"VERDICT_DIFFERS"}


async def test_a_doctored_verdict_of_a_dropped_run_is_found(rig: Rig) -> None:
    await open_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    async with rig.worker():
        await rig.send(*(entry(f"o{n}", account="a", run=OLD_RUN) for n in range(30)), entry("o1", account="a", run=OLD_RUN))
        await rig.quiet(31)
    await close_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    assert await drop(rig) is Drop.DROPPED
    await rig.rows("UPDATE certificate SET verdicts = replace(verdicts, 'D', 'N')")
    report = await audit(target(rig))
    assert "VERDICT_DIFFERS" in {finding.code for finding in report.findings}


_WAIT = """
INSERT INTO pending (lane, lane_seq, epoch, kind, ref, key, due, body)
VALUES (0, 1, 1, 'wait', 'w', 'k', now() + interval '1 hour', convert_to($1, 'UTF8'))
"""


async def test_a_run_with_unread_records_or_pending_work_stays(rig: Rig) -> None:
    await open_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    async with rig.worker():
        await rig.send(entry("e1", run=OLD_RUN))
        await rig.quiet(1)
    await close_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    await rig.send(entry("u1", run=OLD_RUN))
    with pytest.raises(DeadlineExceededError, match="to read"):
        await drop(rig, seconds=0.3)
    async with rig.worker():
        await rig.quiet(2)
    await rig.rows(_WAIT, f"some bytes before {OLD_RUN} and after")
    with pytest.raises(NotDroppableError, match="pending"):
        await drop(rig)
    assert await has_partition(rig, OLD_RUN)
    await rig.rows("DELETE FROM pending")
    assert await drop(rig) is Drop.DROPPED


async def test_a_detach_that_was_cut_off_is_finished(rig: Rig) -> None:
    number = await open_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    await close_run(rig.site.operator_dsn, "ledger", OLD_RUN)
    async with rig.worker(), rig.site.store("ledger") as reader, rig.site.store("ledger") as detaching:
        await rig.until("SELECT count(*)::int FROM lane_lease WHERE until > now()", len(await rig.rows("SELECT 1 FROM lane")))
        # A reader with an open transaction holds the second half of a detach up; that one is given up meanwhile.
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM inbox")
            await detaching.execute("SET statement_timeout = 300")
            with pytest.raises(Exception, match="timeout"):
                await detaching.execute(f"ALTER TABLE inbox DETACH PARTITION inbox_r{number} CONCURRENTLY")
        assert await rig.value("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = $1::regclass", f"inbox_r{number}")
        assert await drop(rig) is Drop.DROPPED
    assert not await has_partition(rig, OLD_RUN)

"""A history is applied once more on a shadow: the same to the byte, or a list of what differs and where."""

import asyncio
from dataclasses import replace

import asyncpg
import msgspec
import pytest

import ledger.service as ledger
from audit.replay import Span, replay
from audit.shadow import shadow_of
from rig import Rig
from spine.service import Service
from tests.audit.history import live_through, target


def service(rig: Rig) -> Service:
    return ledger.build(rig.site.settings("ledger"))


async def test_a_whole_history_comes_out_the_same(rig: Rig) -> None:
    await live_through(rig)
    replayed = await replay(target(rig), service(rig), rig.site.settings("ledger"))
    assert replayed.report.findings == ()
    consumed = await rig.value("SELECT sum(length(verdicts))::int FROM certificate")
    assert replayed.report.figures["compared"] == consumed > 80
    assert await rig.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shadow%'") == []
    assert await rig.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'shadow_ledger%'") == []


async def test_a_policy_that_says_something_else_is_named_with_its_rows_and_outputs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await live_through(rig)
    post = ledger._post

    def generous(*arguments: object) -> object:
        for effect in post(*arguments):  # type: ignore[arg-type]  # the wrapped handler keeps its types to itself
            if isinstance(effect, ledger.Emit) and effect.body.entry == "e3-a4":  # type: ignore[attr-defined]  # the wrapped handler keeps its types to itself
                yield msgspec.structs.replace(effect, body=msgspec.structs.replace(effect.body, balance=10_000))
            else:
                yield effect

    monkeypatch.setattr(ledger, "_post", generous)
    report = (await replay(target(rig), service(rig), rig.site.settings("ledger"))).report
    (found,) = report.findings
    assert (found.law, found.code) == ("I3", "ROW_DIFFERS")
    assert "payload differs at /balance" in found.detail
    (row,) = await rig.rows("SELECT lane, lane_seq FROM outbox WHERE position('e3-a4' in convert_from(value, 'utf8')) > 0")
    assert (found.lane, found.lane_seq) == (row["lane"], row["lane_seq"])


async def test_a_certificate_over_other_inputs_than_were_applied_is_named(rig: Rig) -> None:
    """With the same effects: the inputs themselves are compared, not only what came of them."""
    await live_through(rig)
    lane = await rig.value("SELECT lane FROM certificate WHERE lane_seq = 1 ORDER BY lane LIMIT 1")
    await rig.rows("UPDATE certificate SET inputs_digest = sha256('x') WHERE lane_seq = 1 AND lane = $1 RETURNING 1", lane)
    report = (await replay(target(rig), service(rig), rig.site.settings("ledger"))).report
    assert [(found.code, found.lane, found.lane_seq) for found in report.findings] == [("INPUTS_DIFFER", lane, 1)]


async def test_a_span_is_compared_alone_and_stands_on_everything_before_it(rig: Rig) -> None:
    await live_through(rig)
    lane, newest = await rig.value("SELECT (lane, lane_seq) FROM lane ORDER BY lane_seq DESC LIMIT 1")
    report = (await replay(target(rig), service(rig), rig.site.settings("ledger"), Span(start=newest, lane=lane))).report
    assert report.ok
    assert report.figures["certificates"] == 1
    assert report.figures["folded"] > report.figures["compared"]


async def test_a_replay_cannot_write_to_the_tables_of_production(rig: Rig) -> None:
    """Kept by the database: the shadow's login may look at every table of the service, and change none."""
    await live_through(rig)
    tables = [
        row["relname"]
        for row in await rig.rows("SELECT relname FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'p')")
    ]
    assert {"account", "entry", "note", "inbox", "outbox", "lane", "pending", "parked"} <= set(tables)
    async with shadow_of(rig.site.operator_dsn, service(rig)) as shadow:
        connection = await asyncpg.connect(shadow.dsn)
        try:
            for table in tables:
                await connection.fetchval(f"SELECT count(*) FROM ledger.{table}")
                column = await connection.fetchval(_LAST_COLUMN, f"ledger.{table}")
                for statement in (
                    f"DELETE FROM ledger.{table}",
                    f'UPDATE ledger.{table} SET "{column}" = "{column}"',
                    f"INSERT INTO ledger.{table} OVERRIDING SYSTEM VALUE SELECT * FROM ledger.{table} LIMIT 0",
                    f"TRUNCATE ledger.{table}",
                    f"DROP TABLE ledger.{table}",
                ):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(statement)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TABLE ledger.new_one (x int)")
        finally:
            await connection.close()


_LAST_COLUMN = "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum DESC LIMIT 1"


async def test_a_log_that_is_gone_is_said_and_not_passed_over(rig: Rig) -> None:
    await live_through(rig)
    elsewhere = replace(target(rig), prefix=rig.site.prefix + "none.")
    report = (await replay(elsewhere, service(rig), rig.site.settings("ledger"))).report
    assert {found.code for found in report.findings} == {"LOG_GONE"}


async def test_shadows_may_be_raised_at_the_same_time(rig: Rig) -> None:
    async def tables() -> int:
        async with shadow_of(rig.site.operator_dsn, service(rig)) as shadow:
            operator = await asyncpg.connect(rig.site.operator_dsn)
            try:
                return int(await operator.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = $1", shadow.schema))
            finally:
                await operator.close()

    first, *others = await asyncio.gather(*(tables() for _ in range(4)))
    assert first > 10
    assert others == [first] * 3

"""What a service's connections are told (docs/decisions/2026-11-24-hot-path.md)."""

import sys
from abc import ABCMeta
from types import CodeType, FrameType

import asyncpg
import pytest

from ledger.service import ACCOUNTS
from rig import Rig
from spine import sql
from spine.store import close_pool, open_pool


async def test_rows_are_looked_up_by_key_though_the_table_is_small_when_it_is_planned(rig: Rig) -> None:
    """A plan that reads the whole of a small table is kept while it grows."""
    async with rig.site.store("ledger") as operator:
        await operator.execute("ANALYZE account")
    pool = await open_pool(rig.site.settings("ledger"), "ledger")
    try:
        lines = await pool.fetch(f"EXPLAIN {sql.read_rows(ACCOUNTS)}", [f"account-{number}" for number in range(200)])
    finally:
        await pool.close()
    plan = "\n".join(line[0] for line in lines)
    assert "Index Scan" in plan and "Seq Scan" not in plan and "Hash" not in plan, plan


async def test_no_element_of_an_array_is_asked_what_it_is(rig: Rig) -> None:
    asked: list[CodeType] = []

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is ABCMeta.__instancecheck__.__code__:
            asked.append(frame.f_code)

    pool = await open_pool(rig.site.settings("ledger"), "ledger")
    try:
        sys.setprofile(called)
        found = await pool.fetch(
            "SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS g(a, b, c)",
            ["a", None] * 200,
            (b"b", None) * 200,
            [1, None] * 200,
        )
        sys.setprofile(None)
        nested = await pool.fetchval("SELECT $1::bigint[]", [[1, 2], [3, 4]])
    finally:
        sys.setprofile(None)
        await pool.close()
    assert [tuple(row) for row in found] == [("a", b"b", 1), (None, None, None)] * 200
    assert nested == [[1, 2], [3, 4]]
    # An element would be asked twice; the client asks a few times of other things, once a statement.
    assert len(asked) < 50


async def test_a_process_ends_though_a_connection_does_not_come_back(rig: Rig) -> None:
    """A connection whose answer is lost on the way is never given back: closing the pool would wait for it, and then fail."""
    pool = await open_pool(rig.site.settings("ledger"), "ledger")
    await pool.acquire()
    await close_pool(pool)
    with pytest.raises(asyncpg.InterfaceError):
        await pool.fetchval("SELECT 1")

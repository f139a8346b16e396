"""What a service's connections are told (docs/decisions/2026-11-24-hot-path.md)."""

from ledger.service import ACCOUNTS
from rig import Rig
from spine import sql
from spine.store import open_pool


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

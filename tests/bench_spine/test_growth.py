"""Costs at different sizes of transactions are made comparable, and an inbox is filled with rows as the service writes them."""

import asyncpg
import pytest

from testkit.bench.draining import RUN, install
from testkit.bench.growth_fit import REFERENCE, Sample, Shape, fit, verdicts
from testkit.bench.inbox_rows import fill_inbox
from testkit.engines import EngineSet
from testkit.harness import new_site

BASE = Shape(1000, 6, 1)
TRANSACTION_US = 4000.0


def sample(shape: Shape, event_us: float, batch: int, *, chosen: bool = True) -> Sample:
    return Sample(shape, chosen, 100 * batch, 100, event_us - 50.0 + TRANSACTION_US / batch, 50.0)


def samples(**event_us: float) -> list[Sample]:
    """Cheap at few rows and one worker; the others as given, with transactions of other sizes."""
    return [
        sample(Shape(0, 6, 1), 200.0, 400),
        sample(Shape(0, 6, 1), 204.0, 400),
        sample(Shape(0, 6, 1), 200.0, 50, chosen=False),
        sample(BASE, event_us.get("rows", 200.0), 400),
        sample(BASE, event_us.get("rows", 200.0), 50, chosen=False),
        sample(Shape(1000, 1, 1), 200.0, 1000),
        sample(Shape(1000, 6, 2), event_us.get("workers", 200.0), 100),
    ]


def test_what_a_transaction_costs_is_told_apart_from_what_an_event_costs() -> None:
    found = fit(samples())
    assert found.transaction_us == pytest.approx(TRANSACTION_US, rel=0.02)
    by_shape = {point.shape: point for point in found.points}
    assert by_shape[BASE].adjusted_us == pytest.approx(200.0 + TRANSACTION_US / REFERENCE, rel=0.01)
    # As measured: small transactions that were forced upon a lane are no part of it.
    assert by_shape[BASE].cpu_us == 200.0 + TRANSACTION_US / 400
    assert by_shape[BASE].batch == 400
    assert by_shape[Shape(1000, 6, 2)].cpu_us == 240.0


def test_only_what_small_transactions_do_not_explain_is_growth() -> None:
    words = {line.partition(":")[0]: line.partition(": ")[2].partition(";")[0] for line in verdicts(fit(samples()))}
    assert words == {"inbox rows": "flat", "partitions": "flat", "workers": "flat, but for the size of its transactions"}
    grown = {
        line.partition(":")[0]: line.partition(": ")[2].partition(";")[0] for line in verdicts(fit(samples(rows=230.0, workers=260.0)))
    }
    assert grown["inbox rows"] == "GROWS"
    assert grown["workers"] == "GROWS"


async def test_an_inbox_that_is_filled_keeps_its_key_and_its_place(engines: EngineSet) -> None:
    site = await new_site(engines.endpoints)
    await install(site, "decision_fabric")
    async with site.store("decision_fabric") as store:
        run_no = await store.fetchval("SELECT run_no FROM run WHERE platform_run_id = $1", RUN.platform_run_id)
        before = await _shape(store, run_no)
        await fill_inbox(store, run_no, 3000, lambda _: None)
        assert await store.fetchval("SELECT count(DISTINCT event_id) FROM inbox WHERE run_no = $1", run_no) == 3000
        assert await _shape(store, run_no) == before
        with pytest.raises(asyncpg.UniqueViolationError):
            await store.execute("INSERT INTO inbox SELECT * FROM inbox LIMIT 1")


async def _shape(store: asyncpg.Connection, run_no: int) -> list[tuple[str, str]]:
    rows = await store.fetch(
        "SELECT contype::text, pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1::regclass ORDER BY 1, 2",
        f"inbox_r{run_no}",
    )
    attached = await store.fetchval("SELECT count(*)::int FROM pg_inherits WHERE inhrelid = $1::regclass", f"inbox_r{run_no}")
    return [*(tuple(row) for row in rows), ("attached", str(attached))]

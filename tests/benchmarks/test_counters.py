"""What a batch and an event cost the store is gated: statements, round trips, bytes both ways, WAL, against a checked-in baseline."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest
from asyncpg.transaction import Transaction

from benchmarks.counters import ADVICE, WAL_TOLERANCE, differences, load
from benchmarks.counting.measure import Cost, measure, measure_one
from benchmarks.counting.wire import Counts, Wire
from testkit.engines import EngineSet


async def test_fixed_histories_cost_what_the_baseline_says(engines: EngineSet) -> None:
    """Better fails too: the baseline follows, or the next regression hides in the room that was won."""
    found = differences(load(), await measure(engines.endpoints))
    assert not found, "\n".join([*found, ADVICE])


async def test_one_statement_more_fails_the_gate(engines: EngineSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra statement in each transaction shows as itself, as a round trip a batch, and as bytes."""
    commit = Transaction.commit

    async def planted(transaction: Any) -> None:
        await transaction._connection.execute("SELECT 'planted'")
        await commit(transaction)

    monkeypatch.setattr(Transaction, "commit", planted)
    now = await measure_one(engines.endpoints, "posting", "batches_of_20")
    baseline = load()["posting"]["batches_of_20"]
    found = differences({"posting": {"batches_of_20": baseline}}, {"posting": {"batches_of_20": now}})
    assert f"posting, batches_of_20: {now.batches} executions, the baseline says 0, of: SELECT 'planted'" in found
    assert any("round_trips" in line for line in found)
    assert now.round_trips == baseline.round_trips + baseline.batches


def _cost(**changes: object) -> Cost:
    return msgspec.structs.replace(Cost(2, 40, 39, {"SELECT 1": 2}, 5, 900, 700, 10_000), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"statements": {"SELECT 1": 3}},
        {"statements": {}},
        {"statements": {"SELECT 1": 2, "SELECT 2": 1}},
        {"round_trips": 6},
        {"bytes_out": 901},
        {"bytes_in": 699},
        {"outputs": 40},
        {"wal_bytes": int(10_001 * (1 + WAL_TOLERANCE))},
    ],
)
def test_every_counter_is_compared(changes: dict[str, object]) -> None:
    """One counter that is another is one sentence."""
    assert len(differences({"a": {"b": _cost()}}, {"a": {"b": _cost(**changes)}})) == 1


def test_wal_alone_has_room() -> None:
    """What other transactions of the engine still see moves it a little."""
    assert not differences({"a": {"b": _cost()}}, {"a": {"b": _cost(wal_bytes=int(9_999 * (1 + WAL_TOLERANCE)))}})


def test_a_history_that_is_not_measured_any_more_is_named() -> None:
    """A gate that lost a history would pass for ever."""
    assert differences({"a": {"b": _cost()}}, {}) == ["a: not measured any more"]
    assert differences({"a": {"b": _cost(), "c": _cost()}}, {"a": {"b": _cost()}}) == ["a, c: only in the baseline"]


async def test_the_wire_counts_what_a_driver_does(engines: EngineSet) -> None:
    """Simple and prepared statements, copying, and what is executed again without being prepared again."""
    wire = Wire(engines.endpoints.postgres_dsn)
    async with wire.relaying():
        connection = await asyncpg.connect(wire.through(engines.endpoints.postgres_dsn))
        await connection.execute("CREATE TEMPORARY TABLE counted (number int)")
        await connection.fetchval("SELECT $1::int", 1)
        wire.counts = Counts()
        await connection.execute("SELECT   1")
        assert await connection.fetchval("SELECT $1::int", 2) == 2
        assert await connection.fetchval("SELECT $1::int", 3) == 3
        await connection.copy_records_to_table("counted", records=[(number,) for number in range(10_000)])
        counts = wire.counts
        await connection.close()
    assert counts.statements == {"SELECT 1": 1, "SELECT $1::int": 2, 'COPY "counted" FROM STDIN (FORMAT binary)': 1}
    # Copying waits twice: until it may send, and until it is done.
    assert counts.round_trips == 5
    assert counts.bytes_out > 10_000 * 10
    assert 100 < counts.bytes_in < 1_000

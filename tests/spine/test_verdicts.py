"""The four verdicts, on a real store: what is applied, what is not, and what is recorded of it (authority.md 7.1)."""

import asyncio
import json

import pytest

from deduping import dedupe
from laws.envelope import decode_envelope
from laws.identity import pack_event_id
from laws.topics import AUDIT
from ledger.service import POSTED
from rig import Rig, entry

SEVEN = {"account": "a", "amount": 7}


async def test_duplicates_are_not_applied_again(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(entry("e1", amount=7), entry("e1", amount=7))
        await rig.quiet(2)
        await rig.send(entry("e1", amount=7))
        await rig.quiet(3)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 7
    assert await rig.value("SELECT sum((counts->>'DUPLICATE')::int) FROM certificate") == 2
    assert len(await rig.read(POSTED)) == 1


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
async def test_another_payload_is_an_anomaly_with_both_hashes_and_places(rig: Rig, together: bool) -> None:
    await rig.site.topics([AUDIT])
    async with rig.worker():
        if together:
            await rig.send(entry("e1", amount=7), entry("e1", amount=8))
        else:
            await rig.send(entry("e1", amount=7))
            await rig.quiet(1)
            await rig.send(entry("e1", amount=8))
        await rig.quiet(2)
        # The same other payload once more is the same anomaly.
        await rig.send(entry("e1", amount=8))
        await rig.quiet(3)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 7
    (row,) = await rig.rows("SELECT * FROM anomaly")
    assert row["reason"] == "PAYLOAD_HASH_MISMATCH"
    assert bytes(row["event_id"]) == pack_event_id("e1")
    assert row["first_hash"] != row["other_hash"]
    assert (row["first_offset"], row["offset"]) == (0, 1)
    (told,) = await rig.read(AUDIT)
    payload = json.loads(bytes(decode_envelope(told.value).payload))
    assert payload["first_payload_hash"] == bytes(row["first_hash"]).hex()
    assert payload["other_payload_hash"] == bytes(row["other_hash"]).hex()
    assert payload["other_ref"]["offset"] == "1"


@pytest.mark.parametrize(("other", "verdict"), [(7, "DUPLICATE"), (8, "MISMATCH")])
async def test_the_second_look_settles_what_another_transaction_commits_meanwhile(rig: Rig, other: int, verdict: str) -> None:
    """A row that conflicts but is not visible to the statement's snapshot is neither NEW nor unknown."""
    await rig.site.topics([AUDIT])
    hashes = {}
    async with rig.worker():
        await rig.send(entry("probe", amount=other))
        await rig.quiet(1)
        hashes = {row["event_id"]: row["payload_hash"] for row in await rig.rows("SELECT event_id, payload_hash FROM inbox")}
    async with rig.site.store("ledger") as store:
        meanwhile = store.transaction()
        await meanwhile.start()
        await store.execute(
            'INSERT INTO inbox SELECT run_no, class_no, $1, $2, lane, lane_seq, epoch, topic_id, partition, "offset" FROM inbox LIMIT 1',
            pack_event_id("e1"),
            hashes[pack_event_id("probe")],
        )
        async with rig.worker():
            await rig.send(entry("e1", amount=7))
            # The worker's insert now waits for this transaction: it is blocked inside the statement whose snapshot is already taken.
            await rig.until(
                "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO inbox%' "
                "AND datname = current_database() AND pid <> pg_backend_pid()",
                1,
            )
            await meanwhile.commit()
            await rig.quiet(2)
    assert await rig.value(f"SELECT sum((counts->>'{verdict}')::int) FROM certificate") == 1
    assert await rig.value("SELECT count(*)::int FROM entry WHERE event_id = 'e1'") == 0


async def test_batches_with_the_same_identities_in_other_orders_never_deadlock(rig: Rig) -> None:
    """Sorted inserts wait for each other; unsorted ones deadlock in most rounds."""

    async def insert(names: list[str], lane: int) -> None:
        async with rig.site.store("ledger") as store, store.transaction():
            await dedupe(store, names, b"x" * 32, lane)

    for round_number in range(12):
        names = [f"r{round_number}-{i:04d}" for i in range(400)]
        await asyncio.gather(insert(names, 0), insert(list(reversed(names)), 1))
    assert await rig.value("SELECT count(*)::int FROM inbox") == 12 * 400

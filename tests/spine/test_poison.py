"""Poison: parked with its reason, its key behind it, other keys flow; released in order; too much of it stops the lane."""

import aiohttp
import msgspec

from laws.topics import Topic
from ledger.service import ENTRY
from rig import Record, Rig, entry
from spine.deadline import Deadline
from spine.inputs import SOURCE_DECODER, SOURCE_ENCODER
from spine.tokens import issue


def garbage(topic: Topic | None, like: Record) -> Record:
    assert topic is not None
    return Record(topic, like.partition, like.key, b"not json", like.headers)


async def test_poison_holds_its_key_and_nobody_else(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(
            entry("a1", account="a"),
            entry("a2", account="a", note="poison"),
            entry("a3", account="a"),
            entry("b1", account="b"),
            garbage(ENTRY.topic, entry("c1", account="c")),
            entry("c2", account="c"),
            entry("bad", account="d", note="bad"),
            entry("bad2", account="e", note="bad"),
        )
        await rig.quiet(8)
    parked = await rig.rows("SELECT reason, detail FROM parked ORDER BY reason, detail")
    reasons = sorted(row["reason"] for row in parked)
    assert reasons == ["BEHIND_PARKED_KEY", "BEHIND_PARKED_KEY", "ENVELOPE_INVALID", "POLICY_ERROR", "STORE_REFUSED"]
    assert any("this entry is poison" in row["detail"] for row in parked)
    applied = {row["event_id"] for row in await rig.rows("SELECT event_id FROM entry")}
    assert applied == {"a1", "b1", "fixed"}


async def test_a_release_applies_a_key_s_inputs_in_their_order_and_only_once(rig: Rig) -> None:
    process = rig.process()
    process.start()
    await process.ready(Deadline(30))
    await rig.send(entry("a1", account="a", note="poison"), entry("a2", account="a", amount=2), entry("a3", account="a", amount=3))
    await rig.quiet(3)
    (row,) = await rig.rows("SELECT DISTINCT lane, encode(key, 'hex') AS key FROM parked")
    body = {"lane_group": "account", "lane": row["lane"], "key": row["key"]}
    headers = {"authorization": f"Bearer {issue(rig.site.token_secret, 'SYSTEM::ops')}"}
    url = f"http://127.0.0.1:{process.port}/v1/parked/release"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json=body) as answer:
            assert answer.status == 401
        async with session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
        # Poison still: the key stays parked behind it.
        assert await rig.value("SELECT count(*)::int FROM parked WHERE released_seq IS NULL") == 3
        # The defect is mended (here: the stored source is), and the key is released.
        mended = entry("a1", account="a", amount=1)
        await _mend(rig, mended)
        async with session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
        assert await rig.value("SELECT count(*)::int FROM parked WHERE released_seq IS NULL") == 0
        async with session.post(url, json=body, headers=headers) as answer:
            assert (await answer.json())["released"] is False
    order = await rig.rows("SELECT how, event_id, balance FROM entry JOIN account USING (account) ORDER BY event_id")
    assert [entry_row["event_id"] for entry_row in order] == ["a1", "a2", "a3"]
    await rig.send(entry("a4", account="a", amount=4))
    await rig.until("SELECT balance FROM account WHERE account = 'a'", 10)
    process.terminate()
    await process.ended(Deadline(20))


async def _mend(rig: Rig, mended: Record) -> None:
    async with rig.site.store("ledger") as store:
        for row in await store.fetch("SELECT lane, lane_seq, i, source FROM parked WHERE reason = 'POLICY_ERROR'"):
            source = SOURCE_DECODER.decode(row["source"])
            fixed = msgspec.structs.replace(source, value=mended.value)
            await store.execute(
                "UPDATE parked SET source = $1 WHERE lane = $2 AND lane_seq = $3 AND i = $4",
                SOURCE_ENCODER.encode(fixed),
                row["lane"],
                row["lane_seq"],
                row["i"],
            )


async def test_too_much_poison_stops_the_lane_and_bars_it(rig: Rig) -> None:
    rig.site.environment["FP_BREAKER_CONSECUTIVE"] = "10"
    async with rig.worker():
        await rig.send(*(entry(f"x{number}", account="a", note="poison") for number in range(1)))
        await rig.send(*(garbage(ENTRY.topic, entry(f"y{number}", account="a")) for number in range(20)))
        await rig.until("SELECT count(*)::int FROM lane WHERE stopped_reason LIKE 'BREAKER_OPEN%'", 1)
        # The lane is released and nobody may claim it.
        await rig.until(
            "SELECT count(*)::int FROM lane_lease JOIN lane USING (lane) WHERE stopped_reason IS NOT NULL AND owner IS NOT NULL", 0
        )
    assert await rig.value("SELECT count(*)::int FROM parked") == 21

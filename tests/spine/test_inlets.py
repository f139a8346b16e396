"""Commands, timers and answers beside records: one lane, one order (runtime.md, Four inlets)."""

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp

from laws.envelope import decode_envelope
from laws.verdicts import Verdict
from ledger.service import POSTED
from payee import payee_at
from rig import Rig, adjust, entry, key_given
from spine.deadline import Deadline


async def test_commands_and_records_of_one_key_at_once_add_up(rig: Rig) -> None:
    async with rig.worker() as (_, door):

        async def command(number: int) -> Any:
            source, spec = adjust(door, f"c{number}", "a", 100)
            return await door.submit(source, spec, Deadline(20))

        sending = asyncio.create_task(rig.send(*(entry(f"e{number}", amount=1) for number in range(200))))
        answers = await asyncio.gather(*(command(number) for number in range(50)))
        await sending
        await rig.quiet(200)
        assert all(answer.verdict is Verdict.NEW and answer.status == 201 for answer in answers)
        again, spec = adjust(door, "c7", "a", 100)
        repeated = await door.submit(again, spec, Deadline(20))
        assert repeated.verdict is Verdict.DUPLICATE
        assert repeated.body == answers[7].body
        changed, spec = adjust(door, "c7", "a", 101)
        assert (await door.submit(changed, spec, Deadline(20))).verdict is Verdict.MISMATCH
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 200 + 50 * 100
    lanes = await rig.rows("SELECT DISTINCT lane FROM certificate WHERE inlet IN ('command', 'records') AND refs <> '[]'")
    assert len(lanes) == 1


async def test_a_duplicate_in_the_same_batch_gets_the_reply_of_its_first(rig: Rig) -> None:
    async with rig.worker() as (_, door):
        source, spec = adjust(door, "c1", "a", 100)
        # Submitted before anything is applied: they go in together.
        answers = await asyncio.gather(*(door.submit(source, spec, Deadline(20)) for _ in range(3)))
    assert sorted(answer.verdict for answer in answers) == [Verdict.DUPLICATE, Verdict.DUPLICATE, Verdict.NEW]
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert await rig.value('SELECT count(*)::int FROM certificate WHERE counts = \'{"DUPLICATE": 2, "NEW": 1}\'') == 1


async def test_a_duplicate_behind_another_payload_in_the_same_batch_gets_the_stored_reply(rig: Rig) -> None:
    """Its first in the batch is refused and has no reply: what stands in the store is its answer all the same."""
    async with rig.worker() as (_, door):
        source, spec = adjust(door, "c1", "a", 100)
        changed, _ = adjust(door, "c1", "a", 101)
        before = await door.submit(source, spec, Deadline(20))
        other, same = await asyncio.gather(*(door.submit(sent, spec, Deadline(20)) for sent in (changed, source)))
    assert (other.verdict, same.verdict) == (Verdict.MISMATCH, Verdict.DUPLICATE)
    assert (same.status, same.body) == (before.status, before.body) != (0, b"")
    assert other.body == b""
    assert await rig.value('SELECT count(*)::int FROM certificate WHERE counts = \'{"DUPLICATE": 1, "MISMATCH": 1}\'') == 1


async def test_what_is_waited_for_ends_the_wait_and_time_ends_it_otherwise(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(key_given("k0", "early"), entry("w-early", account="early", note="wait"))
        await rig.send(entry("w-kept", account="kept", note="wait"))
        await rig.until("SELECT count(*)::int FROM pending WHERE key = 'kept'", 1)
        await rig.send(key_given("k1", "kept"))
        await rig.send(entry("w-late", account="late", note="wait"))
        await rig.until("SELECT count(*)::int FROM entry", 3)
        await rig.until("SELECT count(*)::int FROM pending", 0)
        # It comes after all: the wait is over, and stays over.
        await rig.send(key_given("k2", "late"))
        await rig.quiet(6)
    how = {row["event_id"]: row["how"] for row in await rig.rows("SELECT event_id, how FROM entry")}
    assert how == {"w-early": "entry", "w-kept": "keyed", "w-late": "late"}


async def test_a_wait_does_not_end_before_the_log_is_read_up_to_its_first_sight(rig: Rig) -> None:
    """What is waited for stands in the log already when a worker comes back after longer than the wait: it must be found, not missed."""
    async with rig.worker():
        await rig.send(entry("w1", account="a", note="wait"))
        await rig.quiet(1)
    # Nobody runs while the wait's time passes and the key arrives.
    await rig.send(*(key_given(f"k{number}", "a") for number in range(1)))
    await rig.until("SELECT bool_and(due < clock_timestamp()) FROM pending", True)
    await rig.rows("UPDATE pending SET until_offset = 1 WHERE until_topic IS NOT NULL RETURNING 1")
    async with rig.worker():
        await rig.quiet(2)
        await rig.until("SELECT count(*)::int FROM pending", 0)
    assert [row["how"] for row in await rig.rows("SELECT how FROM entry")] == ["keyed"]


async def test_an_unknown_answer_is_asked_about_and_never_repeated_blindly(rig: Rig) -> None:
    faults = {"p2": ["lost after"], "p3": ["lost before"], "p4": ["busy", "busy"], "p5": ["busy"] * 9}
    async with payee_at(rig, **faults) as payee, rig.worker():
        await rig.send(*(entry(f"p{number}", account=f"a{number}", note="pay") for number in range(1, 6)))
        await rig.until("SELECT count(*)::int FROM entry WHERE event_id LIKE 'paid:%'", 5)
        await rig.until("SELECT count(*)::int FROM pending", 0)
    how = {row["event_id"]: row["how"].split()[0] for row in await rig.rows("SELECT event_id, how FROM entry WHERE event_id LIKE 'paid:%'")}
    assert how == {"paid:p1": "DONE", "paid:p2": "DONE", "paid:p3": "DONE", "paid:p4": "DONE", "paid:p5": "EXHAUSTED"}
    assert payee.effects == Counter({"p1": 1, "p2": 1, "p3": 1, "p4": 1})
    assert payee.asked["p2"] == 1 and payee.asked["p1"] == 0


async def test_a_dead_owner_s_call_is_asked_about_by_the_next(rig: Rig) -> None:
    async with payee_at(rig) as payee:
        doomed = rig.process(FP_FAULTS="KILL TASK_CALLED 1")
        doomed.start()
        await rig.send(entry("p1", note="pay"))
        await doomed.ended(Deadline(30))
        heir = rig.process()
        heir.start()
        await rig.until("SELECT count(*)::int FROM entry WHERE event_id = 'paid:p1'", 1)
        heir.terminate()
        await heir.ended(Deadline(20))
    assert payee.effects == Counter({"p1": 1})
    assert payee.asked["p1"] >= 1


async def test_outputs_carry_the_trace_the_pins_and_the_provenance_of_what_caused_them(rig: Rig) -> None:
    sent = entry("e1")
    async with rig.worker():
        await rig.send(sent)
        await rig.quiet(1)
    (posted,) = await rig.read(POSTED)
    before, after = dict(sent.headers), dict(posted.headers)
    assert after["traceparent"][3:35] == before["traceparent"][3:35]
    assert after["traceparent"][36:52] != before["traceparent"][36:52]
    assert after["traceparent"][53:] == before["traceparent"][53:]
    for name in ("x-fp-platform-run-id", "x-fp-scenario-run-id", "x-fp-phase-id"):
        assert after[name] == before[name]
    assert after["x-fp-runtime-lane"] == b"df"
    assert after["x-fp-release-id"] == b"local-test"
    envelope = decode_envelope(posted.value)
    assert envelope.parent_event_id == "e1"
    assert envelope.manifest_fingerprint == "b" * 64
    assert json.loads(bytes(envelope.payload))["entry"] == "e1"


async def test_the_operator_sees_owners_positions_and_lag(rig: Rig) -> None:
    process = rig.process()
    process.start()
    await process.ready(Deadline(30))
    await rig.send(*(entry(f"e{number}", account=f"a{number}") for number in range(30)))
    await rig.quiet(30)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{process.port}/progress") as answer:
            progress = await answer.json()
        async with session.get(f"http://127.0.0.1:{process.port}/metrics") as answer:
            metrics = await answer.text()
    assert {lane["owner"] for lane in progress["lanes"]} == {progress["worker"]}
    assert sum(int(lane["positions"]["test.entries.v1"]) for lane in progress["lanes"]) == 30
    assert all(lane["certificate"] for lane in progress["lanes"] if lane["lane_seq"])
    assert {sum(owned["lag_events"].values()) for owned in progress["owned"].values()} == {0}
    assert {sum(owned["lag_seconds"].values()) for owned in progress["owned"].values()} == {0.0}
    assert 'fp_inputs_total{inlet="records",lane_group="account",verdict="NEW"} 30.0' in metrics
    process.terminate()
    await process.ended(Deadline(20))


async def test_a_record_without_a_correlation_header_is_parked_with_the_name_of_it(rig: Rig) -> None:
    whole = entry("e1")
    bare = type(whole)(
        whole.topic, whole.partition, whole.key, whole.value, tuple(pair for pair in whole.headers if pair[0] != "x-fp-phase-id")
    )
    async with rig.worker():
        await rig.send(bare)
        await rig.quiet(1)
    (row,) = await rig.rows("SELECT reason, detail FROM parked")
    assert row["reason"] == "CORRELATION_MISSING"
    assert "x-fp-phase-id" in row["detail"]

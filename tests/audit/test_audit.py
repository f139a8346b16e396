"""Whoever reads the topics and the tables can recompute every certificate, and finds one altered row of any table."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from audit.auditor import Section, audit, audit_snapshot
from audit.outputs import ends_of
from audit.topic import Log, Read
from laws.topics import AUDIT
from ledger.service import ENTRIES, TOPICS
from rig import Rig, entry
from testkit.harness import Site
from tests.audit.history import live_through, target

TOPICS_AND_AUDIT = (*TOPICS, AUDIT)


async def test_a_whole_history_is_recomputed(rig: Rig) -> None:
    records = await live_through(rig)
    report = await audit(target(rig))
    assert report.findings == ()
    figures = report.figures
    assert figures["new"] > 70
    assert (figures["mismatch"], figures["poison"], figures["parked_now"]) == (1, 3, 5)
    assert figures["duplicate"] == 6 + 1
    assert figures["inputs"] > records
    assert figures["outputs"] == figures["copies"] > 60


async def test_a_service_at_work_is_audited_as_of_one_moment(rig: Rig) -> None:
    """What is applied and published while the auditor reads is after its snapshot, and no finding."""
    async with rig.worker():
        for number in range(4):
            sending = asyncio.create_task(rig.send(*(entry(f"l{number}-{n}", account=f"a{n % 9}", amount=n) for n in range(400))))
            report = await audit(target(rig))
            await sending
            assert report.findings == ()
        await rig.quiet(1600)
    report = await audit(target(rig))
    assert report.ok
    assert (report.figures["new"], report.figures["copies"]) == (1600, 1600)


# One change of each kind of row that a transaction writes, and of what stands beside it.
ALTERATIONS = {
    "state": ("UPDATE account SET balance = balance + 1 WHERE account = 'a1'", "ROW_ALTERED"),
    "state put back": ("UPDATE account SET balance = 0, entries = 1, lane_seq = 1 WHERE account = 'a2'", "ROW_ALTERED"),
    "state gone": ("DELETE FROM account WHERE account = 'a3'", "ROW_MISSING"),
    "state from nowhere": (
        "INSERT INTO account SELECT 'zz', balance, entries, keyed, lane, lane_seq, epoch, topic_id, partition, \"offset\", provenance_id, "
        "trace_id FROM account WHERE account = 'a1'",
        "ROW_UNKNOWN",
    ),
    "shared": ("UPDATE note SET times = times + 1 WHERE ctid = (SELECT min(ctid) FROM note)", "ROW_ALTERED"),
    "truth": ("UPDATE entry SET amount = amount + 1 WHERE event_id = 'e3-a4'", "ROW_ALTERED"),
    "trace of a truth": ("UPDATE entry SET trace_id = ''::bytea WHERE event_id = 'e3-a4'", "ROW_ALTERED"),
    "epoch of a truth": ("UPDATE entry SET epoch = epoch + 1 WHERE event_id = 'e3-a4'", "EPOCH_DIFFERS"),
    "outbox": ("UPDATE outbox SET value = value || ' '::bytea WHERE ctid = (SELECT min(ctid) FROM outbox)", "OUTPUT_NOT_ON_TOPIC"),
    "outbox gone": ("DELETE FROM outbox WHERE ctid = (SELECT min(ctid) FROM outbox)", "OUTPUT_UNKNOWN"),
    "anomaly": ("UPDATE anomaly SET other_hash = first_hash", "ROW_UNKNOWN"),
    "anomaly gone": ("DELETE FROM anomaly", "ANOMALY_MISSING"),
    "parked": ("UPDATE parked SET detail = 'nothing' WHERE reason = 'POLICY_ERROR'", "ROW_ALTERED"),
    "parked gone": ("DELETE FROM parked WHERE reason = 'POLICY_ERROR'", "VERDICT_DIFFERS"),
    "parked said to be released": ("UPDATE parked SET released_seq = lane_seq WHERE reason = 'POLICY_ERROR'", "PARKED_COUNT_DIFFERS"),
    "pending from nowhere": (
        "INSERT INTO pending (lane, lane_seq, epoch, kind, ref, key, due, body) VALUES (0, 1, 1, 'k', 'r', 'k', now(), '')",
        "ROW_UNKNOWN",
    ),
    "reply": ("UPDATE reply SET status = 200 WHERE ctid = (SELECT min(ctid) FROM reply)", "ROW_ALTERED"),
    "input": ("UPDATE input SET body = body || '\\x00' WHERE inlet = 'answer'", "ROW_ALTERED"),
    "inbox": ("UPDATE inbox SET payload_hash = sha256('x') WHERE event_id = (SELECT min(event_id) FROM inbox)", "VERDICT_DIFFERS"),
    "inbox gone": ("DELETE FROM inbox WHERE event_id = (SELECT min(event_id) FROM inbox)", "VERDICT_DIFFERS"),
    "inbox from nowhere": (
        "INSERT INTO inbox SELECT run_no, class_no, '\\x00ff', payload_hash, lane, lane_seq, epoch, topic_id, partition, \"offset\" "
        'FROM inbox WHERE "offset" IS NOT NULL LIMIT 1',
        "INBOX_DIFFERS",
    ),
    "read set": ("UPDATE read_set SET body = '[]' WHERE ctid = (SELECT min(ctid) FROM read_set)", "CERTIFICATE_DIFFERS"),
    "certificate": ("UPDATE certificate SET counts = '{}' WHERE ctid = (SELECT min(ctid) FROM certificate)", "CERTIFICATE_DIFFERS"),
    "leaves": ("UPDATE certificate SET leaves = '' WHERE lane_seq = 1", "CERTIFICATE_DIFFERS"),
    "certificate gone": ("DELETE FROM certificate WHERE lane_seq = 2", "LANE_SEQ_GAP"),
    "position": ("UPDATE lane_position SET next_offset = next_offset - 1 WHERE next_offset > 0", "POSITION_DIFFERS"),
    "claim": (
        "UPDATE handover SET at = at - interval '1 hour', epoch = epoch + 1 WHERE event = 'CLAIMED' AND lane = 0",
        "EPOCH_OUT_OF_TIME",
    ),
    "chain": ("UPDATE lane SET chain = sha256('x')", "CHAIN_HEAD_DIFFERS"),
}


async def test_one_altered_row_of_any_table_is_found(rig: Rig) -> None:
    """Each change alone, in a transaction that the audit looks at and that is undone."""
    await live_through(rig)
    assert (await audit(target(rig))).ok
    unnoticed = []
    async with rig.site.store("ledger") as store:
        ends = await ends_of(store, target(rig))
        for name, (statement, code) in ALTERATIONS.items():
            change = store.transaction()
            await change.start()
            done = await store.execute(statement)
            report = await audit_snapshot(store, target(rig), ends)
            await change.rollback()
            assert done.split()[-1] != "0", f"{name} altered nothing"
            if code not in {found.code for found in report.findings}:
                unnoticed.append((name, [str(found) for found in report.findings]))
    assert unnoticed == []


async def test_a_section_of_a_topic_is_audited_alone(rig: Rig) -> None:
    """A change outside the section is not looked at; one inside is named with its certificate and its record."""
    await live_through(rig)
    (row,) = await rig.rows(
        "SELECT lane, jsonb_path_query_first(ranges, '$[*][4]') #>> '{}' AS stop FROM certificate WHERE lane = 0 AND lane_seq = 1"
    )
    first = Section(ENTRIES.name, 0, int(row["stop"]), partition=0)
    rest = Section(ENTRIES.name, int(row["stop"]), 10_000, partition=0)
    assert (await audit(target(rig), first)).ok
    await rig.rows("UPDATE inbox SET payload_hash = sha256('x') WHERE lane = 0 AND lane_seq = 1 AND \"offset\" = 0 RETURNING 1")
    report = await audit(target(rig), first)
    assert [(found.code, found.lane_seq, found.place) for found in report.findings] == [("VERDICT_DIFFERS", 1, f"{ENTRIES.name}/0/0")]
    assert (await audit(target(rig), rest)).ok
    assert report.figures["lanes"] == 1


async def test_a_record_that_was_changed_on_the_log_is_found(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can rewrite a log in place; the auditor's own reader stands in for a log where somebody could."""
    await live_through(rig)
    read = Log.read

    async def doctored(log: Log, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Read]]:
        async for piece in read(log, topic, partition, start, stop):
            yield [
                item._replace(value=item.value.replace(b'"amount":5', b'"amount":6')) if b'"e5-a1"' in item.value else item
                for item in piece
            ]

    monkeypatch.setattr(Log, "read", doctored)
    report = await audit(target(rig))
    assert sorted(found.code for found in report.findings) == ["INPUTS_DIGEST_DIFFERS", "VERDICT_DIFFERS"]
    (found,) = (found for found in report.findings if found.code == "VERDICT_DIFFERS")
    assert "e5-a1" in found.detail and found.place.startswith(ENTRIES.name)


async def test_a_topic_that_was_made_anew_is_not_taken_for_the_one_that_was_read(rig: Rig) -> None:
    await live_through(rig)
    await Site(rig.site.endpoints, rig.site.database, f"{rig.site.prefix}x.").topics(TOPICS_AND_AUDIT)
    report = await audit(replace(target(rig), prefix=f"{rig.site.prefix}x."))
    assert "LOG_GONE" in {found.code for found in report.findings}

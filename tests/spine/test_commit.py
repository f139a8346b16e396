"""A COMMIT whose answer is lost, and certificates that anyone can recompute."""

import asyncio
import json

import asyncpg
import pytest

from laws.envelope import decode_envelope
from laws.payload_hash import payload_hash
from laws.verdicts import Verdict
from ledger.service import ENTRIES
from rig import Rig, adjust, entry
from spine.certificates import Certificate, certificate_hash, digest_of
from spine.deadline import Deadline
from test_ownership import exact


class LostAnswer:
    """Cuts the connection at the n-th COMMIT, after or before the store has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, *, committed: bool) -> None:
        self.commits = 0
        original = asyncpg.transaction.Transaction.commit

        async def commit(transaction: asyncpg.transaction.Transaction) -> None:
            self.commits += 1
            if self.commits == nth:
                if committed:
                    await original(transaction)
                connection = transaction._connection  # type: ignore[attr-defined]  # asyncpg keeps it to itself
                connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT was lost")
            await original(transaction)

        monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", commit)


@pytest.mark.parametrize("committed", [True, False], ids=["it is in", "it is not in"])
async def test_a_batch_whose_commit_is_unknown_is_applied_once(rig: Rig, monkeypatch: pytest.MonkeyPatch, committed: bool) -> None:
    async with rig.worker():
        await rig.send(*(entry(f"e{number}") for number in range(3)))
        await rig.quiet(3)
        lost = LostAnswer(monkeypatch, 1, committed=committed)
        await rig.send(*(entry(f"f{number}") for number in range(5)))
        await rig.quiet(8)
        assert lost.commits >= 1
    await exact(rig, 8)


@pytest.mark.parametrize("committed", [True, False], ids=["it is in", "it is not in"])
async def test_a_command_whose_commit_is_unknown_is_applied_once_and_answered_as_new(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    async with rig.worker() as (_, door):
        await rig.until("SELECT count(*)::int FROM lane_lease WHERE owner IS NOT NULL", 3)
        await asyncio.sleep(0.3)
        LostAnswer(monkeypatch, 1, committed=committed)
        source, spec = adjust(door, "c1", "a", 100)
        answer = await door.submit(source, spec, Deadline(20))
    assert (answer.verdict, answer.status) == (Verdict.NEW, 201)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 100


async def test_a_duplicate_command_whose_commit_is_unknown_stays_a_duplicate(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in is a transaction that said DUPLICATE: its caller is not told that the command had an effect just now."""
    async with rig.worker() as (_, door):
        await rig.until("SELECT count(*)::int FROM lane_lease WHERE owner IS NOT NULL", 3)
        source, spec = adjust(door, "c1", "a", 100)
        first = await door.submit(source, spec, Deadline(20))
        LostAnswer(monkeypatch, 1, committed=True)
        second = await door.submit(source, spec, Deadline(20))
    assert (first.verdict, second.verdict) == (Verdict.NEW, Verdict.DUPLICATE)
    assert second.body == first.body


async def test_certificates_are_recomputable_from_the_topic_and_the_tables(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(*(entry(f"e{number}", account=f"a{number % 5}", note="count") for number in range(60)))
        await rig.send(entry("e7", account="a2", note="count"), entry("p", account="p", note="poison"))
        await rig.quiet(62)
    records = {(found.partition, found.offset): found for found in await rig.read(ENTRIES)}
    rows = await rig.rows(
        "SELECT c.*, policy_rev, bundle_id, config_digest, release_id FROM certificate c JOIN provenance USING (provenance_id) "
        "ORDER BY lane, lane_seq"
    )
    previous: dict[int, bytes] = {}
    next_offset: dict[int, int] = {}
    seen: set[str] = set()
    for row in rows:
        ((topic, _, partition, start, stop),) = json.loads(row["ranges"])
        assert int(start) == next_offset.get(partition, 0)
        next_offset[partition] = int(stop)
        lines = []
        for offset in range(int(start), int(stop)):
            envelope = decode_envelope(records[(partition, offset)].value)
            verdict = "POISON" if envelope.event_id == "p" else "DUPLICATE" if envelope.event_id in seen else "NEW"
            seen.add(envelope.event_id)
            digest = payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version).hex()
            lines.append(f"{topic}/{partition}/{offset}\n{envelope.event_id}\n{digest}\n{verdict}".encode())
        read_sets = await rig.rows("SELECT body FROM read_set WHERE lane = $1 AND lane_seq = $2 ORDER BY i", row["lane"], row["lane_seq"])
        certificate = Certificate(
            lane=row["lane"],
            lane_seq=row["lane_seq"],
            epoch=row["epoch"],
            inlet=row["inlet"],
            ranges=json.loads(row["ranges"]),
            refs=json.loads(row["refs"]),
            counts=json.loads(row["counts"]),
            verdicts=row["verdicts"],
            ends=json.loads(row["ends"]),
            inputs_digest=digest_of(lines),
            effects_digest=bytes(row["effects_digest"]),
            reads_digest=digest_of(bytes(found["body"]) for found in read_sets),
            previous=previous.get(row["lane"], b""),
            applied_at=row["applied_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            provenance=[row["policy_rev"], row["bundle_id"], row["config_digest"], row["release_id"]],
        )
        assert certificate_hash(certificate) == bytes(row["hash"])
        previous[row["lane"]] = bytes(row["hash"])
    assert sum(next_offset.values()) == 62

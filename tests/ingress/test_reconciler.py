"""What a handler that is gone left behind is brought to an end, by what the log says (domain.md 2.8, the known hole)."""

import asyncio
import json
import secrets
import time
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from ingress.admission_store import AdmissionTable
from ingress.batches import Ack, PublishUnknownError
from ingress.edge import Edge
from ingress.inspection import Candidate, inspect
from ingress.memory_table import MemoryTable
from ingress.reconciler import Reconciler
from ingress.record import Caller, Record
from ingress.row import AdmissionRow, State, to_item
from testkit.engines import EngineSet
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.rig import RUN, Site, changed, fresh_row, push, settled, traffic
from tests.ingress.test_parts import item_bytes

CALLER = Caller(None, None, "SYSTEM::x")


def candidate_of(event: dict[str, Any]) -> Candidate:
    candidate = inspect(json.dumps(event).encode(), RUN)
    assert isinstance(candidate, Candidate)
    return candidate


async def left_behind(
    site: Site, edge: Edge, event: dict[str, Any], state: State = State.PUBLISH_IN_FLIGHT, *, lease_s: float = -1, published: int = 0
) -> tuple[AdmissionRow, list[Ack]]:
    """The row of a handler that died, with so many copies that it had published."""
    candidate = candidate_of(event)
    row = fresh_row(edge, candidate, time.time() - edge.settings.lease_s + lease_s, secrets.token_bytes(8))
    row = replace(row, state=state)
    await site.put_row(to_item(row))
    record, _ = edge._stamp.record(candidate, CALLER)
    return row, [await edge.bus.publish(record) for _ in range(published)]


@pytest.mark.parametrize("state", [State.PUBLISH_IN_FLIGHT, State.PUBLISH_AMBIGUOUS])
async def test_an_event_that_stands_in_the_log_is_admitted_with_its_lowest_offset(site: Site, edge: Edge, state: State) -> None:
    event = traffic()
    _, acks = await left_behind(site, edge, event, state, published=3)
    # The same id with another payload, put there behind the edge's back, is no copy.
    await edge.bus.publish(edge._stamp.record(candidate_of(changed(event)), CALLER)[0])
    assert (await edge.reconciler.sweep())["ADMITTED"] >= 1
    row = await site.row(event)
    assert (row.state, row.offset, row.lease_owner) == (State.ADMITTED, acks[0].offset, None)
    assert row.second_copies == (acks[1].offset, acks[2].offset)
    answer = await push(edge, event)
    assert (answer.decision, answer.body["receipt"]["eb_ref"]["offset"]) == ("DUPLICATE", str(acks[0].offset))
    assert await edge.reconciler.sweep() == Counter()


@pytest.mark.parametrize("state", [State.PUBLISH_IN_FLIGHT, State.PUBLISH_AMBIGUOUS])
async def test_an_event_that_does_not_is_released_and_the_retry_publishes_it(site: Site, edge: Edge, state: State) -> None:
    event = traffic()
    before, _ = await left_behind(site, edge, event, state)
    assert (await edge.reconciler.sweep())["ABSENT"] == 1
    row = await site.row(event)
    assert (row.state, row.lease_owner, row.lease_until_ms, row.attempt) == (State.RELEASED, None, None, 1)
    assert (row.payload_hash, row.partition_key) == (before.payload_hash, before.partition_key)
    assert await edge.reconciler.sweep() == Counter()  # nothing to do for a released row
    item = await site.item(event)
    assert item is not None
    assert item_bytes(item) <= 1024
    # The hash stands: a changed payload is a mismatch in this state as in any other.
    assert (await push(edge, changed(event))).reasons == ["PAYLOAD_HASH_MISMATCH"]
    assert (await push(edge, event)).decision == "ADMIT"
    assert len(await site.of_event(event["event_id"])) == 1


async def test_a_lease_that_runs_is_left_alone(site: Site, edge: Edge) -> None:
    event = traffic()
    row, _ = await left_behind(site, edge, event, lease_s=60)
    assert await edge.reconciler.sweep() == Counter()
    assert await site.row(event) == row


async def test_a_handler_that_thaws_after_the_release_keeps_where_its_copy_stands(site: Site, edge: Edge) -> None:
    event = traffic()
    publish = edge.bus.publish

    async def frozen(record: Record) -> Ack:
        """The lease ends under it, the reconciler comes by, the retry is published; then it goes on."""
        row = await site.row(event)
        await site.put_row(to_item(replace(row, lease_until_ms=0)))
        async with site.edge() as other:
            await other.reconciler.sweep()
            assert (await site.row(event)).state is State.RELEASED
            assert (await push(other, event)).decision == "ADMIT"
        return await publish(record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge.bus, "publish", frozen)
        answer = await push(edge, event)
    first, second = sorted(copy.offset for copy in await site.of_event(event["event_id"]))
    row = await site.row(event)
    assert (row.state, row.offset, row.second_copies) == (State.ADMITTED, first, (second,))
    assert (answer.decision, answer.body["receipt"]["eb_ref"]["offset"]) == ("ADMIT", str(first))


async def test_a_search_that_does_not_come_to_its_end_is_gone_on_with(site: Site, edge: Edge) -> None:
    event = traffic()
    row, _ = await left_behind(site, edge, event)
    assert row.low_water is not None
    noise = [edge._stamp.record(candidate_of(traffic()), CALLER)[0]._replace(partition=row.partition) for _ in range(20)]
    assert all(isinstance(ack, Ack) for ack in await edge.bus.publish_all(noise))
    hasty = Reconciler(edge.table, edge.bus, search_s=0.5)
    search = edge.bus.search

    async def short(topic: str, partition: int, rows: Any, within_s: float) -> Any:
        found = await search(topic, partition, rows, within_s)
        return found._replace(looked_up_to=row.low_water + 7, complete=False) if row.low_water is not None else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge.bus, "search", short)
        assert (await hasty.sweep())["UNFINISHED"] == 1
    assert (await site.row(event)).low_water == row.low_water + 7
    assert (await hasty.sweep())["ABSENT"] == 1


async def test_rows_of_one_partition_are_looked_for_in_one_reading(site: Site, edge: Edge) -> None:
    events = [traffic(flow_id="one-flow") for _ in range(12)]
    for index, event in enumerate(events):
        await left_behind(site, edge, event, published=index % 2)
    searches: list[int] = []
    search = edge.bus.search

    async def counted(topic: str, partition: int, rows: Any, within_s: float) -> Any:
        searches.append(len(rows))
        return await search(topic, partition, rows, within_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge.bus, "search", counted)
        assert await edge.reconciler.sweep() == Counter(ADMITTED=6, ABSENT=6)
    assert searches == [12]


async def test_two_reconcilers_at_once_end_each_row_once(site: Site, edge: Edge) -> None:
    events = [traffic() for _ in range(20)]
    for index, event in enumerate(events):
        await left_behind(site, edge, event, published=index % 2)
    async with site.edge() as other:
        sweeps = asyncio.gather(edge.reconciler.sweep(), other.reconciler.sweep())
        await asyncio.gather(*(push(other, event) for event in events[:4]))
        assert all(set(counts) <= {"ADMITTED", "ABSENT", "LOST"} for counts in await sweeps)
    for index, event in enumerate(events):
        assert (await settled(edge, event)).decision in ("ADMIT", "DUPLICATE")
        assert len(await site.of_event(event["event_id"])) == 1, index


async def test_rows_in_memory_are_swept_alike(site: Site) -> None:
    async with site.edge(table="memory") as edge:
        candidate = candidate_of(traffic())
        row = fresh_row(edge, candidate, time.time() - 60, b"somebody")
        table: AdmissionTable = edge.table
        assert isinstance(table, MemoryTable)
        await table.claim([row])
        assert await edge.reconciler.sweep() == Counter(ABSENT=1)
        standing = await table.standing(row.dedupe_key)
        assert standing is not None
        assert (standing.state, standing.lease_owner) == (State.RELEASED, None)


# --- letters ------------------------------------------------------------------------------------------------------------


async def test_what_failed_is_told_with_its_coordinates_and_drained_with_partial_answers(site: Site, cloud: Cloud) -> None:
    queue = cloud.queue()
    lost, sent = traffic(), traffic()
    async with site.edge(dlq_url=queue, region=REGION, publish_timeout_s=1.0, lease_s=2.0) as edge:
        publish = edge.bus.publish

        async def unanswered(record: Record) -> Ack:
            if record.headers and dict(record.headers)["x-fp-event-id"].decode() == sent["event_id"]:
                await publish(record)
            raise PublishUnknownError("the answer got lost")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge.bus, "publish", unanswered)
            for event in (lost, sent):
                answer = await push(edge, event)
                assert (answer.status, answer.reasons) == (503, ["PUBLISH_AMBIGUOUS"])
        assert edge.letters is not None
        messages = await edge.letters.receive(visibility_s=0)
        assert len(messages) == 2
        letter = json.loads(messages[0]["body"])
        row = await site.row(lost)
        assert letter["event_id"] in (lost["event_id"], sent["event_id"])
        assert {letter["topic"], letter["reason"]} == {row.topic, "PUBLISH_AMBIGUOUS"}
        assert letter["correlation_headers"]["x-fp-event-id"] == letter["event_id"]
        assert int(letter["low_water"]) >= 0
        # Their leases still run: both come again, and so does what is no letter.
        broken = {"messageId": "broken", "body": "{}", "receiptHandle": "", "eventSource": "aws:sqs"}
        again = await edge.reconciler.drain([*messages, broken])
        assert set(again) == {"broken", *(message["messageId"] for message in messages)}
        for event in (lost, sent):
            await site.put_row(to_item(replace(await site.row(event), lease_until_ms=0)))
        assert await edge.reconciler.drain([*messages, broken]) == ["broken"]
        assert (await site.row(sent)).state is State.ADMITTED
        assert (await site.row(lost)).state is State.RELEASED
        await edge.letters.delete([message["receiptHandle"] for message in await edge.letters.receive(visibility_s=30)])
        assert cloud.messages(queue) == []
        assert await edge.reconciler.drain(messages) == []  # an old letter of a row that is settled is nothing to do


async def test_without_the_bus_letters_come_again_and_a_sweep_fails_loudly(site: Site, engines: EngineSet, edge: Edge) -> None:
    event = traffic()
    row, _ = await left_behind(site, edge, event)
    letter = {"messageId": "m1", "body": json.dumps(_letter_of(row))}
    async with site.edge(kafka_bootstrap="127.0.0.1:1", publish_timeout_s=0.5, lease_s=2.0) as cut:
        assert await cut.reconciler.drain([letter]) == ["m1"]
        with pytest.raises(Exception, match="127"):
            await cut.reconciler.sweep()
    assert await site.row(event) == row
    assert await edge.reconciler.drain([letter]) == []


def _letter_of(row: AdmissionRow) -> dict[str, Any]:
    return {
        "failed_at_utc": "2026-01-05T10:00:00.000000Z",
        "reason": "PUBLISH_AMBIGUOUS",
        "dedupe_key": row.dedupe_key,
        "platform_run_id": row.platform_run_id,
        "scenario_run_id": row.scenario_run_id.hex(),
        "event_id": row.event_id,
        "event_type": "s3_event_stream_with_fraud_6B",
        "topic": row.topic,
        "partition": row.partition,
        "low_water": str(row.low_water),
        "correlation_headers": {},
    }

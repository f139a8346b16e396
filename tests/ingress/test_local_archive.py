"""Rows become receipts on one machine as in the cloud: the archive is called with what changed, whoever admitted it (domain.md 2.11)."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from ingress.archive import Archive, StreamArchive
from ingress.aws_json import AwsJson
from ingress.edge import Edge
from ingress.folder_store import FolderStore
from ingress.local_stream import LocalStream
from ingress.objects import Objects
from ingress.row import State
from ingress.tables import idempotency_table
from testkit.engines import Deadline
from tests.ingress.http import EdgeProcess
from tests.ingress.rig import RUN, Site, changed, push, traffic
from tests.ingress.test_reconciler import left_behind


def receipts(folder: Path) -> list[dict[str, Any]]:
    """Every receipt in a folder of objects."""
    return [json.loads(line) for path in sorted(folder.glob("archive/receipts/**/*.jsonl")) for line in path.read_text().splitlines()]


def refusals(folder: Path) -> set[str]:
    """The ids of the quarantine records in a folder of objects."""
    return {path.stem for path in folder.glob("archive/quarantine/*/index/*.json")}


async def until(folder: Path, events: set[str]) -> list[dict[str, Any]]:
    """The receipts, once those of the events are among them."""
    deadline = Deadline(60)
    while True:
        found = receipts(folder)
        if events <= {receipt["event_id"] for receipt in found}:
            return found
        deadline.check(f"{len(events)} receipts, of which {len(found)} are there")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("sandboxes", ["0", "1"])
async def test_rows_become_receipts_by_the_functions_and_in_one_process(site: Site, edge: Edge, tmp_path: Path, sandboxes: str) -> None:
    folder = tmp_path / "objects"
    arguments = ("--sandboxes", sandboxes, "--reconcile-every", "0.5", "--archive", str(folder))
    async with EdgeProcess(site, tmp_path, *arguments) as process:
        events = [traffic() for _ in range(5)]
        answers = [await process.settled(event) for event in events]
        refused = await process.push(changed(events[0]))
        # What a handler left in doubt, and stands in the log: nobody comes back for it.
        forgotten = traffic()
        await left_behind(site, edge, forgotten, State.PUBLISH_AMBIGUOUS, published=1)
        told = {answer.body["receipt"]["receipt_id"]: answer.body["receipt"] for answer in answers}
        found = await until(folder, {event["event_id"] for event in [*events, forgotten]})
        assert {receipt["receipt_id"]: receipt for receipt in found if receipt["receipt_id"] in told} == told
        deadline = Deadline(30)
        while refused.body["quarantine_id"] not in refusals(folder):
            deadline.check("the quarantine record")
            await asyncio.sleep(0.1)
        last = traffic()
        await process.settled(last)
        assert await process.terminate() == 0
    # The one that came a moment before the end has its receipt as well, and nothing stands twice.
    counts = Counter(receipt["event_id"] for receipt in receipts(folder))
    assert counts[last["event_id"]] == 1
    assert set(counts.values()) == {1}
    assert (folder / "archive" / "receipts" / RUN).is_dir()


async def test_what_could_not_be_archived_is_brought_again_and_everything_else_once(site: Site, edge: Edge, tmp_path: Path) -> None:
    taken: list[str] = []
    fails: set[str] = set()

    async def take(records: list[dict[str, Any]]) -> list[str]:
        again = []
        for record in records:
            image = record["dynamodb"]["NewImage"]
            name = image.get("quarantine_id", image.get("dedupe_key"))["S"]
            if name in fails:
                again.append(record["dynamodb"]["SequenceNumber"])
            else:
                taken.append(name)
        return again

    async def nothing() -> None: ...

    mark = tmp_path / "mark"
    later = 0.0
    stream = LocalStream(
        site.store, f"{site.name}-idempotency", f"{site.name}-quarantine", take, nothing, mark=mark, now=lambda: time.time() + later
    )
    await stream.round()
    taken.clear()
    answer = await push(edge, b"no json")
    await push(edge, traffic())
    name = answer.body["quarantine_id"]
    fails.add(name)
    assert await stream.round() == 1
    later = 3600.0  # an hour in which the store of objects takes it no better
    assert await stream.round() == 0
    later = 7200.0
    assert await stream.round() == 0
    fails.clear()
    assert await stream.round() == 1
    assert Counter(taken) == Counter(dict.fromkeys(taken, 1))
    assert name in taken
    assert await stream.round() == 0
    # Another process goes on where this one came to, two hours behind all that stands.
    later = 7200.0 + 3600.0
    await stream.round()
    again = LocalStream(site.store, f"{site.name}-idempotency", f"{site.name}-quarantine", take, nothing, mark=mark)
    assert await again.round() == 0


async def test_a_folder_takes_each_object_once_and_nothing_beside_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    await store.start()
    objects = Objects(store.url, "local", "b")
    await objects.start()
    try:
        written = await asyncio.gather(*(objects.put_once("a/k.json", f"{index}".encode()) for index in range(8)))
        assert sum(written) == 1
        assert await objects.get("a/k.json") == str(written.index(True)).encode()
        assert await objects.get("a/other.json") is None
        assert [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()] == ["k.json"]
        async with ClientSession() as session:
            async with session.put(f"{store.url}/b/a/k.json", data=b"over") as plain:
                assert plain.status == 501
            async with session.get(f"{store.url}/%2e%2e/%2e%2e/etc/passwd") as beside:
                assert beside.status in (400, 404)
    finally:
        await objects.stop()
        await store.stop()


async def test_the_streams_of_the_engine_are_what_the_archive_reads(site: Site, tmp_path: Path) -> None:
    """The event that Lambda's event source makes of a real stream: DynamoDB Local's records, of a row's whole life."""
    table = f"{site.name}-streamed"
    streaming = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}}
    await site.store.call("CreateTable", idempotency_table(table) | streaming)
    store = FolderStore(tmp_path / "objects")
    await store.start()
    objects = Objects(store.url, "local", "archive")
    await objects.start()
    streams = _Streams(site.endpoints.dynamodb_endpoint, "local", connections=1)
    await streams.start()
    try:
        async with site.edge(idempotency_table=table) as edge:
            answers = [await push(edge, traffic()) for _ in range(3)]
            archive = StreamArchive(Archive(objects), site.store, table)
            records = await streams.read(site, table)
            assert Counter(record["eventName"] for record in records) == {"INSERT": 3, "MODIFY": 3}
            assert await archive.take(records) == []
            assert await archive.take(records) == []  # it comes again, and changes nothing
        told = {answer.body["receipt"]["receipt_id"]: answer.body["receipt"] for answer in answers}
        found = receipts(tmp_path / "objects")
        assert len(found) == 3
        assert {receipt["receipt_id"]: receipt for receipt in found} == told
    finally:
        for client in (streams, objects, store):
            await client.stop()


class _Streams(AwsJson):
    service = "dynamodb"
    target = "DynamoDBStreams_20120810"

    async def read(self, site: Site, table: str) -> list[dict[str, Any]]:
        """Everything that stands in a table's stream."""
        arn = (await site.store.call("DescribeTable", {"TableName": table}))["Table"]["LatestStreamArn"]
        shards = (await self.call("DescribeStream", {"StreamArn": arn}))["StreamDescription"]["Shards"]
        found: list[dict[str, Any]] = []
        for shard in shards:
            where = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = (await self.call("GetShardIterator", where))["ShardIterator"]
            ends = time.monotonic() + 30
            while iterator and time.monotonic() < ends:
                page = await self.call("GetRecords", {"ShardIterator": iterator})
                found += page["Records"]
                iterator = page.get("NextShardIterator") if page["Records"] else None
        return found

"""Receipts and quarantine records reach S3 behind the hot path, once, whatever fails on the way (domain.md 2.11, 2.12)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingress.archive import Archive, StreamArchive
from ingress.edge import Edge
from ingress.objects import Objects
from ingress.row import Item
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.proxy import Proxy
from tests.ingress.rig import RUN, Answered, Site, changed, push, traffic


class Bucket:
    """A bucket, the edge's client of it behind a network that can be cut, and a look at what stands in it."""

    def __init__(self, cloud: Cloud, network: Proxy, name: str) -> None:
        self.network = network
        self.objects = Objects(network.endpoint, REGION, name)
        self._s3 = cloud.client("s3")
        self._name = name
        self._s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def keys(self) -> list[str]:
        return sorted(entry["Key"] for entry in self._s3.list_objects_v2(Bucket=self._name).get("Contents", []))

    def read(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=self._name, Key=key)["Body"].read()
        return body

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for key in self.keys() if key.startswith("receipts/") for line in self.read(key).splitlines()]


@pytest.fixture
async def bucket(site: Site, cloud: Cloud, request: pytest.FixtureRequest) -> AsyncIterator[Bucket]:
    async with Proxy(cloud.endpoint) as network:
        bucket = Bucket(cloud, network, f"{site.name}-{abs(hash(request.node.name)) % 10**6}")
        await bucket.objects.start()
        yield bucket
        await bucket.objects.stop()


def streamed(*images: Item | None) -> list[dict[str, Any]]:
    """What a table's stream hands to a function."""
    return [
        {"eventName": "INSERT", "dynamodb": {"SequenceNumber": str(number), **({"NewImage": image} if image else {})}}
        for number, image in enumerate(images)
    ]


async def admitted(site: Site, edge: Edge, count: int) -> tuple[list[Item], list[Answered]]:
    events = [traffic() for _ in range(count)]
    answers = [await push(edge, event) for event in events]
    items = [await site.item(event) for event in events]
    return [item for item in items if item is not None], answers


async def test_a_receipt_is_what_the_producer_was_told_and_stands_once(site: Site, edge: Edge, bucket: Bucket) -> None:
    items, answers = await admitted(site, edge, 5)
    archive = StreamArchive(Archive(bucket.objects), site.store, f"{site.name}-idempotency")
    assert await archive.take(streamed(*items, None)) == []
    assert {receipt["receipt_id"]: receipt for receipt in bucket.receipts()} == {
        answer.body["receipt"]["receipt_id"]: answer.body["receipt"] for answer in answers
    }
    assert bucket.keys()[0].startswith(f"receipts/{RUN}/traffic_fraud/")
    before = bucket.keys()
    assert await archive.take(streamed(*items)) == []  # the source comes again with the same batch
    assert bucket.keys() == before


async def test_a_row_in_flight_has_no_receipt(site: Site, edge: Edge, bucket: Bucket) -> None:
    [item], _ = await admitted(site, edge, 1)
    archive = StreamArchive(Archive(bucket.objects), site.store, f"{site.name}-idempotency")
    assert await archive.take(streamed(item | {"state": {"S": "PUBLISH_IN_FLIGHT"}}, item | {"state": {"S": "RELEASED"}})) == []
    assert bucket.keys() == []


async def test_a_receipt_that_could_not_be_written_is_flagged_and_back_filled(site: Site, edge: Edge, bucket: Bucket) -> None:
    items, answers = await admitted(site, edge, 3)
    archive = StreamArchive(Archive(bucket.objects), site.store, f"{site.name}-idempotency")
    await bucket.network.cut()
    assert await archive.take(streamed(*items)) == []
    assert bucket.keys() == []
    request = {"TableName": f"{site.name}-idempotency", "FilterExpression": "attribute_exists(receipt_write_failed)"}
    flagged = (await site.store.call("Scan", request))["Items"]
    assert {item["dedupe_key"]["S"] for item in flagged} == {item["dedupe_key"]["S"] for item in items}
    assert await archive.take(streamed(*flagged)) == []  # the flag's own change in the stream asks for nothing
    await bucket.network.mend()
    assert await archive.backfill() == 3
    assert {receipt["receipt_id"] for receipt in bucket.receipts()} == {answer.body["receipt"]["receipt_id"] for answer in answers}
    assert (await site.store.call("Scan", request))["Items"] == []
    assert await archive.backfill() == 0


async def test_a_refusal_is_archived_with_its_payload_apart(site: Site, edge: Edge, bucket: Bucket) -> None:
    event = traffic()
    await push(edge, event)
    mismatch = await push(edge, changed(event))
    malformed = await push(edge, b"{ no json")
    named = {item["quarantine_id"]["S"]: item for item in await site.quarantined()}
    images = [named[answer.body["quarantine_id"]] for answer in (mismatch, malformed)]
    archive = StreamArchive(Archive(bucket.objects), site.store, f"{site.name}-idempotency")
    for _ in range(2):
        assert await archive.take(streamed(*images)) == []
    index = f"quarantine/{RUN}/index/{mismatch.body['quarantine_id']}.json"
    record = json.loads(bucket.read(index))
    assert record["reason_codes"] == ["PAYLOAD_HASH_MISMATCH"]
    assert "payload" not in record
    [ref] = record["evidence_refs"]
    assert json.loads(
        bucket.read(ref["ref"].partition("/payloads/")[0].rpartition("quarantine/")[1] + ref["ref"].partition("quarantine/")[2])
    )
    raw = f"quarantine/unknown/payloads/{malformed.body['quarantine_id']}.raw_body"
    assert bucket.read(raw) == b"{ no json"
    assert len(bucket.keys()) == 4


async def test_a_refusal_that_could_not_be_archived_comes_again(site: Site, edge: Edge, bucket: Bucket) -> None:
    answer = await push(edge, b"no json at all")
    [image] = [item for item in await site.quarantined() if item["quarantine_id"]["S"] == answer.body["quarantine_id"]]
    archive = StreamArchive(Archive(bucket.objects), site.store, f"{site.name}-idempotency")
    await bucket.network.cut()
    assert await archive.take(streamed(image)) == ["0"]
    await bucket.network.mend()
    assert await archive.take(streamed(image)) == []
    assert len(bucket.keys()) == 2

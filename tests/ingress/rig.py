"""What the tests of the edge share: lawful events, edges on a site of their own, and a look at what stands behind them."""

import asyncio
import copy
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from ingress.admission import _filled
from ingress.dynamodb import DynamoDB
from ingress.edge import Edge
from ingress.inspection import Candidate
from ingress.row import AdmissionRow, Item, from_item, text
from ingress.settings import EdgeSettings
from laws.catalogue import EVENT_TYPES
from laws.identity import Identity, dedupe_key
from laws.topics import BY_NAME, TRAFFIC
from testkit.edge_site import RUN, SCENARIO_RUN, TRAFFIC_TYPE, edge_environment, traffic
from testkit.engines import Deadline, Endpoints

__all__ = [
    "KEY",
    "KEY_HASH",
    "RUN",
    "SCENARIO_RUN",
    "TRAFFIC_TYPE",
    "Answered",
    "Site",
    "changed",
    "dummy_credentials",
    "event_of",
    "key_of",
    "push",
    "settled",
    "spent",
    "traffic",
]

KEY = "a-key-of-the-tests"
KEY_HASH = hashlib.sha256(KEY.encode()).hexdigest()


def fresh_row(edge: Edge, candidate: Candidate, now: float, owner: bytes, trace: bytes = b"") -> AdmissionRow:
    """The row that the edge would claim for a candidate."""
    return _filled(edge._admission._blank_row(candidate, now), candidate, owner, trace)


def changed(envelope: dict[str, Any], **payload: Any) -> dict[str, Any]:
    """The same envelope with another payload."""
    copied = copy.deepcopy(envelope)
    copied["payload"] |= payload or {"amount_minor": copied["payload"]["amount_minor"] + 1}
    return copied


def key_of(envelope: Mapping[str, Any]) -> str:
    """The dedupe key of an event."""
    event_class = EVENT_TYPES[envelope["event_type"]].event_class
    return dedupe_key(Identity(envelope["platform_run_id"], event_class, envelope["event_id"]))


def event_of(
    body: bytes, headers: Mapping[str, str] | None = None, *, method: str = "POST", path: str = "/v1/ingest/push"
) -> dict[str, Any]:
    """The event that API Gateway makes of a request."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"X-IG-Api-Key": KEY} | dict(headers or {}),
        "requestContext": {"http": {"method": method, "path": path}},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


class Answered:
    """A response, taken apart."""

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.status: int = response["statusCode"]
        self.headers: dict[str, str] = response["headers"]
        self.body: dict[str, Any] = json.loads(response["body"])

    @property
    def decision(self) -> str | None:
        """ADMIT, DUPLICATE, QUARANTINE, RETRY or None."""
        return self.body.get("decision")

    @property
    def reasons(self) -> list[str]:
        """The reason codes."""
        return list(self.body.get("reason_codes", []))


async def push(edge: Edge, body: Any, headers: Mapping[str, str] | None = None) -> Answered:
    """Pushes a value, or bytes as they stand."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(await edge.handle(event_of(raw, headers)))


async def settled(edge: Edge, body: Any, within_s: float = 20.0) -> Answered:
    """Pushes as a producer does: again while the answer is RETRY."""
    deadline = Deadline(within_s)
    while (answered := await push(edge, body)).decision == "RETRY":
        deadline.check(f"a decision instead of {answered.reasons}")
        await asyncio.sleep(0.1)
    return answered


def spent(edge: Edge) -> Counter[str]:
    """What an edge asked of single items since its counter was cleared; its probes, which run beside, ask for pages and tables."""
    return Counter({name: count for name, count in edge.store.calls.items() if name in ("PutItem", "UpdateItem", "GetItem", "DeleteItem")})


class Site:
    """Tables and topics of one test, on engines that others use as well."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.name = f"ig{secrets.token_hex(5)}"
        self.store = DynamoDB(endpoints.dynamodb_endpoint, "local", connections=4)

    @property
    def prefix(self) -> str:
        """In front of every topic's name."""
        return f"{self.name}."

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of an edge process on this site."""
        return edge_environment(self.endpoints, self.name, KEY_HASH) | {"FP_IG_PROBE_S": "0.5", **changes}

    def settings(self, **changes: Any) -> EdgeSettings:
        """The same as settings; keyword arguments are fields."""
        names = {name.removeprefix("FP_IG_").lower(): value for name, value in self.environment().items()}
        return EdgeSettings.of({"env": names.pop("fp_env")} | names | changes)

    @asynccontextmanager
    async def edge(self, **changes: Any) -> AsyncIterator[Edge]:
        """An edge in this process."""
        edge = Edge(self.settings(**changes))
        await edge.start()
        try:
            yield edge
        finally:
            await edge.stop()

    async def item(self, envelope: Mapping[str, Any]) -> Item | None:
        """The admission row of an event as it is stored."""
        request = {"TableName": f"{self.name}-idempotency", "Key": {"dedupe_key": text(key_of(envelope))}, "ConsistentRead": True}
        item: Item | None = (await self.store.call("GetItem", request)).get("Item")
        return item

    async def row(self, envelope: Mapping[str, Any]) -> AdmissionRow:
        """The admission row of an event."""
        item = await self.item(envelope)
        assert item is not None
        return from_item(item)

    async def put_row(self, item: Item) -> None:
        """Puts an admission row behind the edge's back."""
        await self.store.call("PutItem", {"TableName": f"{self.name}-idempotency", "Item": item})

    async def quarantined(self) -> list[Item]:
        """All quarantine records."""
        page = await self.store.call("Scan", {"TableName": f"{self.name}-quarantine", "ConsistentRead": True})
        items: list[Item] = page["Items"]
        return items

    async def records(self, topic: str = TRAFFIC.name) -> list[ConsumerRecord[bytes, bytes]]:
        """Everything that stands on a topic."""
        where = [TopicPartition(self.prefix + topic, index) for index in range(BY_NAME[topic].partitions)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.endpoints.kafka_bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(where)
            await consumer.seek_to_beginning(*where)
            ends = await consumer.end_offsets(where)
            found: list[ConsumerRecord[bytes, bytes]] = []
            while sum(ends.values()) > len(found):
                for batch in (await consumer.getmany(*where, timeout_ms=500)).values():
                    found += batch
            return found
        finally:
            await consumer.stop()

    async def of_event(self, event_id: str, topic: str = TRAFFIC.name) -> list[ConsumerRecord[bytes, bytes]]:
        """The copies of one event on its topic."""
        return [record for record in await self.records(topic) if dict(record.headers)["x-fp-event-id"] == event_id.encode()]


def dummy_credentials() -> None:
    """Credentials as the engine wants them: present, and not looked at."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "local")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "local")

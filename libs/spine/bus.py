"""The bus as the spine uses it: connection options, topic identity, consumer and producer. Kafka transactions are not used, on purpose."""

import asyncio
import ssl
import time
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from spine.msk_iam import MskIamTokens
from spine.settings import KafkaSecurity, Settings


class BusError(Exception):
    """The bus said something that stops a lane; `reason` is a code of the catalogue."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class TopicIdentity:
    """What a name means on this cluster now. A recreated topic or cluster has another identity under the same name."""

    cluster_id: str
    topic_id: uuid.UUID
    partitions: int


class _Uuid(AbstractType[uuid.UUID]):
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


# aiokafka ends at Metadata v5; topic ids came with v10, and v12 is the first that every broker since 2.8 speaks.
class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class([(uuid.UUID(int=0), topic, {}) for topic in self._topics], False, False, {})


_UNKNOWN_TOPIC = 3


def client_options(settings: Settings, tokens: MskIamTokens | None = None) -> dict[str, Any]:
    """Connection options of every client of the bus."""
    options: dict[str, Any] = {"bootstrap_servers": settings.kafka_bootstrap, "client_id": f"fp-{settings.release_id[:40]}"}
    if settings.kafka_security is KafkaSecurity.SASL_IAM:
        options |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": tokens or MskIamTokens(settings.kafka_region),
            "ssl_context": ssl.create_default_context(),
        }
    return options


class TopicWatch:
    """Asks the cluster what its topics are, and tells it how far lanes have read."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._client = AIOKafkaClient(**options)
        self._asking = asyncio.Lock()
        self._known: dict[str, TopicIdentity | None] = {}
        self._known_at = 0.0

    async def start(self) -> None:
        """Connects. Raises aiokafka.errors.KafkaConnectionError."""
        await self._client.bootstrap()

    async def stop(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def identities(self, topics: list[str]) -> dict[str, TopicIdentity]:
        """Identity by name; a topic that does not exist is left out. Raises aiokafka.errors.KafkaError on trouble with the broker."""
        await find_brokers(self._client)
        response = await self._client.send(self._client.get_random_node(), _MetadataRequest(topics))
        for entry in response.topics:
            if entry[0] not in (0, _UNKNOWN_TOPIC):
                raise for_code(entry[0])(f"metadata of {entry[1]}")
        return {entry[1]: TopicIdentity(response.cluster_id, entry[2], len(entry[4])) for entry in response.topics if entry[0] == 0}

    async def recent(self, topics: list[str], age: float) -> dict[str, TopicIdentity]:
        """Identity by name, from an answer that is at most `age` seconds old: one question serves every lane that asks meanwhile.

        Raises as `identities` does.
        """
        async with self._asking:
            if time.monotonic() - self._known_at > age or not self._known.keys() >= set(topics):
                asked_at = time.monotonic()
                wanted = sorted({*self._known, *topics})
                found = await self.identities(wanted)
                self._known = {name: found.get(name) for name in wanted}
                self._known_at = asked_at
        return {name: identity for name in topics if (identity := self._known[name]) is not None}

    async def advise(self, group: str, offsets: dict[str, dict[int, int]]) -> None:
        """Commit {topic: {partition: next offset}} under a group's name, for lag tools. Raises aiokafka.errors.KafkaError.

        Sent as a client without membership: a consumer's own group machinery would be one more thing that can stop a lane.
        """
        await find_brokers(self._client)
        coordinator = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
        topics = [(topic, [(partition, offset, "") for partition, offset in places.items()]) for topic, places in offsets.items()]
        response = await self._client.send(coordinator, OffsetCommitRequest(group, -1, "", -1, topics))
        for _, partitions in response.topics:
            for partition, code in partitions:
                if code:
                    raise for_code(code)(f"advisory offset of partition {partition}")


async def find_brokers(client: AIOKafkaClient) -> None:
    """Ask the bootstrap addresses again where a client has lost sight of every broker: by itself it never would.

    A cluster whose only broker is fenced for a moment answers with no brokers at all, and aiokafka asks brokers that it knows, only.
    Raises aiokafka.errors.KafkaConnectionError.
    """
    if client.get_random_node() is None:
        await client.bootstrap()


def fetch_wait_of(topics: int) -> int:
    """How long, in ms, the broker holds a fetch back where there is nothing new, for a consumer of so many topics.

    A client has one fetch under way to a broker: what was consumed of one topic is asked for again only when the wait for the others is
    over. A consumer of one topic has nobody to wait for.
    """
    return 500 if topics == 1 else 100


def make_consumer(options: dict[str, Any], fetch_wait_ms: int) -> AIOKafkaConsumer:
    """A consumer without subscription and without a group: lanes assign and seek, PostgreSQL says where."""
    return AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        # An offset that is out of range is a hole in the evidence, never a reason to start somewhere else.
        auto_offset_reset="none",
        fetch_max_wait_ms=fetch_wait_ms,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


# A lane's outbox of one transaction to one partition fits; below what brokers take of one batch by default (1 MiB).
_BATCH_BYTES = 512 * 1024


def make_producer(options: dict[str, Any]) -> AIOKafkaProducer:
    """An idempotent producer: a retried batch is not appended twice."""
    return AIOKafkaProducer(
        **options,
        enable_idempotence=True,
        acks="all",
        linger_ms=2,
        compression_type=None,
        # aiokafka's 16 KiB would cut a lane's outbox into a request for every dozen records.
        max_batch_size=_BATCH_BYTES,
        max_request_size=2 * 1024 * 1024,
    )

"""The edge's side of the bus: where topics stand, publishing one record for certain or not at all, and looking for a copy.

aiokafka's idempotent producer never gives a batch up: what timed out for us would still be sent minutes later, when somebody else
has taken the event over. So the first publish that fails ends its producer, with its connections, and a new one takes its place.
"""

import asyncio
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ingress.batches import Ack, Outgoing, PublishUnknownError, Share, shares_of
from ingress.logs import log
from ingress.policy import DOORS
from ingress.record import Record
from ingress.row import AdmissionRow
from ingress.search import Found, Wanted
from ingress.settings import EdgeSettings
from ingress.steps import Step, reached
from laws.topics import AUDIT, Topic
from spine.rungs import KafkaSecurity

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import RecordMetadata

    from spine.bus import TopicIdentity


TOPICS: tuple[Topic, ...] = (*dict.fromkeys(door.topic for door in DOORS.values() if door.topic is not None), AUDIT)
"""Everything that the edge writes to."""

# A sandbox that was frozen for longer thaws with connections that the other end has closed: a load balancer's after 350 s, a broker's
# after 600 s, MSK's when the token that they were opened with is over (900 s), which aiokafka can't renew on them (#1080).
IDLE_S = 300.0
# A failed connect is not repeated for every item of an array.
_RECONNECT_EVERY_S = 0.5
# A sender's back-off is 0.1 s: what has not ended by itself after twice that waits for something that will not come.
_PATIENCE_S = 0.2
_CANCELS = 50
# Closing waits for what the other end says, which after a freeze or an outage may say nothing any more.
_CLOSE_S = 5.0


class BusError(Exception):
    """The bus can't be reached, or is not as the catalogue says."""


class Place(NamedTuple):
    """A partition as the cluster names it now, and an offset below which nothing that is published from now on can stand."""

    cluster_id: str
    topic_id: uuid.UUID
    low_water: int


class _Line(NamedTuple):
    """A producer, what is done when it is ended under those who wait for it, and what is on its way by partition."""

    producer: "AIOKafkaProducer"
    ended: asyncio.Future[None]
    outgoing: dict[tuple[str, int], Outgoing]


class Bus:
    """One producer at a time, and what is known of the topics."""

    def __init__(self, settings: EdgeSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        # The wall clock: a monotonic one may stand still while a sandbox is frozen.
        self._now = now
        self._used_at = now()
        self._prefix = settings.topic_prefix
        self._options: dict[str, Any] = {}
        self._line: _Line | None = None
        self._identities: dict[str, TopicIdentity] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._connecting = asyncio.Lock()
        self._next_try = 0.0
        self._last_error = ""
        self._endings: set[asyncio.Task[None]] = set()

    async def ensure(self) -> None:
        """Connects if there is no producer. Raises BusError, at once if the last try was a moment ago."""
        now = self._now()
        if self._line is not None and now - self._used_at > IDLE_S:
            self._abandon(self._line)  # nothing is under way on it: whoever waits for an answer uses it
        self._used_at = now
        if self._line is not None:
            return
        async with self._connecting:
            if self._line is not None:
                return
            if time.monotonic() < self._next_try:
                raise BusError(self._last_error)
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    await self._connect()
            except Exception as error:
                # Whatever stands in the way (broker, DNS, token, a missing topic), the edge answers 503 and tries again.
                self._last_error = f"{type(error).__name__}: {error}"
                self._next_try = time.monotonic() + _RECONNECT_EVERY_S
                raise BusError(self._last_error) from error

    async def _connect(self) -> None:
        from spine.bus import make_producer  # noqa: PLC0415 - 900 ms with what it imports

        self._options = self._options or _client_options(self._settings)
        await self.refresh()
        ends = await self._read_ends()
        request_timeout_ms = int(self._settings.publish_timeout_s * 1000)
        producer = make_producer(self._options | {"request_timeout_ms": request_timeout_ms})
        try:
            await producer.start()
        except BaseException:
            await _end_at_once(producer)
            raise
        self._ends = ends
        self._line = _Line(producer, asyncio.get_running_loop().create_future(), {})

    async def refresh(self) -> None:
        """Asks who cluster and topics are. Raises BusError where they are not what the catalogue says, aiokafka's errors else."""
        from spine.bus import TopicWatch  # noqa: PLC0415  not before a cold start is over

        self._options = self._options or _client_options(self._settings)
        watch = TopicWatch(self._options)
        try:
            await watch.start()
            found = await watch.identities([self._prefix + topic.name for topic in TOPICS])
        finally:
            await _closed(watch.stop())
        identities = {name.removeprefix(self._prefix): identity for name, identity in found.items()}
        for topic in TOPICS:
            identity = identities.get(topic.name)
            if identity is None:
                raise BusError(f"topic {self._prefix}{topic.name} does not exist: topics are provisioned, never made by a producer")
            if identity.partitions != topic.partitions:
                raise BusError(f"topic {self._prefix}{topic.name} has {identity.partitions} partitions, not {topic.partitions}")
        if self._identities and identities != self._identities:
            log.warning("topics_changed", topics=sorted(n for n, i in identities.items() if self._identities.get(n) != i))
            self._ends = {}  # a recreated topic starts at 0 again; what we knew of its ends would hide its first records
        self._identities = identities

    def place(self, topic: str, partition: int) -> Place:
        """Where a record of `topic` (the catalogue's name) would go now. Call ensure() before."""
        identity = self._identities[topic]
        return Place(identity.cluster_id, identity.topic_id, self._ends.get((topic, partition), 0))

    async def publish(self, record: Record) -> Ack:
        """Appends the record and waits until all replicas have it. Raises PublishUnknownError; the producer ends with it."""
        line = self._line
        if line is None:
            raise PublishUnknownError("the producer ended before this record was handed to it")
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                sent = await line.producer.send(
                    self._prefix + record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.headers,
                )
                sent.add_done_callback(_look_at)
                reached(Step.SENT)
                await asyncio.wait([sent, line.ended], return_when=asyncio.FIRST_COMPLETED)
            if not sent.done():
                raise PublishUnknownError("the producer was ended while this record was under way")
            done = sent.result()
        except Exception as error:
            self._abandon(line)
            raise PublishUnknownError(f"{type(error).__name__}: {error}") from error
        if done.offset < 0:
            # The broker has the record and has forgotten where: only the log can tell.
            raise PublishUnknownError("the broker knows the record and not its offset")
        end = (record.topic, record.partition)
        self._ends[end] = max(self._ends.get(end, 0), done.offset + 1)
        return Ack(done.offset, done.timestamp)

    async def publish_all(self, records: Sequence[Record]) -> list[Ack | PublishUnknownError]:
        """Appends records and waits until all replicas have them; what became of each, in their order.

        Records of one partition go together, which are appended whole or not at all, and stay in their order; what others publish to it
        meanwhile goes in the same batch. The first that fails ends the producer: of those without an answer nobody knows.
        """
        if len(records) == 1:
            try:
                return [await self.publish(records[0])]
            except PublishUnknownError as error:
                return [error]
        line = self._line
        if line is None:
            return [PublishUnknownError("the producer ended before this record was handed to it") for _ in records]
        shares = shares_of(records)
        for share in shares:
            self._outgoing(line, share).put(share)
        reached(Step.SENT)
        cause = "the producer was ended while this record was under way"
        # One future for all of them: waiting for the next one, again and again, would each time begin to wait for all that are left.
        # It is never cancelled, for that would cancel them.
        settled = asyncio.gather(*(share.done for share in shares))
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await asyncio.wait((line.ended, settled), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            cause = f"not acknowledged within {self._settings.publish_timeout_s:g} s"
        answers: list[Ack | PublishUnknownError] = [PublishUnknownError(cause)] * len(records)
        for share in shares:
            for index, answer in share.answers():
                answers[index] = answer
            if (end := share.end) is not None:
                place = (share.topic, share.partition)
                self._ends[place] = max(self._ends.get(place, 0), end)
        if any(isinstance(answer, PublishUnknownError) for answer in answers):
            self._abandon(line)
        return answers

    def _outgoing(self, line: _Line, share: Share) -> Outgoing:
        place = (share.topic, share.partition)
        found = line.outgoing.get(place)
        if found is None:
            found = line.outgoing[place] = Outgoing(line.producer, self._prefix + share.topic, share.partition)
        return found

    async def search(self, topic: str, partition: int, rows: Sequence[AdmissionRow], within_s: float) -> Found:
        """The copies of `rows` in their partition, from the lowest of their low-water marks up to the end that stands now.

        What is not read within `within_s` is left: the answer says how far it came. Raises BusError where nothing can be read.
        """
        from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415  not before a cold start is over
        from aiokafka.errors import KafkaError  # noqa: PLC0415  not before a cold start is over

        wanted = Wanted(rows)
        where = TopicPartition(self._prefix + topic, partition)
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, auto_offset_reset="none")
        ends = time.monotonic() + within_s
        try:
            async with asyncio.timeout(within_s):
                await consumer.start()
                consumer.assign([where])
                end = (await consumer.end_offsets([where]))[where]
                # Retention may have taken what stood there; a copy would have gone with it.
                position = max(self._start(topic, rows), (await consumer.beginning_offsets([where]))[where])
                consumer.seek(where, position)
            while position < end and time.monotonic() < ends:
                for fetched in (await consumer.getmany(where, timeout_ms=200)).get(where, []):
                    if fetched.offset < end:
                        wanted.see(fetched.value, fetched.headers, Ack(fetched.offset, fetched.timestamp))
                position = await consumer.position(where)
            return Found(wanted.copies, min(position, end), position >= end)
        except (KafkaError, TimeoutError, OSError) as error:
            raise BusError(f"partition {partition} of {topic} could not be read: {type(error).__name__}: {error}") from error
        finally:
            await _closed(consumer.stop())

    def _start(self, topic: str, rows: Sequence[AdmissionRow]) -> int:
        """The lowest mark of `rows`; 0 where one was put before the topic was recreated, whose offsets have begun again."""
        now = self._identities[topic].topic_id.bytes
        return min(row.low_water or 0 if row.topic_id == now else 0 for row in rows)

    async def stop(self) -> None:
        """Sends what is under way, then closes."""
        line, self._line = self._line, None
        if line is not None:
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    await line.producer.stop()
            except TimeoutError:
                await _end_at_once(line.producer)
        if self._endings:
            await asyncio.wait(self._endings)

    def _abandon(self, line: _Line) -> None:
        if self._line is not line:
            return  # another record of the same producer failed first
        self._line = None
        line.ended.set_result(None)
        for outgoing in line.outgoing.values():
            outgoing.end()
        ending = asyncio.create_task(_end_at_once(line.producer))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _read_ends(self) -> dict[tuple[str, int], int]:
        from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415  not before a cold start is over

        wanted = [TopicPartition(self._prefix + topic.name, index) for topic in TOPICS for index in range(topic.partitions)]
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
        try:
            await consumer.start()
            ends = await consumer.end_offsets(wanted)
        finally:
            await _closed(consumer.stop())
        return {(where.topic.removeprefix(self._prefix), where.partition): end for where, end in ends.items()}


async def _end_at_once(producer: "AIOKafkaProducer") -> None:
    """Ends a producer so that nothing it holds is ever sent. Its public stop() would first send everything."""
    producer._closed = True  # takes no more records, and its destructor does not report a leak
    task = producer._sender.sender_task
    # Without connections nothing leaves any more; the sender and each of its requests then need a cancel of their own, since a
    # cancelled sender waits for its requests, and they for metadata that nobody brings.
    if task is not None:
        task.cancel()
    await _closed(producer.client.close())
    for _ in range(_CANCELS):
        if task is None or task.done():
            return
        await asyncio.wait([task], timeout=_PATIENCE_S)
        task.cancel()
    log.error("producer_did_not_end")  # its connections have: nothing leaves, and whoever stops the edge waits no longer


async def _closed(closing: Awaitable[None]) -> None:
    """Waits until a client has closed, and not for ever: a request must not hang on what it no longer needs."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await closing
    except TimeoutError:
        log.error("client_did_not_close")


def _look_at(sent: "asyncio.Future[RecordMetadata]") -> None:
    """Takes the exception of a record that nobody waits for any more, which asyncio would report as forgotten."""
    if not sent.cancelled():
        sent.exception()


def _client_options(settings: EdgeSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": f"fp-ig-{settings.release_id}",
        "request_timeout_ms": int(settings.publish_timeout_s * 1000),
    }
    if settings.kafka_security is KafkaSecurity.SASL_IAM:
        from spine.msk_iam import MskIamTokens  # noqa: PLC0415 - 500 ms, and not needed where the bus is plaintext

        options |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": MskIamTokens(settings.kafka_region),
            "ssl_context": ssl.create_default_context(),
        }
    return options

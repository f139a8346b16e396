"""One publisher a lane: the outbox in order, bytes as stored, the mark only over what the bus has acknowledged (runtime.md)."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from spine.emission import HEADERS_DECODER, Record
from spine.faults import TRANSIENT
from spine.outcome import FencedError
from spine.ownership import Claim
from spine.steps import Step, reached

# Rows of one read; whole lane_seqs only, so that the mark never stands inside one. Beside them where the lane stood by the same snapshot:
# up to there nothing is left but these rows.
_READ = """
SELECT l.lane_seq AS standing, o.lane_seq, o.topic, o.partition, o.key, o.headers, o.value
FROM lane l LEFT JOIN LATERAL (
    SELECT lane_seq, i, topic, partition, key, headers, value FROM outbox
    WHERE lane = $1 AND lane_seq > greatest($2, l.published_seq)
      AND lane_seq <= (
        SELECT coalesce(max(lane_seq), 0) FROM (
            SELECT lane_seq FROM outbox WHERE lane = $1 AND lane_seq > greatest($2, l.published_seq) ORDER BY lane_seq LIMIT $3
        ) AS head
      )
) AS o ON true
WHERE l.lane = $1
ORDER BY o.lane_seq, o.i
"""

_MARK = "UPDATE lane SET published_seq = greatest(published_seq, $4) WHERE lane = $1 AND epoch = $2 AND token = $3 RETURNING 1"

_ROWS = 2000

# A mark of its own is a write of its own: it gives a batch this long to carry it along, and while one is under way it is not written at
# all, because it would only wait behind it for the lane's row, with a connection in its hands.
_MARK_AFTER = 0.1

# Handed rows that wait for the bus; beyond them memory would grow with its trouble, and the store has them all.
_HANDED = 20_000

_FAILURES = 10
_RETRY_AFTER = 0.2

_log = structlog.get_logger(__name__)


class Publisher:
    """Publishes the outbox of one lane while this worker owns it.

    A transaction that is committed hands its rows over: the very bytes that the outbox has. They are published from memory where they
    follow on what was published before them, with no lane_seq between. Everything else (what a dead owner left, a COMMIT in doubt, a
    command of another replica, a bus that was away) is read from the store.
    """

    def __init__(self, pool: asyncpg.Pool, producer: AIOKafkaProducer, claim: Claim, topic_prefix: str) -> None:
        self._pool = pool
        self._producer = producer
        self._claim = claim
        self._prefix = topic_prefix
        self._wake = asyncio.Event()
        self._handed: deque[tuple[int, Sequence[Record]]] = deque()
        self._handed_rows = 0
        # Up to here every lane_seq was handed over or read.
        self._known_seq = -1
        self._read_store = True
        self.acknowledged_seq = claim.published_seq
        self.marked_seq = claim.published_seq
        self.published = 0
        self.batch_under_way = False
        """Whether a transaction of this worker holds, or is about to hold, the lane's row: it carries the mark."""

    def wake(self) -> None:
        """There may be rows to publish that nobody handed over."""
        self._read_store = True
        self._wake.set()

    def hand_over(self, lane_seq: int, rows: Sequence[Record]) -> None:
        """The outbox rows, perhaps none, of a transaction of this lane that is committed."""
        if lane_seq != self._known_seq + 1 or self._handed_rows + len(rows) > _HANDED:
            self.wake()
            return
        self._known_seq = lane_seq
        if rows:
            self._handed.append((lane_seq, rows))
            self._handed_rows += len(rows)
            self._wake.set()

    def carried(self, seq: int) -> None:
        """A committed batch carried the mark up to `seq`."""
        self.marked_seq = max(self.marked_seq, seq)

    async def empty(self) -> None:
        """Publish everything that is in the outbox now, and mark it."""
        while await self._publish_some():
            pass
        await self._mark()

    async def run(self) -> None:
        """Publish whenever woken, until cancelled. Raises FencedError when the lane is another's, TRANSIENT after too many in a row."""
        failures = 0
        while True:
            woken = await self._woken()
            try:
                if woken:
                    await self.publish_all()
                elif not self.batch_under_way:
                    await self._mark()
                failures = 0
            except TRANSIENT as error:
                # A mark that waited too long behind a batch is no reason to give a lane away; a producer that never recovers is.
                failures += 1
                _log.warning("publisher.failed", lane=self._claim.lane, error=f"{type(error).__name__}: {error}", failures=failures)
                if failures >= _FAILURES:
                    raise
                await asyncio.sleep(_RETRY_AFTER)
                self.wake()

    async def _woken(self) -> bool:
        """Waits for rows to publish; False where a mark is due first, because no batch came to carry it along."""
        due = _MARK_AFTER if self.acknowledged_seq > self.marked_seq else None
        try:
            async with asyncio.timeout(due):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def publish_all(self) -> None:
        """Publish what was handed over, and what the store has of which nobody told; the mark is left to a batch, or to `run`."""
        while self._handed or self._read_store:
            if self._read_store:
                # What is handed over may stand behind rows that were not: the store has all of them, in order.
                self._read_store = False
                self._handed.clear()
                self._handed_rows = 0
                while await self._publish_some():
                    pass
            else:
                await self._publish_handed()

    async def _publish_handed(self) -> None:
        rows: list[Record] = []
        last = self.acknowledged_seq
        while self._handed and len(rows) < _ROWS:
            lane_seq, more = self._handed.popleft()
            self._handed_rows -= len(more)
            if lane_seq > last:
                last = lane_seq
                rows += more
        if rows:
            await self._acknowledged(rows, last)

    async def _publish_some(self) -> bool:
        found = await self._pool.fetch(_READ, self._claim.lane, self.acknowledged_seq, _ROWS)
        reached(Step.OUTBOX_READ)
        rows = [row for row in found if row["lane_seq"] is not None]
        if rows:
            await self._acknowledged([row[2:] for row in rows], rows[-1]["lane_seq"])
        if len(rows) < _ROWS and found:
            self._known_seq = max(self._known_seq, found[0]["standing"])
        return bool(rows)

    async def _acknowledged(self, rows: Sequence[Record], last: int) -> None:
        """Publish rows up to lane_seq `last`, and note them once the bus has all of them."""
        acknowledgements = await self._send(rows)
        reached(Step.SENT)
        # All of them, in order: the mark is a contiguous prefix or it is a lie.
        await asyncio.gather(*acknowledgements)
        self.published += len(rows)
        # Rows that were read while others were handed over may come to an end earlier than those.
        self.acknowledged_seq = max(self.acknowledged_seq, last)
        reached(Step.PUBLISHED)

    async def _send(self, rows: Iterable[Record]) -> "list[asyncio.Future[Any]]":
        """Hand rows to the producer in whole batches, in order within each partition: a future a batch, not one a record."""
        acknowledgements: list[asyncio.Future[Any]] = []
        batches: dict[tuple[str, int], BatchBuilder] = {}
        producer = self._producer
        for topic, partition, key, packed, value in rows:
            place = (topic, partition)
            headers = HEADERS_DECODER.decode(packed)
            batch = batches.get(place)
            if batch is None:
                batch = batches[place] = producer.create_batch()
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                acknowledgements.append(await self._submit(batch, place))
                batch = batches[place] = producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=headers)
        for place, batch in batches.items():
            acknowledgements.append(await self._submit(batch, place))
        return acknowledgements

    async def _submit(self, batch: BatchBuilder, place: tuple[str, int]) -> "asyncio.Future[Any]":
        topic, partition = place
        acknowledgement: asyncio.Future[Any] = await self._producer.send_batch(batch, self._prefix + topic, partition=partition)
        # Left alone by an error of another batch, its own error is nobody's: the rows are read and sent again.
        acknowledgement.add_done_callback(_look_at)
        return acknowledgement

    async def _mark(self) -> None:
        if self.acknowledged_seq <= self.marked_seq:
            return
        seq = self.acknowledged_seq
        if not await self._pool.fetchval(_MARK, self._claim.lane, self._claim.epoch, self._claim.token, seq):
            raise FencedError(f"lane {self._claim.lane}: epoch {self._claim.epoch} is over")
        self.carried(seq)
        reached(Step.MARKED)


def _look_at(acknowledgement: "asyncio.Future[Any]") -> None:
    if not acknowledgement.cancelled():
        acknowledgement.exception()

"""One lane in one worker: intake, the law, publishing, timers and answers, from claim to release (runtime.md)."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer

from laws.reasons import Reason
from spine.breaker import Breaker
from spine.bus import BusError, TopicIdentity, make_consumer
from spine.db import Db
from spine.deadline import Deadline
from spine.faults import TRANSIENT
from spine.handovers import HandoverEvent
from spine.inputs import Inlet, Input, Poison
from spine.intake import Intake, Position, check_identity, start_offset
from spine.lanes import LaneSpec, group_topics
from spine.outcome import Applied, ContinuityError, Fence, FencedError, LaneStoppedError, RefusedByStoreError, Select, UnknownCommitError
from spine.ownership import Claim
from spine.publisher import Publisher
from spine.runtime import Runtime
from spine.service import Answer
from spine.steps import Step, reached
from spine.tasks import TaskRunner
from spine.transaction import was_committed

T = TypeVar("T")

_log = structlog.get_logger(__name__)

# A topic that is deleted and made again restarts at offset 0 under the same name. No batch is applied on an identity older than this.
_IDENTITY_AGE = 0.25
_FETCH_WAIT_MS = 250
_FETCH_FAILURES = 10
_FIRST_BATCH = 200
_SMALLEST_BATCH = 20
# After a batch that took all there was, a lane rests three times as long as its transaction took, so that the next one is worth its round
# trips: without a rest it would begin again for every few records, and eight services on two cores would do nothing else. Where a batch
# waits, there is no rest; and never one longer than the group allows, nor shorter than half of that.
_REST = 3.0
# So many answers are worth a transaction; fewer wait for each other half of the group's longest rest.
_ANSWERS_WORTH = 100
_TIMERS_AT_ONCE = 500
_ANSWERS_AT_ONCE = 500
# Timers that wait for the log as well as for the clock are looked at this often once their time has come.
_TIMER_RECHECK = 0.05

_POSITIONS = "SELECT topic, partition, cluster_id, topic_id, next_offset FROM lane_position WHERE lane = $1"

_BEGIN_POSITION = """
INSERT INTO lane_position (topic, partition, lane, cluster_id, topic_id, start_offset, next_offset)
SELECT $4, $5, $1, $6, $7, $8, $8 FROM (SELECT 1 FROM lane WHERE lane = $1 AND epoch = $2 AND token = $3 FOR UPDATE) AS mine
"""

_NEXT_TIMER = "SELECT extract(epoch FROM min(due) - clock_timestamp()) FROM pending WHERE lane = $1 AND task_state IS NULL"


class Batch(NamedTuple):
    """Decoded records of one fetch."""

    inputs: list[Input]
    ends: dict[str, int]


class LaneWorker:
    """Runs one lane until it is drained, fenced or stopped."""

    def __init__(self, runtime: Runtime, spec: LaneSpec, claim: Claim) -> None:
        settings = runtime.settings
        self._rt = runtime
        self.spec = spec
        self.claim = claim
        self._fence = Fence(claim.epoch, claim.token)
        self._scheduled = runtime.scheduled[spec.group.name]
        self._decoder = runtime.decoders[spec.group.name]
        self.publisher = Publisher(runtime.pool, runtime.producer, claim, settings.topic_prefix)
        tasks = {task.name: task for task in spec.group.tasks}
        self.tasks = TaskRunner(runtime.pool, claim, tasks, runtime.task_slots, self._settled)
        self._breaker = Breaker(settings.breaker_consecutive, settings.breaker_ratio, settings.breaker_window)
        self._batches: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
        self._hungry = asyncio.Event()
        self._rest_until = 0.0
        self._transaction_seconds = 0.0
        self._answers: list[tuple[str, Answer]] = []
        self._answers_at = 0.0
        self._wake = asyncio.Event()
        self._draining = asyncio.Event()
        self._claimed_at = time.monotonic()
        self._drained_from = 0.0
        self.drained_in: float | None = None
        self._intake: Intake | None = None
        self._positions: list[Position] = []
        self._batch_size = min(_FIRST_BATCH, settings.batch_max)
        self._timer_at: float | None = 0.0 if spec.group.timers else None
        self._discontinuities = 0
        self.next_offsets: dict[str, int] = {}
        self.lane_seq = 0
        self.ready = False
        self.last_event_ts = ""
        self.applied_total = 0

    # --- life ---

    async def run(self) -> None:
        """From claim to the end of draining. Raises FencedError when the lane is another's; BusError when it must stop."""
        # First everything that a dead owner left: its rows are older than anything this lane will apply.
        await self._patiently(self.publisher.empty, "publish what the last owner left")
        consumer = await self._patiently(self._connect, "connect to the bus") if group_topics(self.spec.group) else None
        try:
            await self._work(consumer)
        finally:
            if consumer is not None:
                await consumer.stop()

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = make_consumer(self._rt.bus_options)
        try:
            await consumer.start()
        except BaseException:
            # A client that did not start keeps its connections and tasks, and a broker that is down is tried again and again.
            await consumer.stop()
            raise
        return consumer

    async def _work(self, consumer: AIOKafkaConsumer | None) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self.publisher.run())]
            if consumer is not None:
                self._positions = await self._patiently(lambda: self._stand(consumer), "read the lane's positions")
                self._intake = Intake(consumer, self._positions, self._rt.settings.topic_prefix, self._reseeking)
                self._intake.start()
                helpers.append(group.create_task(self._read()))
            if self.spec.group.tasks:
                helpers.append(group.create_task(self.tasks.run()))
            self.ready = True
            self._note(HandoverEvent.READY, seconds=time.monotonic() - self._claimed_at)
            try:
                await self._apply_until_drained()
                await self._finish()
            finally:
                for helper in helpers:
                    helper.cancel()

    def drain(self) -> None:
        """Take in nothing more, finish what is in hand, publish it, and return from `run`."""
        if not self._draining.is_set():
            self._drained_from = time.monotonic()
        self._draining.set()
        self._wake.set()

    def wake_publisher(self) -> None:
        """A command of another replica left rows for this lane's publisher, or calls, or waits."""
        self.publisher.wake()
        self.tasks.wake()
        self._timer_at = 0.0 if self.spec.group.timers else None
        self._wake.set()

    async def _finish(self) -> None:
        reached(Step.DRAINING)
        deadline = Deadline(self._rt.settings.timeouts.drain)
        await self.tasks.close(deadline)
        self._answers_at = 0.0
        while await self._apply_answers():
            pass
        await self.publisher.empty()
        await self._advise_once()
        self.drained_in = time.monotonic() - self._drained_from
        reached(Step.DRAINED)

    def _note(self, event: HandoverEvent, reason: str = "", *, seconds: float | None = None) -> None:
        self._rt.ownership.handovers.note(event, self.spec.lane, self.claim.epoch, reason, seconds=seconds)

    def _reseeking(self, found: str) -> None:
        self._note(HandoverEvent.RESEEK, found)

    # --- where the lane stands ---

    async def _stand(self, consumer: AIOKafkaConsumer) -> list[Position]:
        rows = {row["topic"]: row for row in await self._rt.pool.fetch(_POSITIONS, self.spec.lane)}
        identities = await self._identities(age=0.0)
        positions = []
        for topic in group_topics(self.spec.group):
            now = identities.get(topic.name)
            row = rows.get(topic.name)
            if row is None:
                position = await self._begin(consumer, topic.name, now)
            else:
                stored = TopicIdentity(row["cluster_id"], row["topic_id"], topic.partitions)
                position = Position(topic, row["partition"], stored, row["next_offset"])
            check_identity(position, now)
            positions.append(position)
            self.next_offsets[topic.name] = position.next_offset
            reached(Step.POSITIONED)
        return positions

    async def _begin(self, consumer: AIOKafkaConsumer, name: str, now: TopicIdentity | None) -> Position:
        topic = next(topic for topic in group_topics(self.spec.group) if topic.name == name)
        if now is None:
            raise BusError(Reason.TOPIC_CHANGED, f"topic {name} does not exist: provision it (fp topics apply)")
        offset = await start_offset(consumer, self._rt.settings.topic_prefix + name, self.spec.home)
        async with self._rt.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _BEGIN_POSITION, self.spec.lane, *self._fence, name, self.spec.home, now.cluster_id, now.topic_id, offset
            )
        self._note(HandoverEvent.BEGAN, f"{name}/{self.spec.home} at offset {offset}")
        return Position(topic, self.spec.home, now, offset)

    async def _identities(self, age: float) -> dict[str, TopicIdentity]:
        prefix = self._rt.settings.topic_prefix
        found = await self._rt.watch.recent([prefix + topic.name for topic in group_topics(self.spec.group)], age)
        return {name.removeprefix(prefix): identity for name, identity in found.items()}

    async def _check_identities(self) -> None:
        identities = await self._identities(_IDENTITY_AGE)
        for position in self._positions:
            check_identity(position, identities.get(position.topic.name))

    # --- intake ---

    async def _read(self) -> None:
        """Hand the applier a batch when it asks for one: what came in the meantime is in it."""
        intake = self._intake
        if intake is None:
            return
        failures = 0
        self._hungry.set()
        while not self._draining.is_set():
            await self._hungry.wait()
            if (rest := self._rest_until - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            try:
                fetched = await intake.fetch(self._batch_size, _FETCH_WAIT_MS)
            except TRANSIENT as error:
                failures += 1
                _log.warning("lane.fetch_failed", lane=self.spec.lane, error=str(error), failures=failures)
                if failures >= _FETCH_FAILURES:
                    # A client that does not recover by itself never will: the lane is given back, and claimed with a new one.
                    raise
                await asyncio.sleep(0.2)
                continue
            failures = 0
            if not fetched.sources:
                continue
            reached(Step.FETCHED)
            inputs = [self._decoder.record(source) for source in fetched.sources]
            reached(Step.DECODED)
            self._hungry.clear()
            await self._batches.put(Batch(inputs, fetched.ends))
            self._wake.set()

    # --- the one applier ---

    async def _apply_until_drained(self) -> None:
        while not self._draining.is_set():
            if await self._apply_answers() or await self._apply_timers() or await self._apply_records():
                continue
            await self._sleep_until_work()

    async def _sleep_until_work(self) -> None:
        self._wake.clear()
        if not self._batches.empty() or self._draining.is_set() or len(self._answers) >= _ANSWERS_WORTH:
            return
        due = [at for at in (self._timer_at, self._answers_at if self._answers else None) if at is not None]
        wait = max(0.0, min(due) - time.monotonic()) if due else 1.0
        try:
            async with asyncio.timeout(min(wait, 1.0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _apply_records(self) -> bool:
        if self._batches.empty():
            return False
        batch = self._batches.get_nowait()
        try:
            await self._patiently(self._check_identities, "check what the topics are")
            await self._apply_halving(batch.inputs, batch.ends)
        except ContinuityError as error:
            await self._stand_again(error)
            return True
        finally:
            self._hungry.set()
        self._discontinuities = 0
        self._adapt(len(batch.inputs), self._transaction_seconds)
        for item in batch.inputs:
            if item.source is not None:
                self.next_offsets[item.source.topic] = item.source.offset + 1
        if (last := batch.inputs[-1].event) is not None:
            self.last_event_ts = last.ts_utc
        return True

    async def _stand_again(self, error: ContinuityError) -> None:
        """Read again from where the store says that the lane stands; a second time in a row it is a hole."""
        self._discontinuities += 1
        if self._intake is None or self._discontinuities > 1:
            raise BusError(Reason.GAP, str(error))
        self._reseeking(str(error))
        rows = await self._patiently(lambda: self._rt.pool.fetch(_POSITIONS, self.spec.lane), "read the lane's positions")
        self._intake.rewind({row["topic"]: row["next_offset"] for row in rows})
        while not self._batches.empty():
            self._batches.get_nowait()

    def _adapt(self, size: int, seconds: float) -> None:
        settings = self._rt.settings
        target = settings.batch_target_ms / 1000
        full = size >= self._batch_size
        if seconds > target:
            self._batch_size = max(_SMALLEST_BATCH, int(self._batch_size * max(0.5, target / seconds)))
        elif full:
            self._batch_size = min(settings.batch_max, int(self._batch_size * 1.25) + 1)
        longest = self.spec.group.longest_rest
        self._rest_until = 0.0 if full else time.monotonic() + min(longest, max(longest / 2, seconds * _REST))

    async def _apply_halving(self, inputs: Sequence[Input], ends: dict[str, int]) -> None:
        """Apply; a batch that the store refuses is halved down to the one input whose fault it is, which is parked."""
        try:
            await self._transact(inputs, ends)
        except RefusedByStoreError as error:
            if len(inputs) > 1:
                middle = len(inputs) // 2
                await self._apply_halving(inputs[:middle], ends)
                await self._apply_halving(inputs[middle:], ends)
                return
            inputs[0].poison = Poison(Reason.STORE_REFUSED, error.detail)
            await self._transact(inputs, ends)

    async def _apply_timers(self) -> bool:
        if self._timer_at is None or time.monotonic() < self._timer_at or not self.spec.group.timers:
            return False
        # Looked at without a lock first: most waits are settled before they are due, and a transaction for nothing is not free.
        if not await self._is_due():
            return False
        reached(Step.TIMER_DUE)
        applied = await self._apply_selected(
            lambda limit: lambda connection: self._scheduled.due(connection, self.spec, limit), _TIMERS_AT_ONCE
        )
        if applied is None:
            # Its time has come, but the log is not read up to where it must be.
            self._timer_at = time.monotonic() + _TIMER_RECHECK
        return applied is not None

    async def _is_due(self) -> bool:
        """Whether the first timer's time has come; notes when it will."""
        delay = await self._patiently(lambda: self._rt.pool.fetchval(_NEXT_TIMER, self.spec.lane), "look for timers")
        self._timer_at = None if delay is None else time.monotonic() + float(delay)
        return delay is not None and float(delay) <= 0

    async def _apply_answers(self) -> bool:
        if not self._answers or (time.monotonic() < self._answers_at and len(self._answers) < _ANSWERS_WORTH):
            return False
        taken, self._answers = self._answers[:_ANSWERS_AT_ONCE], self._answers[_ANSWERS_AT_ONCE:]
        reached(Step.ANSWER_SETTLED)
        await self._apply_selected(
            lambda limit: lambda connection: self._scheduled.answered(connection, self.spec, taken[:limit]), len(taken)
        )
        for task, answer in taken:
            self.tasks.done(task, answer.ref)
        return True

    def _settled(self, task: str, answer: Answer) -> None:
        if not self._answers:
            self._answers_at = 0.0 if self._draining.is_set() else time.monotonic() + self.spec.group.longest_rest / 2
        self._answers.append((task, answer))
        self._wake.set()

    async def _apply_selected(self, select: Callable[[int], Select], limit: int) -> Applied | None:
        """Apply what `select(limit)` finds; refused by the store, one by one, and the one at fault is parked."""
        try:
            return await self._transact(select(limit), {})
        except RefusedByStoreError as error:
            if limit > 1:
                applied = None
                for _ in range(limit):
                    applied = await self._apply_selected(select, 1) or applied
                return applied
            detail = error.detail
            return await self._transact(_poisoned(select(1), detail), {})

    async def _transact(self, inputs: Sequence[Input] | Select, ends: dict[str, int]) -> Applied | None:
        carried = self.publisher.acknowledged_seq

        async def attempt() -> Applied | None:
            # A few at a time: six at once would each hold their locks for the time of all six.
            async with self._rt.transaction_slots, self._rt.pool.acquire() as connection:
                begun = time.perf_counter()
                self.publisher.batch_under_way = True
                try:
                    applied = await self._rt.law.apply(connection, self.spec, self._fence, inputs, acknowledged_seq=carried, ends=ends)
                finally:
                    self.publisher.batch_under_way = False
                self._transaction_seconds = time.perf_counter() - begun
                return applied

        started = time.perf_counter()
        try:
            applied = await self._patiently(attempt, "apply a batch")
        except UnknownCommitError as unknown:
            if not await self._settle_commit(unknown):
                return await self._transact(inputs, ends)
            # It is in, but what it did was not told: look at everything that it may have left.
            self.lane_seq = unknown.lane_seq
            self.publisher.carried(carried)
            self.wake_publisher()
            return None
        if applied is None:
            return None
        self.lane_seq = applied.lane_seq
        self.applied_total += len(applied.verdicts)
        self.publisher.carried(carried)
        self._after(applied)
        inlet = inputs[0].inlet if isinstance(inputs, Sequence) else Inlet.TIMER
        self._rt.telemetry.applied(self.spec.group.name, inlet, applied, time.perf_counter() - started)
        if reason := self._breaker.count(applied.verdicts):
            raise BusError(Reason.BREAKER_OPEN, reason)
        return applied

    def _after(self, applied: Applied) -> None:
        self.publisher.hand_over(applied.lane_seq, applied.outbox)
        if applied.tasks:
            self.tasks.wake()
        if applied.first_due is not None and self.spec.group.timers:
            # A new wait may be due before the one that was looked for.
            due = time.monotonic() + applied.first_due
            self._timer_at = due if self._timer_at is None else min(self._timer_at, due)

    async def _settle_commit(self, unknown: UnknownCommitError) -> bool:
        async def look() -> bool:
            async with self._rt.pool.acquire() as connection:
                return await was_committed(connection, self.spec.lane, unknown)

        is_in = await self._patiently(look, "ask whether a commit is in")
        reached(Step.COMMIT_SETTLED)
        return is_in

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        """Wait out the store's and the bus's trouble of the moment. The worker ends the lane when the lease is over."""
        pause = 0.05
        while True:
            try:
                found = await attempt()
            except (UnknownCommitError, FencedError, LaneStoppedError, ContinuityError, BusError):
                raise
            except TRANSIENT as error:
                self._rt.warnings[f"lane {self.spec.lane}"] = f"{what}: {type(error).__name__}: {error}"
                _log.warning("lane.waits", lane=self.spec.lane, what=what, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 2)
            else:
                self._rt.warnings.pop(f"lane {self.spec.lane}", None)
                return found

    # --- what is told of the lane ---

    async def _advise_once(self) -> None:
        try:
            if places := self.places():
                await self._rt.watch.advise(self._rt.service.name, places)
        except TRANSIENT as error:
            # Only lag tools read it: the next owner writes a newer one.
            _log.info("lane.advisory_commit_failed", lane=self.spec.lane, error=str(error))

    def places(self) -> dict[str, dict[int, int]]:
        """{physical topic: {partition: next offset}}, as advisory offsets are told."""
        return self._intake.places(self.next_offsets) if self._intake else {}

    def lag_seconds(self) -> dict[str, float]:
        """Seconds behind the end, by topic."""
        return self._intake.lag_seconds(time.time()) if self._intake else {}

    def lag(self) -> dict[str, int]:
        """Records behind the end, by topic."""
        return self._intake.lag() if self._intake else {}


def _poisoned(select: Select, detail: str) -> Select:
    async def selected(connection: Db) -> Sequence[Input]:
        inputs = list(await select(connection))
        for item in inputs:
            item.poison = Poison(Reason.STORE_REFUSED, detail)
        return inputs

    return selected


def new_worker_id() -> str:
    """A name that no other worker has or had."""
    return uuid.uuid4().hex

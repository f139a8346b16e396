"""One lane in one worker: intake, the law, publishing, timers and answers, from claim to release (runtime.md)."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer

from laws.reasons import Reason
from spine.breaker import Breaker
from spine.bus import BusError
from spine.db import Db
from spine.deadline import Deadline
from spine.faults import TRANSIENT
from spine.feed import Feed
from spine.handovers import HandoverEvent
from spine.inputs import Inlet, Input, Poison
from spine.intake import Intake
from spine.lanes import LaneSpec, group_topics
from spine.outcome import (
    Applied,
    ContinuityError,
    Doubt,
    Fence,
    FencedError,
    LaneStoppedError,
    Part,
    RefusedByStoreError,
    Select,
    UnknownCommitError,
)
from spine.ownership import Claim
from spine.pace import Pace
from spine.positions import Positions
from spine.publisher import Publisher
from spine.runtime import Runtime
from spine.service import Answer
from spine.steps import Step, reached
from spine.tasks import TaskRunner
from spine.transaction import was_committed

T = TypeVar("T")

_log = structlog.get_logger(__name__)

# So many answers are worth a transaction; fewer wait for each other half of the group's longest rest.
_ANSWERS_WORTH = 100
_TIMERS_AT_ONCE = 500
_ANSWERS_AT_ONCE = 500
# Timers that wait for the log as well as for the clock are looked at this often once their time has come.
_TIMER_RECHECK = 0.05

_NEXT_TIMER = "SELECT extract(epoch FROM min(due) - clock_timestamp()) FROM pending WHERE lane = $1 AND task_state IS NULL"


class LaneWorker:
    """Runs one lane until it is drained, fenced or stopped."""

    def __init__(self, runtime: Runtime, spec: LaneSpec, claim: Claim) -> None:
        settings = runtime.settings
        self._rt = runtime
        self.spec = spec
        self.claim = claim
        self._fence = Fence(claim.epoch, claim.token)
        self._scheduled = runtime.scheduled[spec.group.name]
        self.publisher = Publisher(runtime.pool, runtime.producer, claim, settings.topic_prefix)
        tasks = {task.name: task for task in spec.group.tasks}
        self.tasks = TaskRunner(runtime.pool, claim, tasks, runtime.task_slots, self._settled)
        self._breaker = Breaker(settings.breaker_consecutive, settings.breaker_ratio, settings.breaker_window)
        self._pace = Pace(settings.batch_max, settings.batch_target_ms / 1000, spec.group.longest_rest, runtime.contention)
        self._positions = Positions(runtime, spec, self._fence, self._note)
        self._feed: Feed | None = None
        self._transaction_seconds = 0.0
        self._answers: list[tuple[str, Answer]] = []
        self._answers_at = 0.0
        self._wake = asyncio.Event()
        self._draining = asyncio.Event()
        self._claimed_at = time.monotonic()
        self._drained_from = 0.0
        self.drained_in: float | None = None
        self._intake: Intake | None = None
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
        topics = len(group_topics(self.spec.group))
        consumer = await self._patiently(lambda: self._rt.consumers.take(topics), "connect to the bus") if topics else None
        try:
            # First everything that a dead owner left: its rows are older than anything this lane will apply.
            await self._patiently(self.publisher.empty, "publish what the last owner left")
            await self._work(consumer)
        finally:
            if consumer is not None:
                self._rt.consumers.retire(consumer)

    async def _work(self, consumer: AIOKafkaConsumer | None) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self.publisher.run())]
            if consumer is not None:
                feed = await self._begin_reading(consumer)
                helpers.append(group.create_task(feed.run()))
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

    async def _begin_reading(self, consumer: AIOKafkaConsumer) -> Feed:
        found = await self._patiently(lambda: self._positions.stand(consumer), "read the lane's positions")
        self.next_offsets.update({position.topic.name: position.next_offset for position in found})
        self._intake = Intake(consumer, found, self._rt.settings.topic_prefix, self._reseeking)
        self._intake.start()
        self._feed = Feed(self.spec.lane, self._intake, self._rt.decoders[self.spec.group.name], self._pace, self._wake)
        return self._feed

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
        await asyncio.gather(self.publisher.empty(), self._advise_once())
        self.drained_in = time.monotonic() - self._drained_from
        reached(Step.DRAINED)

    def _note(self, event: HandoverEvent, reason: str = "", seconds: float | None = None) -> None:
        self._rt.ownership.handovers.note(event, self.spec.lane, self.claim.epoch, reason, seconds=seconds)

    def _reseeking(self, found: str) -> None:
        self._note(HandoverEvent.RESEEK, found)

    # --- the one applier ---

    async def _apply_until_drained(self) -> None:
        while not self._draining.is_set():
            if await self._apply_answers() or await self._apply_timers() or await self._apply_records():
                continue
            await self._sleep_until_work()

    async def _sleep_until_work(self) -> None:
        self._wake.clear()
        if (self._feed is not None and self._feed.waits) or self._draining.is_set() or len(self._answers) >= _ANSWERS_WORTH:
            return
        due = [at for at in (self._timer_at, self._answers_at if self._answers else None) if at is not None]
        wait = max(0.0, min(due) - time.monotonic()) if due else 1.0
        try:
            async with asyncio.timeout(min(wait, 1.0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _apply_records(self) -> bool:
        feed = self._feed
        batch = feed.take() if feed is not None else None
        if feed is None or batch is None:
            return False
        try:
            await self._patiently(self._positions.check, "check what the topics are")
            await self._apply_halving(batch.inputs, batch.ends)
        except ContinuityError as error:
            await self._stand_again(feed, error)
            return True
        finally:
            feed.ask()
        self._discontinuities = 0
        self._pace.applied(len(batch.inputs), self._transaction_seconds, more=batch.more)
        for item in batch.inputs:
            if item.source is not None:
                self.next_offsets[item.source.topic] = item.source.offset + 1
        if (last := batch.inputs[-1].event) is not None:
            self.last_event_ts = last.ts_utc
        return True

    async def _stand_again(self, feed: Feed, error: ContinuityError) -> None:
        """Read again from where the store says that the lane stands; a second time in a row it is a hole."""
        self._discontinuities += 1
        if self._discontinuities > 1:
            raise BusError(Reason.GAP, str(error))
        self._reseeking(str(error))
        feed.rewind(await self._patiently(self._positions.stored, "read the lane's positions"))

    async def _apply_halving(self, inputs: Sequence[Input], ends: dict[str, int]) -> None:
        """Apply; a batch that the store refuses is halved down to the one input whose fault it is, which is parked."""
        try:
            await self._transact(inputs, ends, len(inputs))
        except RefusedByStoreError as error:
            if len(inputs) > 1:
                middle = len(inputs) // 2
                await self._apply_halving(inputs[:middle], ends)
                await self._apply_halving(inputs[middle:], ends)
                return
            inputs[0].poison = Poison(Reason.STORE_REFUSED, error.detail)
            await self._transact(inputs, ends, 1)

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
            return await self._transact(select(limit), {}, limit)
        except RefusedByStoreError as error:
            if limit > 1:
                applied = None
                for _ in range(limit):
                    applied = await self._apply_selected(select, 1) or applied
                return applied
            detail = error.detail
            return await self._transact(_poisoned(select(1), detail), {}, 1)

    async def _transact(self, inputs: Sequence[Input] | Select, ends: dict[str, int], size: int) -> Applied | None:
        carried = self.publisher.acknowledged_seq

        async def attempt() -> Applied | None:
            self.publisher.batch_under_way = True
            try:
                part = Part(self.spec, self._fence, inputs, carried, ends)
                done = await self._rt.together.apply(part, size, self.spec.group.longest_rest)
            finally:
                self.publisher.batch_under_way = False
            self._transaction_seconds = done.seconds
            return done.applied

        started = time.perf_counter()
        try:
            applied = await self._patiently(attempt, "apply a batch")
        except UnknownCommitError as unknown:
            doubt = unknown.doubts.get(self.spec.lane)
            if doubt is None:
                return None  # other lanes' shares are in doubt: of this one there was nothing to apply
            if not await self._settle_commit(doubt):
                return await self._transact(inputs, ends, size)
            # It is in, but what it did was not told: look at everything that it may have left.
            self.lane_seq = doubt.lane_seq
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

    async def _settle_commit(self, doubt: Doubt) -> bool:
        async def look() -> bool:
            async with self._rt.pool.acquire() as connection:
                return await was_committed(connection, self.spec.lane, doubt)

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

    def progress(self) -> dict[str, Any]:
        """This lane's share of /progress."""
        return {
            "epoch": self.claim.epoch,
            "lane_seq": self.lane_seq,
            "applied": self.applied_total,
            "published": self.publisher.published,
            "positions": {topic: str(offset) for topic, offset in self.next_offsets.items()},
            "lag_events": self.lag(),
            "lag_seconds": self.lag_seconds(),
            "last_event_ts_utc": self.last_event_ts,
            "calls_in_flight": self.tasks.in_flight,
        }

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

"""A worker of a service: it owns lanes, keeps its lease, hands over, and drains when it is told to stop (runtime.md, The lane)."""

import asyncio
import contextlib
import time
from typing import Any

import structlog

from laws.reasons import Reason
from spine.advising import advise
from spine.bus import BusError, find_brokers
from spine.deadline import Deadline
from spine.faults import TRANSIENT, TRANSIENT_STORE
from spine.handovers import HandoverEvent, Handovers
from spine.lane_worker import LaneWorker
from spine.lanes import lane_specs
from spine.listening import listen
from spine.outcome import FencedError, LaneStoppedError
from spine.ownership import Standing
from spine.runtime import Runtime
from spine.steps import Step, reached

_log = structlog.get_logger(__name__)

# Beats per lease: three may be lost before a lane is.
_BEATS_PER_LEASE = 4
# A lane is stopped this share of the lease before its end: what is in flight must be over when another may claim.
_SAFETY = 0.2
# For telling what became of the lanes and for disconnecting, once the last is gone: a store or a bus that is away must not keep a process.
_LAST_WORDS = 1.0


class Worker:
    """Owns lanes of one service until told to stop."""

    def __init__(self, runtime: Runtime) -> None:
        self._rt = runtime
        self._specs = {spec.lane: spec for spec in lane_specs(runtime.service)}
        self._lanes: dict[int, LaneWorker] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._standing: Standing | None = None
        self._good_until = 0.0
        self._renewal_missed = False
        self._given_up: set[int] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._handing_over: asyncio.Task[None] | None = None

    # --- what others see ---

    def not_ready(self) -> list[str]:
        """Why this worker can't do its work; empty when it can."""
        reasons = [f"{source}: {reason}" for source, reason in sorted(self._rt.warnings.items())]
        if self._stopping.is_set():
            reasons.append("draining")
        if self._standing is None:
            reasons.append("has not joined yet: the store has not answered")
        reasons += [f"lane {lane}: taking over" for lane, worker in sorted(self._lanes.items()) if not worker.ready]
        return reasons

    def progress(self) -> dict[str, Any]:
        """This worker's share of /progress."""
        for lane, worker in self._lanes.items():
            for topic, lag in worker.lag().items():
                self._rt.telemetry.lag.labels(str(lane), topic).set(lag)
        return {
            "service": self._rt.service.name,
            "worker": self._rt.worker_id,
            "owned": {str(lane): worker.progress() for lane, worker in sorted(self._lanes.items())},
            "tallies": dict(self._rt.telemetry.tallies),
        }

    def stop(self) -> None:
        """Drain and end."""
        self._stopping.set()
        self._changed.set()

    def told(self, payload: str) -> None:
        """Another worker of the service says that something changed."""
        kind, _, lane = payload.partition(":")
        if kind == "outbox" and lane.isdigit() and int(lane) in self._lanes:
            self._lanes[int(lane)].wake_publisher()
        elif kind == "lane":
            self._changed.set()

    # --- life ---

    async def run(self) -> None:
        """Own lanes until `stop`; then drain within the drain budget, release, and leave."""
        watchdog = asyncio.create_task(self._watch_lease())
        dsn = self._rt.settings.database_url.get_secret_value()
        listener = asyncio.create_task(listen(dsn, self._rt.ownership.channel, self.told, self._look_at_everything))
        recorder = asyncio.create_task(self._handovers.run())
        advisor = asyncio.create_task(advise(self._rt.watch, self._rt.service.name, self._lanes))
        keeper = asyncio.create_task(self._rt.consumers.run())
        joined = False
        try:
            while not self._stopping.is_set():
                # Before the beat, not after it: what is told while it is under way is told of a lane that it did not see.
                self._changed.clear()
                try:
                    await self._beat()
                    await find_brokers(self._rt.producer.client)
                    if not joined:
                        await self._rt.ownership.join()
                        joined = True
                    self._rt.warnings.pop("lease", None)
                except TRANSIENT as error:
                    self._rt.warnings["lease"] = f"{type(error).__name__}: {error}"
                    _log.warning("worker.beat_failed", error=f"{type(error).__name__}: {error}")
                await self._pause()
            await self._drain()
        finally:
            watchdog.cancel()
            listener.cancel()
            advisor.cancel()
            keeper.cancel()
            last_words = Deadline(_LAST_WORDS)
            await self._rt.consumers.close(last_words)
            await self._handovers.close(recorder, last_words)

    async def _pause(self) -> None:
        if self._stopping.is_set():
            return
        wait = self._rt.settings.timeouts.lease / _BEATS_PER_LEASE
        if self._standing is not None and self._standing.next_expiry is not None:
            # Also where this one has its share: a worker that died counts until then, and shares are larger from that moment on.
            wait = min(wait, max(0.02, self._standing.next_expiry + 0.01))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._changed.wait()

    async def _beat(self) -> None:
        mine = sorted(self._lanes)
        try:
            self._standing, self._good_until = await self._rt.ownership.renew(mine)
        except TRANSIENT_STORE as error:
            if not self._renewal_missed:
                self._note_all(HandoverEvent.RENEWAL_MISSED, f"{type(error).__name__}: {error}")
            self._renewal_missed = True
            raise
        self._renewal_missed = False
        reached(Step.RENEWED)
        for lane in mine:
            if lane not in self._standing.kept and lane in self._tasks:
                _log.warning("lane.lease_lost", lane=lane)
                self._note_given_up(HandoverEvent.LEASE_LOST, lane)
                self._tasks[lane].cancel()
        share = self._standing.share
        if len(self._lanes) < share:
            # A lane of this worker's own whose task has not ended yet is no free lane: two of its tasks would share one entry here.
            for claim in await self._rt.ownership.claim(share - len(self._lanes), but=list(self._tasks)):
                worker = LaneWorker(self._rt, self._specs[claim.lane], claim)
                self._lanes[claim.lane] = worker
                self._tasks[claim.lane] = asyncio.create_task(self._own(worker))
        elif len(self._lanes) > share and (self._handing_over is None or self._handing_over.done()):
            self._handing_over = asyncio.create_task(self._hand_over(len(self._lanes) - share))
        self._rt.telemetry.owned.set(len(self._lanes))

    @property
    def _handovers(self) -> Handovers:
        return self._rt.ownership.handovers

    def _note(self, event: HandoverEvent, worker: LaneWorker, reason: str = "") -> None:
        self._handovers.note(event, worker.claim.lane, worker.claim.epoch, reason)

    def _note_given_up(self, event: HandoverEvent, lane: int) -> None:
        # One row a lane, though it is cancelled again until it is gone.
        if lane not in self._given_up:
            self._given_up.add(lane)
            self._note(event, self._lanes[lane])

    def _note_all(self, event: HandoverEvent, reason: str) -> None:
        for _, worker in sorted(self._lanes.items()):
            self._note(event, worker, reason)

    async def _hand_over(self, count: int) -> None:
        """Give lanes above the fair share away, one at a time: no other lane stands still meanwhile."""
        for lane in sorted(self._lanes, reverse=True)[:count]:
            # One that is gone meanwhile, with the worker or with its lease, is given away.
            if lane in self._tasks:
                self._lanes[lane].drain()
                await asyncio.wait([self._tasks[lane]])

    async def _own(self, worker: LaneWorker) -> None:
        lane, claim = worker.spec.lane, worker.claim
        _log.info("lane.claimed", lane=lane, epoch=claim.epoch)
        release = True
        try:
            await worker.run()
        except asyncio.CancelledError:
            # The lease is over or in doubt: another may own the lane, and releasing it would take it from them.
            release = False
            raise
        except BaseException as error:
            release = await self._ended_by(worker, error)
        finally:
            self._lanes.pop(lane, None)
            self._tasks.pop(lane, None)
            self._given_up.discard(lane)
            if release:
                await self._release(worker)
            _log.info("lane.left", lane=lane, epoch=claim.epoch, lane_seq=worker.lane_seq, released=release)

    async def _ended_by(self, worker: LaneWorker, error: BaseException) -> bool:
        cause = _first_cause(error)
        lane = worker.spec.lane
        if isinstance(cause, FencedError):
            _log.warning("lane.fenced", lane=lane, epoch=worker.claim.epoch, detail=str(cause))
            self._note(HandoverEvent.FENCED, worker, str(cause))
            return False
        if isinstance(cause, BusError):
            _log.error("lane.stopped", lane=lane, reason=cause.reason, detail=str(cause))
            self._rt.warnings[f"lane {lane} stopped"] = str(cause)
            try:
                await self._rt.ownership.stop(worker.claim, str(cause))
            except TRANSIENT as store:
                # Not given back: its lease runs out, and the next owner finds the same cause.
                _log.warning("lane.stop_failed", lane=lane, error=f"{type(store).__name__}: {store}")
                return False
            return True
        if isinstance(cause, LaneStoppedError):
            _log.error("lane.stopped", lane=lane, detail=str(cause))
            self._note(HandoverEvent.STOPPED, worker, str(cause))
            return True
        _log.error("lane.failed", lane=lane, error=f"{type(cause).__name__}: {cause}", exc_info=cause)
        self._rt.warnings[f"lane {lane}"] = f"{type(cause).__name__}: {cause}"
        self._note(HandoverEvent.FAILED, worker, f"{type(cause).__name__}: {cause}")
        return True

    async def _release(self, worker: LaneWorker) -> None:
        try:
            await self._rt.ownership.release(worker.claim, worker.drained_in)
        except TRANSIENT as error:
            # The lease runs out by itself; nothing depends on this.
            _log.warning("lane.release_failed", lane=worker.spec.lane, error=str(error))

    async def _watch_lease(self) -> None:
        """A worker that can't renew stops its lanes before their lease ends, by its own monotonic clock."""
        margin = self._rt.settings.timeouts.lease * _SAFETY
        while True:
            await asyncio.sleep(margin / 4)
            if self._tasks and time.monotonic() > self._good_until - margin:
                _log.error("worker.lease_in_doubt", lanes=sorted(self._tasks), reason=Reason.LEASE_LOST)
                for lane, task in list(self._tasks.items()):
                    self._note_given_up(HandoverEvent.LEASE_IN_DOUBT, lane)
                    task.cancel()

    def _look_at_everything(self) -> None:
        for worker in list(self._lanes.values()):
            worker.wake_publisher()
        self._changed.set()

    async def _drain(self) -> None:
        deadline = Deadline(self._rt.settings.timeouts.drain)
        for worker in self._lanes.values():
            worker.drain()
        # First: a worker that counts still has its share, and the others would leave its lanes alone until the last of them is released.
        await self._leave()
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=deadline.left)
            for task in late:
                task.cancel()

    async def _leave(self) -> None:
        try:
            await self._rt.ownership.leave()
        except TRANSIENT as error:
            # It counts until its own row is over.
            _log.warning("worker.leave_failed", error=str(error))


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""One service through one schedule: workers live and die, the stream goes on, and at the end everything is quiet and audited."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

from spine.deadline import Deadline, DeadlineExceededError
from spine.steps import Step
from testkit.chaos.clock import clock_jump
from testkit.chaos.commit_proxy import CommitProxy, Cut
from testkit.chaos.engine_room import EngineRoom
from testkit.chaos.figures import Figures, stored_counts
from testkit.chaos.ground import Ground, ground
from testkit.chaos.reach import AFTER_A_CUT, ON_THE_WAY_OUT, reachable
from testkit.chaos.schedule import Kind, Move, schedule
from testkit.chaos.stream import Piece, stream
from testkit.chaos.workers import Forked, ForkServer
from testkit.workloads import Workload

FAULTS = "FP_FAULTS"

# Input comes all the time, so that every lane has something in hand at any moment: some pieces, so often.
_PIECES = 8
_PIECES_SECONDS = 0.15
# Subjects of which a part of the endless stream is made at a time: what belongs together stands within it, and all kinds do.
_SUBJECTS = 60
# A worker that has not come to its step by now is killed where it stands.
_STEP_SECONDS = 6.0
# A frozen worker sleeps so many leases: another has its lanes when it wakes.
_ASLEEP_LEASES = 1.25
_LOOK_SECONDS = 0.05
# Cuts of one worker's own wire come this far apart, so that its claim gets through between two of them.
_CUTS_SECONDS = 0.3
_AWAKE_SECONDS = 0.5
_LEAVE_SECONDS = 30.0
_TELL_SECONDS = 1.0


class Run:
    """One service's run; `slots` workers live side by side."""

    def __init__(self, place: Ground, room: EngineRoom, moves: Sequence[Move], seed: int, tries: int = 1) -> None:
        self._place = place
        self._room = room
        self._moves = list(reversed(moves))
        self._tries = dict.fromkeys(Step, tries)
        self._parts = parts_of(place.workload, seed)
        self._over = asyncio.Event()
        self._beside: set[asyncio.Task[None]] = set()
        self.figures = Figures(place.workload.service, seed, steps=len(reachable(place.service)))
        self.findings: list[str] = []

    async def play(self, slots: int) -> None:
        """All moves, then workers without a fate until everything is quiet; all of them end well.

        Raises DeadlineExceededError or TimeoutError with what is left to do.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed())
            await asyncio.gather(*(self._slot() for _ in range(slots)))
            self._over.set()
        while self._beside:
            await asyncio.gather(*self._beside)
        for _ in range(slots):
            self._place.worker()
        await self._place.settle()
        await self._place.end()
        self.findings += self._place.feeder.surprises.values()
        await self._count()

    async def _count(self) -> None:
        place, figures = self._place, self.figures
        figures.cuts = place.proxy.cuts.total()
        figures.sent, figures.records, figures.commands = place.feeder.sent, place.feeder.records, place.feeder.commands
        figures.stored = await stored_counts(place.site, place.service.name)

    async def _feed(self) -> None:
        """Input until the moves are over, and then the rest of its part: what a caller asks about comes in the same part as its asking."""
        while not self._over.is_set():
            part = next(self._parts)
            while pieces := list(islice(part, _PIECES)):
                await self._place.feeder.feed(pieces)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PIECES_SECONDS):
                        await self._over.wait()

    async def _slot(self) -> None:
        while self._moves:
            move = self._moves.pop()
            self.figures.moves[move.kind.value] += 1
            if move.step is not None:
                await self._room.up()  # while an engine is down a worker comes to few steps
            await self._make(move)

    async def _make(self, move: Move) -> None:
        if move.kind is Kind.CUT:
            self._place.proxy.order(move.cut)
        elif move.kind is Kind.BROKER:
            await self._room.kill_broker()
        elif move.kind is Kind.STORE:
            await self._room.kill_store()
        elif move.kind is Kind.JOIN:
            task = asyncio.create_task(self._leave(self._place.worker(), move.seconds))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)
        else:
            await self._live(move)

    async def _live(self, move: Move) -> None:
        if move.kind is Kind.KILL_AT and move.step is not None:
            await self._kill_at(move.step, move.nth)
        elif move.kind is Kind.KILL:
            worker = self._place.worker()
            await self._spend(worker, move.seconds)
            await self._kill(worker)
        elif move.kind is Kind.FREEZE_AT:
            out = move.step in ON_THE_WAY_OUT
            worker = self._place.worker({FAULTS: f"STOP {move.step} {1 if out else move.nth}"})
            await (self._until_owner(worker) if out else self._spend_until(worker.stopped, worker))
            await self._leave(worker, 0.0)
        elif move.kind is Kind.FREEZE:
            worker = self._place.worker()
            await self._spend(worker, move.seconds)
            await self._sleep_past_lease(worker)
            await self._leave(worker, _AWAKE_SECONDS)
        elif move.kind is Kind.CLOCK:
            await self._leave(self._place.worker(clock_jump(move.seconds / 2, move.wall, move.monotonic)), 2 * move.seconds)
        else:
            await self._leave(self._place.worker(), move.seconds)

    async def _kill_at(self, step: Step, nth: int) -> None:
        fault = f"KILL {step} {nth}"
        if step in ON_THE_WAY_OUT:
            worker = self._place.worker({FAULTS: f"KILL {step} 1"})
            await self._until_owner(worker)
            worker.send(signal.SIGTERM)
            await self._spend_until(worker.ended, worker)
        elif step in AFTER_A_CUT:
            worker = await self._cut_off(fault)
        else:
            worker = self._place.worker({FAULTS: fault})
            await self._spend_until(worker.ended, worker)
        if worker.code == -signal.SIGKILL:
            self.figures.kills_at[step] += 1
            return
        await self._kill(worker)
        self._tries[step] -= 1
        if self._tries[step] > 0:
            self._moves.insert(0, Move(Kind.KILL_AT, step=step, nth=1))

    async def _cut_off(self, fault: str) -> Forked:
        """A worker whose own wire breaks again and again, so that a COMMIT of its lanes is among them."""
        wire = CommitProxy(self._place.site.dsn(self._place.service.name))
        async with wire.relaying():
            worker = self._place.worker({FAULTS: fault}, wire)
            deadline = Deadline(_STEP_SECONDS)
            while worker.alive and not deadline.expired:
                wire.order(Cut.BEFORE)
                await self._spend(worker, _CUTS_SECONDS)
        return worker

    async def _sleep_past_lease(self, worker: Forked) -> None:
        """A worker that is stopped, or is now, wakes up when another has its lanes."""
        worker.send(signal.SIGSTOP)
        await self._spend(worker, _ASLEEP_LEASES * self._place.lease)
        worker.send(signal.SIGCONT)
        worker.stopped.clear()
        self.figures.zombies += 1

    async def _leave(self, worker: Forked, seconds: float) -> None:
        await self._spend(worker, seconds)
        worker.send(signal.SIGTERM)
        deadline = Deadline(_LEAVE_SECONDS)
        while worker.alive:
            await self._spend_until(worker.stopped, worker, deadline.left)
            if deadline.expired:
                self.findings.append(f"HANDOVER {worker.log.name} did not end within {_LEAVE_SECONDS:g} s of its SIGTERM")
                worker.send(signal.SIGUSR1)  # its log then says where its tasks stand
                await self._spend(worker, _TELL_SECONDS)
                await self._kill(worker)
                return
            if worker.stopped.is_set():
                await self._sleep_past_lease(worker)
        self.figures.handovers += worker.code == 0
        self._judge_end(worker)

    async def _kill(self, worker: Forked) -> None:
        if worker.alive:
            worker.send(signal.SIGKILL)
            await worker.gone(Deadline(_LEAVE_SECONDS))
        self.figures.kills_elsewhere += 1
        self._judge_end(worker)

    def _judge_end(self, worker: Forked) -> None:
        """A worker that ended by itself: lawful only while an engine was down, or was told to stop before it had begun."""
        # SIGTERM ends a worker as it ends any process before it has anything to drain.
        if worker.code in (0, -signal.SIGKILL, -signal.SIGTERM):
            return
        self.figures.crashes += 1
        if not self._room.troubled:
            self.findings.append(f"CRASH {worker.log.name} ended with {worker.code}")

    async def _until_owner(self, worker: Forked) -> None:
        """Returns when a worker has a lane to give back, or when it has waited for one long enough."""
        await worker.started.wait()
        deadline = Deadline(_STEP_SECONDS)
        while worker.alive and not deadline.expired:
            if await self._place.owns(worker):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    @staticmethod
    async def _spend(worker: Forked, seconds: float) -> None:
        """Lets a worker live for so long from its start; this is a time by its meaning, not a wait for something."""
        await worker.started.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await worker.ended.wait()

    @staticmethod
    async def _spend_until(event: asyncio.Event, worker: Forked, seconds: float = _STEP_SECONDS) -> None:
        await worker.started.wait()
        both = [asyncio.create_task(event.wait()), asyncio.create_task(worker.ended.wait())]
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()


def parts_of(workload: Workload, seed: int) -> Iterator[Iterator[Piece]]:
    """The endless stream of a seed, part by part; how far a run comes in it depends on how long its moves take."""
    for part in count():
        yield iter(stream(workload, seed, _SUBJECTS, first=part * _SUBJECTS))


async def run_service(
    room: EngineRoom, server: ForkServer, workload: Workload, folder: Path, *, seed: int, kills: int, slots: int
) -> tuple[Figures, list[str]]:
    """One service's whole run: figures, and findings (none when every law held)."""
    began = time.monotonic()
    async with ground(room.endpoints, server, workload, folder, seed) as place:
        moves = schedule(seed, kills, reachable(place.service))
        run = Run(place, room, moves, seed)
        try:
            await run.play(slots)
            run.findings += await place.audited()
        except (DeadlineExceededError, TimeoutError, RuntimeError) as error:
            run.findings.append(f"UNREST {type(error).__name__}: {error}")
        run.figures.seconds = time.monotonic() - began
        return run.figures, run.findings

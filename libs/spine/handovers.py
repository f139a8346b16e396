"""What became of each lane's ownership, kept for the operator in append-only rows that nothing reads back (runtime.md, The lane).

The rows of a claim, a release and a stop are written by the very statement that does it. The others are told to a `Handovers`, which
writes them beside the lanes' work: `note` never waits and never raises. While the store is away a note waits for it, with its age, so
that `at` is the database's clock all the same; it is lost with the process, or when more than `_KEPT` wait.
"""

import asyncio
import time
from collections import deque
from enum import StrEnum
from typing import NamedTuple

import asyncpg
import structlog

from spine.deadline import Deadline
from spine.faults import TRANSIENT_STORE
from spine.steps import Step, reached

_log = structlog.get_logger(__name__)

# An hour of a flapping worker with a few lanes; the store has been away for long when more wait, and the oldest say least.
_KEPT = 1000
_AT_ONCE = 100
_RETRY = 0.5


class HandoverEvent(StrEnum):
    """What can happen to a lane's ownership, in the order of a life."""

    CLAIMED = "CLAIMED"
    """Owned, under a new epoch. Its duration is how long the lane had no owner: from the release, or from the end of the lease."""
    BEGAN = "BEGAN"
    """The lane stands on a topic for the first time; the reason says where."""
    READY = "READY"
    """What the last owner left is published, the positions are read. Its duration counts from the claim."""
    RESEEK = "RESEEK"
    """Offsets did not follow one another: read again from where the lane stands."""
    RENEWAL_MISSED = "RENEWAL_MISSED"
    """The first beat of an outage that the store did not take; the lease still runs."""
    LEASE_IN_DOUBT = "LEASE_IN_DOUBT"
    """The worker could not renew and gave the lane up before its lease ended, by its own clock."""
    LEASE_LOST = "LEASE_LOST"
    """The store says that the lease was over: another may own the lane."""
    FENCED = "FENCED"
    """A write was refused: the epoch was over. A zombie met the fence."""
    STOPPED = "STOPPED"
    """Barred from every worker until an operator clears the reason."""
    FAILED = "FAILED"
    """Ended by an error that nobody expected; given back."""
    DRAINED = "DRAINED"
    """Everything in hand is applied and published. Its duration counts from the order to drain."""
    RELEASED = "RELEASED"
    """Given back: free for the next claim at once."""


class _Note(NamedTuple):
    lane: int
    epoch: int
    event: HandoverEvent
    reason: str
    duration_ms: int | None
    noted_at: float


_WRITE = """
INSERT INTO handover (lane, epoch, event, worker_id, reason, duration_ms, at)
SELECT lane, epoch, event, $1, reason, duration_ms, clock_timestamp() - make_interval(secs => age)
FROM unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::float8[]) AS g(lane, epoch, event, reason, duration_ms, age)
"""


class Handovers:
    """Writes one worker's notes."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._waiting: deque[_Note] = deque(maxlen=_KEPT)
        self._changed = asyncio.Event()
        self._closing = False

    def note(self, event: HandoverEvent, lane: int, epoch: int, reason: str = "", *, seconds: float | None = None) -> None:
        """Something became of a lane that this worker owns, or owned, under that epoch; and took that long."""
        duration = None if seconds is None else round(seconds * 1000)
        self._waiting.append(_Note(lane, epoch, event, reason, duration, time.monotonic()))
        self._changed.set()

    async def run(self) -> None:
        """Write notes until closed."""
        while not self._closing or self._waiting:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            notes = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            try:
                await self._write(notes)
            except (*TRANSIENT_STORE, OSError) as error:  # a name that can't be resolved for a moment is an OSError, no more
                _log.warning("handover.waits", notes=len(notes) + len(self._waiting), error=f"{type(error).__name__}: {error}")
                self._put_back(notes)
                await asyncio.sleep(_RETRY)
            except asyncpg.PostgresError as error:
                # These rows will never go in, and nothing depends on them: a lane must not end for them.
                _log.error("handover.lost", notes=[str(note) for note in notes], error=f"{type(error).__name__}: {error}")

    async def close(self, running: asyncio.Task[None], deadline: Deadline) -> None:
        """Let `running`, which is `run`, write what is left within the deadline."""
        self._closing = True
        self._changed.set()
        await asyncio.wait([running], timeout=deadline.left)
        running.cancel()

    def _put_back(self, notes: list[_Note]) -> None:
        # extendleft on a full deque would drop the newest instead of the oldest.
        self._waiting = deque([*notes, *self._waiting], maxlen=_KEPT)

    async def _write(self, notes: list[_Note]) -> None:
        now = time.monotonic()
        await self._pool.execute(
            _WRITE,
            self._worker_id,
            [note.lane for note in notes],
            [note.epoch for note in notes],
            [note.event.value for note in notes],
            [note.reason for note in notes],
            [note.duration_ms for note in notes],
            [now - note.noted_at for note in notes],
        )
        reached(Step.RECORDED)

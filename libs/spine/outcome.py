"""What a transaction is told and what it answers: fences, faults, and what it did."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from laws.verdicts import Verdict
from spine.db import Db
from spine.emission import Record
from spine.inputs import Input
from spine.lanes import LaneSpec


class FencedError(Exception):
    """Another worker owns the lane now: nothing was written. The lane of this worker ends."""


class LaneStoppedError(Exception):
    """The lane has a stopped_reason: nothing is applied until an operator clears it."""


class ContinuityError(Exception):
    """The batch does not start where the lane stands, or another topic stands under the name: nothing was written."""


class RefusedByStoreError(Exception):
    """The store refused an effect's data. With one input it is that input's fault; with more, halve the batch."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Doubt(NamedTuple):
    """A lane's share of a transaction of which it is unknown whether it is in."""

    lane_seq: int
    certificate: bytes
    verdicts: tuple[Verdict, ...]
    """What it said of each input, if it is in."""


class UnknownCommitError(Exception):
    """The connection went away during COMMIT: whether the transaction is in is settled, lane by lane, by `was_committed`."""

    def __init__(self, doubts: Mapping[int, Doubt]) -> None:
        super().__init__(f"commit is unknown of {', '.join(f'lane {lane} lane_seq={doubt.lane_seq}' for lane, doubt in doubts.items())}")
        self.doubts = doubts
        """By lane."""


class Fence(NamedTuple):
    """What an owner must show. A command needs none: any replica applies it, under the lane's lock all the same."""

    epoch: int
    token: bytes


Select = Callable[[Db], Awaitable[Sequence[Input]]]


class Part(NamedTuple):
    """What a transaction is asked to apply to one lane."""

    spec: LaneSpec
    fence: Fence | None
    inputs: Sequence[Input] | Select
    """Of one inlet, in order; or a function that selects them once the lane is locked."""
    acknowledged_seq: int = 0
    """The newest lane_seq whose outbox rows the bus has acknowledged: the mark rides along."""
    ends: Mapping[str, int] = MappingProxyType({})
    """How far the log of each of the lane's topics stood when these inputs were fetched."""


class CommandAnswer(NamedTuple):
    """What the caller of a command is told. `status` is 0 where no reply is stored (parked, poison, mismatch)."""

    verdict: Verdict
    status: int
    body: bytes
    reason: str

    @property
    def is_new(self) -> bool:
        """Whether this very call had the effect, rather than one before it."""
        return self.verdict is Verdict.NEW


class Applied(NamedTuple):
    """What one transaction did to one lane."""

    lane_seq: int
    verdicts: tuple[Verdict, ...]
    outbox: tuple[Record, ...]
    """What is to be published of it, in order: the bytes that the outbox has."""
    answers: tuple[CommandAnswer, ...]
    """One per input of the command inlet; empty for other inlets."""
    tasks: int
    first_due: float | None
    """Seconds until the first of the waits that it began is due; None where it began none."""
    emitted: tuple[tuple[str, str, str], ...]
    """(event type, traceparent, traceparent of its cause) of every output of a sampled trace."""

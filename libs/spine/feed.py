"""Hands a lane's applier one batch at a time: read when it has applied the last one, and has rested."""

import asyncio
from typing import NamedTuple

import structlog

from spine.claims import claimed_of, with_payloads
from spine.faults import TRANSIENT
from spine.inputs import Decoder, Input
from spine.intake import Intake
from spine.pace import Pace
from spine.steps import Step, reached

_log = structlog.get_logger(__name__)

_FETCH_WAIT_MS = 250
_FETCH_FAILURES = 10
_RETRY_AFTER = 0.2


class Batch(NamedTuple):
    """Decoded records of one fetch."""

    inputs: list[Input]
    ends: dict[str, int]
    more: bool = False
    """Whether the log held more than these."""


class Feed:
    """Reads one lane's topics."""

    def __init__(self, lane: int, intake: Intake, decoder: Decoder, pace: Pace, arrived: asyncio.Event) -> None:
        """`arrived` is set when there is a batch to take."""
        self._lane = lane
        self._intake = intake
        self._decoder = decoder
        self._pace = pace
        self._arrived = arrived
        self._asked = asyncio.Event()
        self._asked.set()
        self._batch: Batch | None = None

    async def run(self) -> None:
        """Read a batch whenever one is asked for, until cancelled. Raises BusError; TRANSIENT after too many failures in a row."""
        failures = 0
        while True:
            await self._asked.wait()
            if rest := self._pace.rest:
                await asyncio.sleep(rest)
            try:
                fetched = await self._intake.fetch(self._pace.size, _FETCH_WAIT_MS)
            except TRANSIENT as error:
                failures += 1
                _log.warning("lane.fetch_failed", lane=self._lane, error=str(error), failures=failures)
                if failures >= _FETCH_FAILURES:
                    # A client that does not recover by itself never will: the lane is given back, and claimed with a new one.
                    raise
                await asyncio.sleep(_RETRY_AFTER)
                continue
            failures = 0
            if not fetched.sources:
                continue
            reached(Step.FETCHED)
            inputs = [self._decoder.record(source) for source in fetched.sources]
            if claimed := claimed_of(inputs):
                await with_payloads(inputs, claimed, self._decoder)
            reached(Step.DECODED)
            self.hold(Batch(inputs, fetched.ends, fetched.more))

    def hold(self, batch: Batch) -> None:
        """This one is to be applied next."""
        self._asked.clear()
        self._batch = batch
        self._arrived.set()

    @property
    def waits(self) -> bool:
        """Whether there is a batch to take."""
        return self._batch is not None

    def take(self) -> Batch | None:
        """The batch that is to be applied now. The next one is read once it is asked for."""
        batch, self._batch = self._batch, None
        return batch

    def ask(self) -> None:
        """What was taken is applied, or is to be read again: read on."""
        self._asked.set()

    def rewind(self, positions: dict[str, int]) -> None:
        """Read again from these places, {topic: next offset}; what was read is forgotten."""
        self._batch = None
        self._intake.rewind(positions)

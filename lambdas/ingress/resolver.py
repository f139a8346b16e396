"""Settling rows whose holders are gone by what the log says. The next delivery of an event asks for it, and the reconciler does."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec.structs import replace

from ingress.admission_store import AdmissionTable
from ingress.batches import Ack
from ingress.bus import Bus
from ingress.dynamodb import StoreError
from ingress.row import AdmissionRow, Settlement
from ingress.steps import Step, reached


class Outcome(StrEnum):
    """What the log said of one row."""

    ADMITTED = "ADMITTED"
    """It holds the event; the row says where the lowest copy stands."""
    ABSENT = "ABSENT"
    """It does not hold it, up to the end that stood when the search began."""
    UNFINISHED = "UNFINISHED"
    """The search did not come to that end in time; the row says where the next one goes on."""
    LOST = "LOST"
    """Somebody else has changed the row meanwhile."""


class Resolution(NamedTuple):
    """The outcome for one row, and the row as it stands then as far as this process knows."""

    outcome: Outcome
    row: AdmissionRow
    looked_up_to: int


class Resolver:
    """Searches the log. Methods raise BusError and StoreError."""

    def __init__(self, table: AdmissionTable, bus: Bus, now_ms: Callable[[], int]) -> None:
        self._table = table
        self._bus = bus
        self._now_ms = now_ms

    async def resolve(self, rows: Sequence[AdmissionRow], within_s: float) -> list[Resolution]:
        """One outcome a row, in their order. All rows are of one partition, which is read once for them."""
        place = self._bus.place(rows[0].topic, rows[0].partition)
        found = await self._bus.search(rows[0].topic, rows[0].partition, rows, within_s)
        reached(Step.SEARCHED)
        resolutions = []
        for row in rows:
            # A recreated topic: what is found stands in the one that is there now.
            here = replace(row, cluster_id=place.cluster_id, topic_id=place.topic_id.bytes)
            copies = found.copies.get(row.dedupe_key)
            if copies is not None:
                resolutions.append(await self._settle(here, copies, found.looked_up_to))
            elif found.complete:
                resolutions.append(Resolution(Outcome.ABSENT, here, found.looked_up_to))
            else:
                await self._table.advance(row, found.looked_up_to)
                resolutions.append(Resolution(Outcome.UNFINISHED, here, found.looked_up_to))
        return resolutions

    async def _settle(self, row: AdmissionRow, copies: Sequence[Ack], looked_up_to: int) -> Resolution:
        first = min(copies)
        [admitted] = await self._table.admit([Settlement(row, first.offset, first.timestamp_ms, self._now_ms())])
        if isinstance(admitted, StoreError):
            raise admitted
        if admitted is None:
            return Resolution(Outcome.LOST, row, looked_up_to)
        reached(Step.RESOLVED)
        for other in copies:
            if other.offset != first.offset:
                await self._table.note_second_copy(row, other.offset)
        return Resolution(Outcome.ADMITTED, admitted, looked_up_to)

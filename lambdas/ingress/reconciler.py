"""Brings to an end what a handler left behind: rows in flight or ambiguous whose leases are over (domain.md 2.8, the known hole).

Found in the log: ADMITTED with the lowest offset. Not found: RELEASED, and the producer's retry publishes. A handler that thaws after that
has lost its row; what it still appends is a second copy, which every consumer drops by its identity.
"""

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from ingress.admission_store import AdmissionTable
from ingress.bus import Bus, BusError
from ingress.dynamodb import StoreError
from ingress.letters import DECODER
from ingress.logs import log
from ingress.resolver import Outcome, Resolver
from ingress.row import UNSETTLED, AdmissionRow
from ingress.steps import Step, reached

# Rows that are looked for in one reading of their partitions. Their keys and marks are all that is kept of them: about 1 MB.
_ROWS = 1000
# One reading of one partition. What it does not reach is kept in the rows, so the next one goes on from there.
SEARCH_S = 60.0


class Reconciler:
    """Settles rows for as long as nobody else does. Many at once do no harm: every write is fenced by the row's holder."""

    def __init__(
        self, table: AdmissionTable, bus: Bus, now: Callable[[], float] = time.time, *, rows: int = _ROWS, search_s: float = SEARCH_S
    ) -> None:
        self._table = table
        self._bus = bus
        self._now = now
        self._resolver = Resolver(table, bus, self._now_ms)
        self._rows = rows
        self._search_s = search_s

    async def sweep(self) -> Counter[str]:
        """Settles every row whose lease is over; how many ended how. Raises StoreError or BusError where it could not look."""
        counts: Counter[str] = Counter()
        async for rows in self._in_portions(self._table.unsettled(self._now_ms())):
            counts.update((await self._settle(rows)).values())
        if counts:
            log.info("reconciled", **counts)
        return counts

    async def drain(self, messages: Sequence[Mapping[str, Any]]) -> list[str]:
        """Settles what letters tell of; the ids of the messages that have to come again (Lambda's partial batch answer).

        A row whose lease still runs comes again, and a message that is no letter goes on to the queue's own redrive.
        """
        again: list[str] = []
        waiting: dict[str, list[str]] = {}
        rows: list[AdmissionRow] = []
        for message in messages:
            number = str(message["messageId"])
            try:
                key = DECODER.decode(message["body"]).dedupe_key
                row = await self._table.standing(key)
            except (msgspec.DecodeError, StoreError) as error:
                log.warning("letter_failed", message_id=number, cause=str(error))
                again.append(number)
                continue
            if row is None or row.state not in UNSETTLED:
                continue
            if row.lease_until_ms is not None and row.lease_until_ms >= self._now_ms():
                again.append(number)
            else:
                rows += [] if key in waiting else [row]
                waiting.setdefault(key, []).append(number)
        try:
            ended = await self._settle(rows)
        except (BusError, StoreError) as error:
            log.warning("letters_wait", letters=len(rows), cause=str(error))
            ended = {}
        for key, numbers in waiting.items():
            if ended.get(key, Outcome.UNFINISHED) is Outcome.UNFINISHED:
                again += numbers
        return again

    def _now_ms(self) -> int:
        return int(self._now() * 1000)

    async def _settle(self, rows: Sequence[AdmissionRow]) -> dict[str, Outcome]:
        await self._bus.ensure()
        of_place: defaultdict[tuple[str, int], list[AdmissionRow]] = defaultdict(list)
        for row in rows:
            of_place[row.topic, row.partition].append(row)
        ended: dict[str, Outcome] = {}
        for there in of_place.values():
            for resolution in await self._resolver.resolve(there, self._search_s):
                outcome = resolution.outcome
                if outcome is Outcome.ABSENT:
                    if await self._table.release(resolution.row, resolution.looked_up_to):
                        reached(Step.RELEASED)
                    else:
                        outcome = Outcome.LOST
                ended[resolution.row.dedupe_key] = outcome
        return ended

    async def _in_portions(self, found: AsyncIterator[AdmissionRow]) -> AsyncIterator[list[AdmissionRow]]:
        rows: list[AdmissionRow] = []
        async for row in found:
            rows.append(row)
            if len(rows) == self._rows:
                yield rows
                rows = []
        if rows:
            yield rows

"""The admission rows in this process, for measuring the edge where the emulator of the store would be what is measured.

DynamoDB Local makes 2,000 conditional puts a second, on the cores that the edge needs (engines.md). The verdicts are the same as of
`ingress.admission_store`; what is lost is what a process loses. Settings refuse it on every rung but local_parity.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from ingress.dynamodb import StoreError
from ingress.row import UNSETTLED, AdmissionRow, Settlement, State


class MemoryTable:
    """Admission rows by their keys. No method waits, so every one is atomic; none fails."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._rows: dict[str, AdmissionRow] = {}
        self._open: set[str] = set()
        """Keys of rows that are not admitted: a sweep looks at them alone, not at the millions that are."""
        self._now = now

    async def claim(self, rows: Sequence[AdmissionRow]) -> list[AdmissionRow | StoreError]:
        """As AdmissionTable says."""
        self._expire()
        standing: list[AdmissionRow | StoreError] = [self._rows.setdefault(row.dedupe_key, row) for row in rows]
        self._open.update(row.dedupe_key for row, stands in zip(rows, standing, strict=True) if stands is row)
        return standing

    async def admit(self, settlements: Sequence[Settlement]) -> list[AdmissionRow | StoreError | None]:
        """As AdmissionTable says."""
        return [self._admit(settlement) for settlement in settlements]

    async def mark_ambiguous(self, row: AdmissionRow) -> None:
        """As AdmissionTable says."""
        standing = self._held(row)
        if standing is not None:
            self._rows[row.dedupe_key] = replace(standing, state=State.PUBLISH_AMBIGUOUS)

    async def take_over(self, row: AdmissionRow, owner: bytes, until_ms: int) -> AdmissionRow | None:
        """As AdmissionTable says."""
        standing = self._held(row)
        if standing is None or standing.attempt is None:
            return None
        attempt = standing.attempt + 1
        taken = replace(row, state=State.PUBLISH_IN_FLIGHT, attempt=attempt, lease_owner=owner, lease_until_ms=until_ms)
        self._rows[row.dedupe_key] = taken
        return taken

    async def note_second_copy(self, row: AdmissionRow, offset: int) -> None:
        """As AdmissionTable says."""
        standing = self._rows.get(row.dedupe_key)
        if standing is not None:
            copies = tuple(sorted({*standing.second_copies, offset}))
            self._rows[row.dedupe_key] = replace(standing, second_copies=copies)

    async def release(self, row: AdmissionRow, low_water: int) -> bool:
        """As AdmissionTable says."""
        standing = self._held(row)
        if standing is None:
            return False
        self._rows[row.dedupe_key] = replace(standing, state=State.RELEASED, low_water=low_water, lease_owner=None, lease_until_ms=None)
        return True

    async def advance(self, row: AdmissionRow, low_water: int) -> None:
        """As AdmissionTable says."""
        standing = self._held(row)
        if standing is not None:
            self._rows[row.dedupe_key] = replace(standing, low_water=low_water)

    async def unsettled(self, before_ms: int) -> AsyncIterator[AdmissionRow]:
        """As AdmissionTable says."""
        for row in [self._rows[key] for key in self._open]:
            if row.state in UNSETTLED and row.lease_until_ms is not None and row.lease_until_ms < before_ms:
                yield row

    async def standing(self, dedupe_key: str) -> AdmissionRow | None:
        """As AdmissionTable says."""
        return self._rows.get(dedupe_key)

    def _admit(self, settlement: Settlement) -> AdmissionRow | None:
        if self._held(settlement.row) is None:
            return None
        settled = self._rows[settlement.row.dedupe_key] = settlement.settled()
        self._open.discard(settlement.row.dedupe_key)
        return settled

    def _held(self, row: AdmissionRow) -> AdmissionRow | None:
        standing = self._rows.get(row.dedupe_key)
        if standing is None or standing.state is State.ADMITTED:
            return None
        return standing if (standing.lease_owner, standing.attempt) == (row.lease_owner, row.attempt) else None

    def _expire(self) -> None:
        """Rows are in the order in which they were put, and live equally long: those that are over stand first."""
        now = self._now()
        while self._rows:
            first = next(iter(self._rows))
            if self._rows[first].ttl_epoch > now:
                return
            del self._rows[first]
            self._open.discard(first)

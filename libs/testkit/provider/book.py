"""The provider's book: what became of each idempotency key. One outcome per key, ever."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testkit.provider.journal import AttemptLine, Journal, JournalDamagedError, Line, OutcomeLine, replay


class KeyReusedError(Exception):
    """An idempotency key came with another body than the first time."""


@dataclass(slots=True)
class _Entry:
    body_digest: str
    attempts: int = 0
    outcome: OutcomeLine | None = None
    settling: asyncio.Task[None] | None = None
    """Writes the outcome; what it raises says why there is none."""
    in_work: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Book:
    """Keys, their attempts and their outcomes, kept for ever in memory and in the journal."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, _Entry] = {}
        self._effects: list[OutcomeLine] = []
        self.counts: Counter[str] = Counter()
        """Outcomes by status, and submits as ATTEMPTS."""
        for line in replay(path):
            self._restore(line)
        self._journal = Journal(path)

    def begin(self, key: str, body_digest: str) -> int:
        """Counts a submit and returns its number, from 1. Each begin() needs one end().

        Raises KeyReusedError if the key belongs to another body; such a submit does not count.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(body_digest)
        elif entry.body_digest != body_digest:
            raise KeyReusedError(key)
        entry.attempts += 1
        entry.in_work += 1
        entry.idle.clear()
        self.counts["ATTEMPTS"] += 1
        self._journal.note(AttemptLine(key, body_digest))
        return entry.attempts

    def end(self, key: str) -> None:
        """The submit is over, whatever came of it."""
        entry = self._entries[key]
        entry.in_work -= 1
        if entry.in_work == 0:
            entry.idle.set()

    async def settle(self, wanted: Sequence[OutcomeLine]) -> list[OutcomeLine | OSError]:
        """Makes each wanted outcome the outcome of its key, unless it has one; what holds for each, in their order, once it is durable.

        However many callers come at a time, the first one's outcome is written and all get it. Where the disk refuses, its error
        stands in the place of an outcome; then the key has none yet.
        """
        fresh: dict[str, OutcomeLine] = {}
        for each in wanted:
            entry = self._entries[each.key]
            if entry.outcome is None and entry.settling is None:
                fresh.setdefault(each.key, each)
        if fresh:
            # Appended here and not in the task: their attempts were noted just now, and go to the disk together with them.
            writing = asyncio.create_task(self._write(list(fresh.values()), self._journal.append(*fresh.values())))
            for key in fresh:
                self._entries[key].settling = writing
        # Who settles each, before the first of them is waited for: one that has failed is nobody's any more.
        settling = [(entry, entry.settling) for entry in (self._entries[each.key] for each in wanted)]
        return [await _settled(entry, by) for entry, by in settling]

    async def outcome(self, key: str) -> OutcomeLine | None:
        """What became of a key, after all submits of it that have arrived are over; None if nothing did."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.in_work:
            await entry.idle.wait()
        return entry.outcome

    def effects(self, after: int, limit: int) -> list[tuple[int, OutcomeLine]]:
        """Effects in order, numbered from 1, those with a number greater than `after`."""
        return list(enumerate(self._effects[after : after + limit], after + 1))

    @property
    def writable(self) -> bool:
        """Whether new outcomes can be made durable."""
        return self._journal.failure is None

    async def close(self) -> None:
        """Makes everything durable."""
        await self._journal.close()

    async def _write(self, wanted: Sequence[OutcomeLine], durable: asyncio.Future[None]) -> None:
        try:
            await durable
        finally:
            for each in wanted:
                self._entries[each.key].settling = None
        for each in wanted:
            self._keep(self._entries[each.key], each)

    def _keep(self, entry: _Entry, outcome: OutcomeLine) -> None:
        entry.outcome = outcome
        self.counts[outcome.status] += 1
        if outcome.status == "EXECUTED":
            self._effects.append(outcome)

    def _restore(self, line: Line) -> None:
        if isinstance(line, AttemptLine):
            entry = self._entries.setdefault(line.key, _Entry(line.body_digest))
            entry.attempts += 1
            self.counts["ATTEMPTS"] += 1
            return
        owner = self._entries.get(line.key)
        if owner is None or owner.outcome is not None:
            raise JournalDamagedError(f"a second outcome, or one without a submit, for key {line.key}")
        self._keep(owner, line)


async def _settled(entry: _Entry, by: asyncio.Task[None] | None) -> OutcomeLine | OSError:
    if entry.outcome is None and by is not None:
        try:
            await asyncio.shield(by)
        except OSError as error:
            return error
    assert entry.outcome is not None  # whoever has no outcome is being settled, and settling raises what it can't do
    return entry.outcome

"""Which inputs of a transaction are new: identities against the inbox and against each other (runtime.md, The transaction, judge)."""

from collections.abc import Mapping, Sequence

import asyncpg

from laws.reasons import Reason
from laws.verdicts import Verdict
from spine import sql
from spine.columns import shared_parts
from spine.db import Db
from spine.judged import Judged


class Judging:
    """Judges the inputs of one transaction, of all its lanes, and writes the new ones to the inbox under the stamps of their lanes."""

    def __init__(self, connection: Db, judged: Sequence[Judged]) -> None:
        self._connection = connection
        self._judged = judged

    async def judge(self, numbers: Mapping[str, int]) -> None:
        """Give every input its verdict. `numbers`: those of the registered runs, by name."""
        firsts: dict[tuple[int, int, bytes], Judged] = {}
        later: list[Judged] = []
        for judged in self._judged:
            item = judged.item
            if item.cause is not None:
                item.run_no = numbers.get(item.cause.correlation.platform_run_id)
            if item.event is None:
                continue
            run_no = judged.run_no = item.run_no
            if item.identified:
                continue
            if run_no is None:
                run = item.event.identity.platform_run_id
                judged.park(Reason.RUN_UNKNOWN, f"platform_run_id={run} is not registered here", holds_key=False)
                continue
            first = firsts.setdefault((run_no, judged.class_no, judged.event_id), judged)
            if first is not judged:
                judged.first = first
                later.append(judged)
        if firsts:
            await self._dedupe(firsts)
        for judged in later:
            _against_first(judged)

    def known_before(self) -> list[Judged]:
        """The duplicates of what earlier transactions took: theirs are the replies of that time.

        Also where the first of their identity in this batch carries another payload: that one is refused, and nobody's answer.
        """
        return [
            judged
            for judged in self._judged
            if judged.verdict is Verdict.DUPLICATE and (judged.first is None or judged.first.verdict is not Verdict.NEW)
        ]

    async def _dedupe(self, firsts: Mapping[tuple[int, int, bytes], Judged]) -> None:
        asked = list(firsts.values())
        at, shared = shared_parts((judged.run_no, judged.class_no, *judged.item.place[:2], *judged.stamp) for judged in asked)
        rows = await self._connection.fetch(
            sql.DEDUPE,
            *shared(7),
            at,
            [judged.event_id for judged in asked],
            [judged.payload_hash for judged in asked],
            [judged.item.place[2] for judged in asked],
        )
        if len(rows) == len(asked):
            return
        fresh = set(map(tuple, rows))
        known = [judged for identity, judged in firsts.items() if identity not in fresh]
        for judged in known:
            # Neither new nor, by that statement's snapshot, known for certain: it may have been committed meanwhile.
            judged.verdict = Verdict.LOOK_AGAIN
        await self._look_again(known)

    async def _look_again(self, known: list[Judged]) -> None:
        rows = await self._connection.fetch(
            sql.FIRST_SIGHT,
            list(range(len(known))),
            [judged.run_no for judged in known],
            [judged.class_no for judged in known],
            [judged.event_id for judged in known],
        )
        for row in rows:
            judged = known[row["ord"]]
            if row["state"] != "OPEN":
                judged.park(Reason.CLOSED_RUN, f"platform_run_id={judged.identity.platform_run_id} is closed", holds_key=False)
            elif row["first_hash"] is not None:
                judged.compare(row)
        if left := [judged.identity for judged in known if judged.verdict is Verdict.LOOK_AGAIN]:
            # A conflicting row that a second snapshot still can't see does not exist: retry the batch rather than guess.
            raise asyncpg.SerializationError(f"identities {left} conflict with rows that cannot be seen; apply the batch again")


def _against_first(judged: Judged) -> None:
    first = judged.first
    if first is None:
        raise ValueError(f"input {judged.item.ref} is the first of its identity: there is nothing before it")
    if first.verdict is Verdict.PARKED and not first.identified:
        judged.park(first.reason or Reason.RUN_UNKNOWN, first.detail, holds_key=False)
        return
    known = first.first_hash if first.first_hash is not None else first.payload_hash
    judged.first_hash = known
    judged.first_place = first.first_place if first.first_hash is not None else first.item.place
    judged.verdict = Verdict.DUPLICATE if judged.payload_hash == known else Verdict.MISMATCH

"""Which inputs of a transaction are new: identities against the inbox and against each other (runtime.md, The transaction, judge)."""

from collections.abc import Mapping, Sequence

import asyncpg

from laws.reasons import Reason
from laws.verdicts import Verdict
from spine import sql
from spine.db import Db
from spine.judged import Judged
from spine.writes import shared_parts


class Judging:
    """Judges the inputs of one transaction of a lane, which it writes to the inbox under (lane, lane_seq, epoch)."""

    def __init__(self, connection: Db, lane: int, lane_seq: int, epoch: int, judged: Sequence[Judged]) -> None:
        self._connection = connection
        self._lane = lane
        self._lane_seq = lane_seq
        self._epoch = epoch
        self._judged = judged

    async def judge(self, numbers: Mapping[str, int]) -> None:
        """Give every input its verdict. `numbers`: those of the registered runs, by name."""
        firsts: dict[tuple[int, int, bytes], int] = {}
        asked: list[tuple[int, Judged]] = []
        later: list[Judged] = []
        for i, judged in enumerate(self._judged):
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
            key = (run_no, judged.class_no, judged.event_id)
            first = firsts.setdefault(key, i)
            if first == i:
                asked.append((i, judged))
            else:
                judged.first_index = first
                later.append(judged)
        if asked:
            await self._dedupe(asked)
        for judged in later:
            self._against_first(judged)

    def known_before(self) -> list[Judged]:
        """The duplicates of what earlier transactions took: theirs are the replies of that time.

        Also where the first of their identity in this batch carries another payload: that one is refused, and nobody's answer.
        """
        return [judged for judged in self._judged if judged.verdict is Verdict.DUPLICATE and not self._repeats_a_new_one(judged)]

    def _repeats_a_new_one(self, judged: Judged) -> bool:
        return judged.first_index >= 0 and self._judged[judged.first_index].verdict is Verdict.NEW

    async def _dedupe(self, asked: list[tuple[int, Judged]]) -> None:
        at, shared = shared_parts((judged.run_no, judged.class_no, *judged.item.place[:2]) for _, judged in asked)
        rows = await self._connection.fetch(
            sql.DEDUPE,
            *shared(4),
            at,
            [judged.event_id for _, judged in asked],
            [judged.payload_hash for _, judged in asked],
            [judged.item.place[2] for _, judged in asked],
            self._lane,
            self._lane_seq,
            self._epoch,
        )
        if len(rows) == len(asked):
            return
        fresh = set(map(tuple, rows))
        known = [(i, judged) for i, judged in asked if (judged.run_no, judged.class_no, judged.event_id) not in fresh]
        for _, judged in known:
            # Neither new nor, by that statement's snapshot, known for certain: it may have been committed meanwhile.
            judged.verdict = Verdict.LOOK_AGAIN
        await self._look_again(known)

    async def _look_again(self, known: list[tuple[int, Judged]]) -> None:
        rows = await self._connection.fetch(
            sql.FIRST_SIGHT,
            [i for i, _ in known],
            [judged.run_no for _, judged in known],
            [judged.class_no for _, judged in known],
            [judged.event_id for _, judged in known],
        )
        for row in rows:
            judged = self._judged[row["ord"]]
            if row["state"] != "OPEN":
                judged.park(Reason.CLOSED_RUN, f"platform_run_id={judged.identity.platform_run_id} is closed", holds_key=False)
            elif row["first_hash"] is not None:
                judged.compare(row)
        if left := [judged.identity for _, judged in known if judged.verdict is Verdict.LOOK_AGAIN]:
            # A conflicting row that a second snapshot still can't see does not exist: retry the batch rather than guess.
            raise asyncpg.SerializationError(f"identities {left} conflict with rows that cannot be seen; apply the batch again")

    def _against_first(self, judged: Judged) -> None:
        first = self._judged[judged.first_index]
        if first.verdict is Verdict.PARKED and not first.identified:
            judged.park(first.reason or Reason.RUN_UNKNOWN, first.detail, holds_key=False)
            return
        known = first.first_hash if first.first_hash is not None else first.payload_hash
        judged.first_hash = known
        judged.first_place = first.first_place if first.first_hash is not None else first.item.place
        judged.verdict = Verdict.DUPLICATE if judged.payload_hash == known else Verdict.MISMATCH

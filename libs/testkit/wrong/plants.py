"""The same variants on the real spine: patches of this process, for negative controls. A plant that finds nothing to patch says so.

A negative control whose plant silently missed its target would pass for ever: each plant checks that what it replaces is there.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.structs import ConsumerRecord

from laws.verdicts import Verdict
from spine import commands, lane_worker, ownership, publisher, sql, tasks, transaction
from spine.db import Db
from spine.flushing import Flushing
from spine.inputs import Source
from spine.intake import Intake
from spine.judging import Judging
from spine.outcome import Doubt, Part
from spine.share import Share
from testkit.wrong import Wrong


class NothingToPlantError(Exception):
    """The code does not have what the plant takes away."""


Put = Callable[[Any, str, Any], None]
"""Sets an attribute of a class or a module."""


def plant(wrong: Wrong, put: Put = setattr) -> None:
    """Leave the rule out, in this process; for ever, or for as long as `put` keeps it so."""

    def checked(owner: Any, name: str, value: Any) -> None:
        if not hasattr(owner, name):
            raise NothingToPlantError(f"{owner.__name__} has no {name}")
        put(owner, name, value)

    _PLANTS[wrong](checked)


def _without(statement: str, rule: str, instead: str) -> str:
    if statement.count(rule) != 1:
        raise NothingToPlantError(f"{rule!r} is in the statement {statement.count(rule)} times")
    return statement.replace(rule, instead)


def _dedupe_outside(put: Put) -> None:
    inside = Judging._dedupe

    async def dedupe(self: Any, asked: Any) -> None:
        connection = self._connection
        # Another connection of the same pool: what it inserts is committed with the statement.
        async with connection._holder._pool.acquire() as apart:
            self._connection = apart
            try:
                await inside(self, asked)
            finally:
                self._connection = connection

    put(Judging, "_dedupe", dedupe)


def _gaps_allowed(put: Put) -> None:
    strict: Callable[[Intake, str, list[ConsumerRecord]], list[Source]] = Intake._contiguous
    put(sql, "CLOSE", _without(sql.CLOSE, "p.next_offset = g.start AND ", "p.next_offset <= g.start AND "))

    def contiguous(self: Intake, name: str, records: list[ConsumerRecord]) -> list[Source]:
        taken: list[Source] = []
        for record in records:
            self._next[name] = record.offset
            taken += strict(self, name, [record])
        return taken

    def start(self: Intake) -> None:
        self._consumer.assign(list(self._partitions.values()))
        for name, partition in self._partitions.items():
            # The client's own trouble after an assignment: a lane that goes on is handed the record after the next one.
            self._consumer.seek(partition, self._next[name] + (1 if self._next[name] else 0))

    put(Intake, "_contiguous", contiguous)
    put(Intake, "start", start)


def _mark_without_epoch(put: Put) -> None:
    anyone = _without(publisher._MARK, "epoch = $2 AND token = $3", "$2::bigint IS NOT NULL AND $3::bytea IS NOT NULL")
    put(publisher, "_MARK", anyone)


def _mark_past_unacknowledged(put: Put) -> None:
    send = publisher.Publisher._send

    async def unacknowledged(self: publisher.Publisher, rows: Any) -> "list[asyncio.Future[Any]]":
        # The send itself goes on: it is only waited for by nobody.
        await send(self, rows)
        return []

    put(publisher.Publisher, "_send", unacknowledged)


def _plain_read(put: Put) -> None:
    async def was_committed(connection: Db, lane: int, doubt: Doubt) -> bool:
        stored = await connection.fetchval("SELECT hash FROM certificate WHERE lane = $1 AND lane_seq = $2", lane, doubt.lane_seq)
        return bool(stored == doubt.certificate)

    for module in (transaction, lane_worker, commands):
        put(module, "was_committed", was_committed)


def _publish_before_commit(put: Put) -> None:
    publishers: dict[int, publisher.Publisher] = {}
    begin, flush = publisher.Publisher.__init__, Flushing.outbox

    def remember(self: publisher.Publisher, pool: Any, producer: Any, claim: ownership.Claim, topic_prefix: str) -> None:
        begin(self, pool, producer, claim, topic_prefix)
        publishers[claim.lane] = self

    async def early(self: Flushing) -> None:
        await flush(self)
        for share in self._shares:
            if share.lane in publishers:
                await publishers[share.lane]._send([row.record for row, _ in share.writes.outbox])

    put(publisher.Publisher, "__init__", remember)
    put(Flushing, "outbox", early)


def _lease_trusted(put: Put) -> None:
    fenced = Share.__init__

    def trusting(self: Share, law: Any, part: Part, lane: Any, at: Any, shared: Any) -> None:
        # A worker that trusts its lease writes the epoch that it remembers.
        if part.fence is not None:
            lane = {**dict(lane), "epoch": part.fence.epoch, "token": part.fence.token}
        fenced(self, law, part, lane, at, shared)

    put(Share, "__init__", trusting)


def _task_write_unfenced(put: Put) -> None:
    anyone = _without(tasks._AGAIN, "epoch = $2 AND token = $3 FOR SHARE", "$2::bigint IS NOT NULL AND $3::bytea IS NOT NULL")
    put(tasks, "_AGAIN", anyone)


def _lost_commit_is_new(put: Put) -> None:
    put(Share, "verdicts", property(lambda self: (Verdict.NEW,) * len(self.judged)))


_PLANTS: dict[Wrong, Callable[[Put], None]] = {
    Wrong.DEDUPE_OUTSIDE_TRANSACTION: _dedupe_outside,
    Wrong.GAPS_ALLOWED: _gaps_allowed,
    Wrong.MARK_WITHOUT_EPOCH: _mark_without_epoch,
    Wrong.MARK_PAST_UNACKNOWLEDGED: _mark_past_unacknowledged,
    Wrong.PLAIN_READ_AFTER_LOST_COMMIT: _plain_read,
    Wrong.PUBLISH_BEFORE_COMMIT: _publish_before_commit,
    Wrong.LEASE_TRUSTED: _lease_trusted,
    Wrong.TASK_WRITE_UNFENCED: _task_write_unfenced,
    Wrong.LOST_COMMIT_IS_NEW: _lost_commit_is_new,
}

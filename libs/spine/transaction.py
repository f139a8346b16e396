"""The law: one transaction for identity, effects, outbox, certificate and position (runtime.md, The transaction)."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from laws.headers import Provenance, is_sampled
from laws.ids import snapshot_hash
from laws.reasons import Reason
from laws.times import format_instant
from laws.verdicts import Verdict
from spine import sql
from spine.certificates import VERDICT_LETTERS, Certificate, certificate_hash, digest_of
from spine.db import Db
from spine.emission import Emitter
from spine.faults import CONNECTION_FAULTS
from spine.inputs import SOURCE_DECODER, SOURCE_ENCODER, Decoder, Inlet, Input, Poison, ranges_of, reads_of
from spine.judged import Judged
from spine.judging import Judging
from spine.lanes import LaneSpec
from spine.outcome import (
    Applied,
    CommandAnswer,
    ContinuityError,
    Fence,
    FencedError,
    LaneStoppedError,
    RefusedByStoreError,
    Select,
    UnknownCommitError,
)
from spine.scheduled import encode_call
from spine.service import Anomaly, Append, Call, Cause, Effect, Emit, Put, Read, Reads, ReadWaits, Reply, Settle, Task, Wait, Waiting
from spine.steps import Step, reached
from spine.tables import Table
from spine.turn import IllegalEffectError, Turn, Versioned, wait_ref
from spine.writes import Writes

# SQLSTATE classes that are about the data of an effect: 22 data exception, 23 integrity constraint violation.
_DATA_FAULTS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Law:
    """Applies inputs to the lanes of one service."""

    def __init__(
        self,
        service: str,
        emitter: Emitter,
        provenance: Provenance,
        provenance_id: int,
        decoders: Mapping[str, Decoder],
        tasks: Mapping[str, Task],
    ) -> None:
        self.service = service
        self.emitter = emitter
        self.provenance = provenance
        self.provenance_id = provenance_id
        self.decoders = decoders
        self.tasks = tasks
        self._run_numbers: dict[str, int] = {}

    async def apply(
        self,
        connection: Db,
        spec: LaneSpec,
        fence: Fence | None,
        inputs: Sequence[Input] | Select,
        *,
        acknowledged_seq: int = 0,
        ends: Mapping[str, int] | None = None,
        notify: tuple[str, str] | None = None,
        at: datetime | None = None,
    ) -> Applied | None:
        """Apply inputs of one inlet to a lane, in order, in one transaction of this connection.

        `inputs` may be a function that selects them once the lane is locked; None is returned where it finds none.
        `acknowledged_seq` is the newest lane_seq whose outbox rows the bus has acknowledged: the mark rides along. `ends` says, per topic
        of the lane, how far the log stood when these inputs were fetched. `notify` (channel, payload) tells the lane's owner, with the
        commit, that there is something to publish. `at` is the time of the transaction where it is a replay's; the database's otherwise.
        """
        transaction = connection.transaction()
        await transaction.start()
        reached(Step.TX_BEGUN)
        try:
            turn = _Apply(self, connection, spec, ends or {}, at)
            certificate = await turn.run(fence, inputs, acknowledged_seq)
            if certificate is None:
                await transaction.rollback()
                return None
            if notify is not None:
                await connection.execute("SELECT pg_notify($1, $2)", *notify)
            reached(Step.BEFORE_COMMIT)
        except _DATA_FAULTS as error:
            await transaction.rollback()
            raise RefusedByStoreError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        try:
            await transaction.commit()
        except CONNECTION_FAULTS as error:
            raise UnknownCommitError(turn.lane_seq, certificate, turn.verdicts) from error
        reached(Step.COMMITTED)
        return turn.applied()

    def versions_of(self, spec: LaneSpec, table: Table[Any], keys: Sequence[tuple[Any, ...]], found: list[Versioned]) -> list[Versioned]:
        """The rows of `keys` that handlers may read of a table; those in the store, as they stand."""
        return found

    async def run_numbers(self, connection: Db, names: set[str]) -> dict[str, int]:
        """Numbers of the registered runs among `names`; numbers never change, so they are kept."""
        if missing := names - self._run_numbers.keys():
            rows = await connection.fetch(sql.RUNS, sorted(missing))
            self._run_numbers.update((row["platform_run_id"], row["run_no"]) for row in rows)
        return {name: self._run_numbers[name] for name in names if name in self._run_numbers}


async def was_committed(connection: Db, lane: int, unknown: UnknownCommitError) -> bool:
    """Whether a transaction whose COMMIT was not answered is in.

    Takes the lane's row lock: a plain read can still show the state before a commit that is under way (runtime.md, finding 11).
    """
    async with connection.transaction():
        await connection.fetchrow(sql.LOCK_LANE, lane)
        stored = await connection.fetchval("SELECT hash FROM certificate WHERE lane = $1 AND lane_seq = $2", lane, unknown.lane_seq)
        return bool(stored == unknown.certificate)


class _Apply:
    """One transaction's work; see `Law.apply`."""

    def __init__(self, law: Law, connection: Db, spec: LaneSpec, ends: Mapping[str, int], at: datetime | None) -> None:
        self._law = law
        self._connection = connection
        self._spec = spec
        self._ends = ends
        self._given_at = at
        self._inputs: Sequence[Input] = ()
        self._judged: list[Judged] = []
        self._held: set[bytes] = set()
        self._stuck: set[bytes] = set()
        self._stored_replies: dict[int, tuple[int, bytes]] = {}
        self._released: list[tuple[int, int]] = []
        self.lane_seq = 0
        self._writes: Writes
        self._at: datetime

    async def run(self, fence: Fence | None, inputs: Sequence[Input] | Select, acknowledged_seq: int) -> bytes | None:
        """Everything between BEGIN and COMMIT; the certificate's hash, or None where there is nothing to apply."""
        lane = await self._lock(fence)
        reached(Step.LANE_LOCKED)
        self._inputs = await inputs(self._connection) if callable(inputs) else inputs
        if not self._inputs:
            return None
        self._judged = [Judged(item) for item in self._inputs]
        self._at = at = self._given_at or lane["at"]
        self._writes = Writes(self._connection, self._spec.lane, self.lane_seq, lane["epoch"], self._law.provenance_id, at)
        if lane["parked_rows"]:
            self._held = {row["key"] for row in await self._connection.fetch(sql.HELD_KEYS, self._spec.lane)}
        await self._judge()
        reached(Step.DEDUPED)
        turn = await self._read()
        reached(Step.STATE_READ)
        self._decide(turn, format_instant(at))
        reached(Step.EFFECTS_DECIDED)
        await self._writes.flush(turn, self._judged)
        await self._writes.flush_released(self._released)
        reached(Step.EFFECTS_WRITTEN)
        return await self._close(lane, acknowledged_seq)

    async def _lock(self, fence: Fence | None) -> asyncpg.Record:
        lane = await self._connection.fetchrow(sql.LOCK_LANE, self._spec.lane)
        if lane is None:
            raise RuntimeError(f"lane {self._spec.lane} is not in the store: run the migrations of {self._law.service}")
        if fence is not None and (lane["epoch"], lane["token"]) != fence:
            raise FencedError(f"lane {self._spec.lane}: epoch {fence.epoch} is over, epoch {lane['epoch']} owns it")
        if lane["stopped_reason"] is not None:
            raise LaneStoppedError(f"lane {self._spec.lane} is stopped: {lane['stopped_reason']}")
        self.lane_seq = lane["lane_seq"] + 1
        return lane

    # --- judge ---

    async def _judge(self) -> None:
        names = {item.cause.correlation.platform_run_id for item in self._inputs if item.cause is not None}
        numbers = await self._law.run_numbers(self._connection, names) if names else {}
        judging = Judging(self._connection, self._spec.lane, self.lane_seq, self._writes.epoch, self._judged)
        await judging.judge(numbers)
        if self._inputs[0].inlet is Inlet.COMMAND and (known := judging.known_before()):
            await self._read_replies(known)

    async def _read_replies(self, duplicates: list[Judged]) -> None:
        rows = await self._connection.fetch(
            sql.REPLIES,
            [judged.run_no for judged in duplicates],
            [judged.class_no for judged in duplicates],
            [judged.event_id for judged in duplicates],
        )
        stored = {(row["class_no"], bytes(row["event_id"])): (row["status"], bytes(row["body"])) for row in rows}
        for judged in duplicates:
            if found := stored.get((judged.class_no, judged.event_id)):
                self._stored_replies[id(judged.item)] = found

    # --- read ---

    async def _read(self) -> Turn:
        turn = Turn(self._spec.lane, self.lane_seq, self._law.provenance)
        new = [judged for judged in self._judged if judged.verdict is Verdict.NEW and judged.item.poison is None]
        await self._fetch(turn, self._declared(new, lambda item: item.reads()))
        chained = [judged for judged in new if judged.item.reads_then is not None]
        if chained:
            await self._fetch(turn, self._declared(chained, lambda item: item.reads_then(turn) if item.reads_then else ()))
        return turn

    def _declared(self, new: list[Judged], declare: Callable[[Input], Reads]) -> list[Read | ReadWaits]:
        wanted: list[Read | ReadWaits] = []
        for judged in new:
            if judged.verdict is not Verdict.NEW:
                continue
            try:
                wanted.extend(declare(judged.item))
            except Exception as error:  # whatever an author's code raises is that input's poison, never its batch's
                judged.item.poison = Poison(Reason.POLICY_ERROR, f"reads: {type(error).__name__}: {error}")
        return wanted

    async def _fetch(self, turn: Turn, wanted: list[Read | ReadWaits]) -> None:
        reads, waits = reads_of(wanted)
        by_table: dict[Table[Any], list[tuple[Any, ...]]] = {}
        for read in reads:
            by_table.setdefault(read.table, []).append(read.key)
        for table, keys in sorted(by_table.items(), key=lambda entry: entry[0].name):
            columns = list(zip(*(table.key_to_sql(key) for key in keys), strict=True))
            found = await self._connection.fetch(sql.read_rows(table), *columns)
            rows = [Versioned(table.from_sql(row), row["lane"], row["lane_seq"]) for row in found]
            turn.load(table, keys, self._law.versions_of(self._spec, table, keys, rows))
        if not waits:
            return
        ordered = sorted(waits, key=lambda read: (read.kind, read.key))
        waiting = await self._connection.fetch(
            sql.READ_WAITS, self._spec.lane, [read.kind for read in ordered], [read.key for read in ordered]
        )
        decoder = self._law.decoders[self._spec.group.name]
        turn.load_waits(
            ordered,
            [Waiting(row["kind"], row["ref"], row["key"], decoder.any_event(SOURCE_DECODER.decode(row["body"]))) for row in waiting],
        )

    # --- decide ---

    def _decide(self, turn: Turn, at: str) -> None:
        for judged in self._judged:
            item = judged.item
            if judged.verdict is Verdict.NEW and item.poison is not None:
                judged.poison(item.poison)
            # No key is held in nearly every batch: the set is looked at before the key.
            if judged.verdict is Verdict.NEW and self._held and self._is_behind(item):
                judged.park(Reason.BEHIND_PARKED_KEY, "an earlier event of this key is parked", holds_key=True, identified=True)
            if judged.verdict is Verdict.NEW:
                self._run_handler(turn, judged, at)
            elif judged.verdict is Verdict.MISMATCH:
                self._writes.mismatch(judged, self._law.service)
            if judged.verdict is Verdict.POISON and item.poison is not None and item.poison.anomaly is not None and item.run_no is not None:
                self._writes.anomaly_of_policy(item.poison.anomaly, item.run_no, item, self._law.service)
            if judged.verdict is Verdict.POISON and item.settles is not None:
                # The pending row is over all the same: the parked row keeps the input now.
                self._writes.settle(*item.settles)
            if judged.verdict is Verdict.POISON or (judged.verdict is Verdict.PARKED and judged.holds_key):
                self._held.add(item.key)
                self._stuck.add(item.key)
            elif item.parked_at is not None:
                self._released.append(item.parked_at)

    def _is_behind(self, item: Input) -> bool:
        # A release runs the key's own parked inputs in their order, until one of them is poison again.
        if item.parked_at is not None:
            return item.key in self._stuck
        return item.inlet in (Inlet.RECORDS, Inlet.COMMAND) and item.key in self._held

    def _run_handler(self, turn: Turn, judged: Judged, at: str) -> None:
        item = judged.item
        if item.apply is None and item.settles is None:
            return
        mark = self._writes.mark()
        try:
            decided = turn.decide(item)
            for effect in decided.effects:
                self._write(effect, item, at)
            if item.settles is not None:
                self._writes.settle(*item.settles)
        except Exception as error:  # whatever an author's code raises is that input's poison, never its batch's
            self._writes.undo(mark)
            judged.poison(Poison(Reason.POLICY_ERROR, f"{type(error).__name__}: {error}"))
            return
        turn.take(decided)
        for body in decided.read_sets:
            self._writes.read_sets.append((bytes.fromhex(snapshot_hash(body)), body))

    def _write(self, effect: Effect, item: Input, at: str) -> None:
        writes = self._writes
        if isinstance(effect, Put):
            return  # kept by the turn: of the puts of one key the last is written
        if isinstance(effect, Emit):
            writes.emit(self._law.emitter.row(effect, _cause(effect.cause, item), at), item)
        elif isinstance(effect, Append):
            writes.append(effect, item)
        elif isinstance(effect, Wait):
            if item.source is None:
                raise IllegalEffectError("Wait keeps a record or a command; this input is neither")
            until = self._ends.get(effect.until_read) if effect.until_read else None
            if effect.until_read and until is None:
                raise IllegalEffectError(f"Wait until {effect.until_read} is read: the lane does not know its end")
            writes.wait(effect, wait_ref(item), until, SOURCE_ENCODER.encode(item.source))
        elif isinstance(effect, Call):
            cause = _cause(effect.cause, item)
            task = self._law.tasks.get(effect.task)
            if task is None:
                raise IllegalEffectError(f"Call of task {effect.task!r}: the service declares {sorted(self._law.tasks)}")
            writes.call(effect, task.settle_seconds, encode_call(cause, effect.request))
        elif isinstance(effect, Settle):
            writes.settle(effect.waiting.kind, effect.waiting.ref)
        elif isinstance(effect, Anomaly):
            if item.run_no is None:
                raise IllegalEffectError(f"Anomaly of input {item.ref}: its run is not registered")
            writes.anomaly_of_policy(effect, item.run_no, item, self._law.service)
        elif isinstance(effect, Reply):
            writes.reply(effect, item)

    # --- close ---

    async def _close(self, lane: asyncpg.Record, acknowledged_seq: int) -> bytes:
        await self._emit_anomalies(format_instant(self._at))
        await self._writes.flush_outbox()
        ranges = ranges_of(self._inputs)
        counts = {verdict.value: count for verdict, count in Counter(judged.verdict for judged in self._judged).items()}
        leaves = b"".join(self._writes.leaves)
        certificate = Certificate(
            lane=self._spec.lane,
            lane_seq=self.lane_seq,
            epoch=lane["epoch"],
            inlet=self._inputs[0].inlet.value,
            ranges=[
                [topic, topic_id, partition, str(start), str(stop)] for (topic, partition), (start, stop, topic_id, _) in ranges.items()
            ],
            refs=[] if ranges else [item.ref for item in self._inputs],
            counts=dict(sorted(counts.items())),
            verdicts="".join(VERDICT_LETTERS[judged.verdict] for judged in self._judged),
            ends={topic: str(end) for topic, end in sorted(self._writes.ends.items())},
            inputs_digest=digest_of(judged.line() for judged in self._judged),
            effects_digest=hashlib.sha256(leaves).digest(),
            reads_digest=digest_of(body for _, body in self._writes.read_sets),
            previous=lane["chain"],
            applied_at=format_instant(self._at),
            provenance=list(self._law.provenance),
        )
        digest = certificate_hash(certificate)
        places = list(ranges.items())
        moved = await self._connection.fetchval(
            sql.CLOSE,
            self._spec.lane,
            [topic for (topic, _), _ in places],
            [partition for (_, partition), _ in places],
            [start for _, (start, _, _, _) in places],
            [stop for _, (_, stop, _, _) in places],
            [topic_id for _, (_, _, topic_id, _) in places],
            [cluster_id for _, (_, _, _, cluster_id) in places],
            self.lane_seq,
            lane["epoch"],
            certificate.inlet,
            json.dumps(certificate.ranges),
            json.dumps(certificate.refs),
            json.dumps(certificate.counts),
            certificate.inputs_digest,
            certificate.effects_digest,
            certificate.reads_digest,
            certificate.previous,
            digest,
            self._at,
            self._law.provenance_id,
            acknowledged_seq,
            self._newly_parked() - len(self._released),
            certificate.verdicts,
            json.dumps(certificate.ends),
            leaves,
        )
        if moved != len(places):
            raise ContinuityError(f"lane {self._spec.lane} does not stand at {certificate.ranges}: another range or topic id is stored")
        return digest

    def _newly_parked(self) -> int:
        return sum(1 for judged in self._judged if judged.verdict in (Verdict.PARKED, Verdict.POISON) and judged.item.parked_at is None)

    async def _emit_anomalies(self, at: str) -> None:
        for emit, item in await self._writes.flush_anomalies():
            if item.cause is None:
                raise RuntimeError(f"anomaly of {item.ref} has no cause to descend from")
            self._writes.emit(self._law.emitter.row(emit, item.cause, at), item)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What became of each input."""
        return tuple(judged.verdict for judged in self._judged)

    def _answer(self, judged: Judged, replies: Mapping[int, tuple[int, bytes]]) -> CommandAnswer:
        reply = replies.get(id(judged.item))
        if reply is None and judged.verdict is Verdict.DUPLICATE and judged.first_index >= 0:
            # A duplicate of what this very batch applied gets the reply of its first.
            reply = replies.get(id(self._judged[judged.first_index].item))
        status, body = reply or (0, b"")
        return CommandAnswer(judged.verdict, status, body, judged.reason.value if judged.reason else "")

    def applied(self) -> Applied:
        """What was done, once it is committed."""
        replies = self._writes.replies | self._stored_replies
        answers = [self._answer(judged, replies) for judged in self._judged if judged.item.inlet is Inlet.COMMAND]
        return Applied(
            lane_seq=self.lane_seq,
            verdicts=self.verdicts,
            outbox=tuple(row.record for row, _ in self._writes.outbox),
            answers=tuple(answers),
            tasks=self._writes.tasks,
            first_due=self._writes.first_due,
            emitted=tuple(
                (row.event_type, row.traceparent, row.cause_traceparent) for row, _ in self._writes.outbox if is_sampled(row.traceparent)
            ),
        )


def _cause(given: Cause | None, item: Input) -> Cause:
    cause = given or item.cause
    if cause is None:
        raise IllegalEffectError(f"input {item.ref} has no cause: name the cause of the effect")
    return cause

"""One lane's share of a transaction: what it reads, what its handlers decide, and the certificate of both."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from laws.headers import is_sampled
from laws.ids import snapshot_hash
from laws.reasons import Reason
from laws.times import format_instant
from laws.verdicts import Verdict
from spine.certificates import VERDICT_LETTERS, Certificate, certificate_hash, digest_of
from spine.inputs import SOURCE_ENCODER, Inlet, Input, Poison, ranges_of, reads_of
from spine.judged import Judged, Stamp
from spine.outcome import Applied, CommandAnswer, Doubt, FencedError, LaneStoppedError, Part
from spine.scheduled import encode_call
from spine.service import Anomaly, Append, Call, Cause, Effect, Emit, Put, Read, Reads, ReadWaits, Reply, Settle, Wait
from spine.turn import IllegalEffectError, Shared, Turn, wait_ref
from spine.writes import Writes

if TYPE_CHECKING:
    from spine.transaction import Law


class Closing(NamedTuple):
    """The row of a lane and of its certificate, as the closing statement takes them: a column each, in this order."""

    lane: int
    lane_seq: int
    epoch: int
    inlet: str
    ranges: str
    refs: str
    counts: str
    inputs_digest: bytes
    effects_digest: bytes
    reads_digest: bytes
    previous: bytes
    hash: bytes
    acknowledged_seq: int
    newly_parked: int
    verdicts: str
    ends: str
    leaves: bytes


class Share:
    """The share of one lane, which is locked."""

    def __init__(self, law: "Law", part: Part, lane: asyncpg.Record, at: datetime, shared: Shared) -> None:
        """`shared`: rows of all lanes, which the lanes of one transaction see of each other. Raises FencedError and LaneStoppedError."""
        if part.fence is not None and (lane["epoch"], lane["token"]) != part.fence:
            raise FencedError(f"lane {part.spec.lane}: epoch {part.fence.epoch} is over, epoch {lane['epoch']} owns it")
        if lane["stopped_reason"] is not None:
            raise LaneStoppedError(f"lane {part.spec.lane} is stopped: {lane['stopped_reason']}")
        self.part = part
        self.lane: int = part.spec.lane
        self.lane_seq: int = lane["lane_seq"] + 1
        self.stamp: Stamp = (self.lane, self.lane_seq, lane["epoch"])
        self.parked_before: bool = lane["parked_rows"] > 0
        self.turn = Turn(self.lane, self.lane_seq, law.provenance, shared)
        self.writes = Writes(self.stamp, at)
        self.judged: list[Judged] = []
        self.released: list[tuple[int, int]] = []
        self.stored_replies: dict[int, tuple[int, bytes]] = {}
        self._law = law
        self._previous: bytes = lane["chain"]
        self._at = at
        self._held: set[bytes] = set()
        self._stuck: set[bytes] = set()
        self._certificate = b""

    def take(self, inputs: Sequence[Input]) -> None:
        """What is applied, in this order; at least one."""
        self.judged = [Judged(item, self.stamp) for item in inputs]

    @property
    def inlet(self) -> Inlet:
        """The inlet of its inputs; one for all of them."""
        return self.judged[0].item.inlet

    def hold(self, keys: set[bytes]) -> None:
        """Keys of which something is parked: what comes after it is parked behind it."""
        self._held = keys

    # --- read ---

    def reads(self) -> tuple[set[Read], set[ReadWaits]]:
        """What the handlers of its new inputs declare."""
        return reads_of(self._declared(lambda item: item.reads()))

    def reads_then(self) -> tuple[set[Read], set[ReadWaits]]:
        """What they declare once the first reads are there."""
        return reads_of(self._declared(lambda item: item.reads_then(self.turn) if item.reads_then else ()))

    def _declared(self, declare: Callable[[Input], Reads]) -> list[Read | ReadWaits]:
        wanted: list[Read | ReadWaits] = []
        for judged in self.judged:
            if judged.verdict is not Verdict.NEW or judged.item.poison is not None:
                continue
            try:
                wanted.extend(declare(judged.item))
            except Exception as error:  # whatever an author's code raises is that input's poison, never its batch's
                judged.item.poison = Poison(Reason.POLICY_ERROR, f"reads: {type(error).__name__}: {error}")
        return wanted

    # --- decide ---

    def decide(self) -> None:
        """Run the handlers of what is new, in order, and collect what they decide."""
        at = format_instant(self._at)
        for judged in self.judged:
            item = judged.item
            if judged.verdict is Verdict.NEW and item.poison is not None:
                judged.poison(item.poison)
            # No key is held in nearly every batch: the set is looked at before the key.
            if judged.verdict is Verdict.NEW and self._held and self._is_behind(item):
                judged.park(Reason.BEHIND_PARKED_KEY, "an earlier event of this key is parked", holds_key=True, identified=True)
            if judged.verdict is Verdict.NEW:
                self._run_handler(judged, at)
            elif judged.verdict is Verdict.MISMATCH:
                self.writes.mismatch(judged, self._law.service)
            if judged.verdict is Verdict.POISON and item.poison is not None and item.poison.anomaly is not None and item.run_no is not None:
                self.writes.anomaly_of_policy(item.poison.anomaly, item.run_no, item, self._law.service)
            if judged.verdict is Verdict.POISON and item.settles is not None:
                # The pending row is over all the same: the parked row keeps the input now.
                self.writes.settle(*item.settles)
            if judged.verdict is Verdict.POISON or (judged.verdict is Verdict.PARKED and judged.holds_key):
                self._held.add(item.key)
                self._stuck.add(item.key)
            elif item.parked_at is not None:
                self.released.append(item.parked_at)

    def _is_behind(self, item: Input) -> bool:
        # A release runs the key's own parked inputs in their order, until one of them is poison again.
        if item.parked_at is not None:
            return item.key in self._stuck
        return item.inlet in (Inlet.RECORDS, Inlet.COMMAND) and item.key in self._held

    def _run_handler(self, judged: Judged, at: str) -> None:
        item = judged.item
        if item.apply is None and item.settles is None:
            return
        mark = self.writes.mark()
        try:
            decided = self.turn.decide(item)
            for effect in decided.effects:
                self._write(effect, item, at)
            if item.settles is not None:
                self.writes.settle(*item.settles)
        except Exception as error:  # whatever an author's code raises is that input's poison, never its batch's
            self.writes.undo(mark)
            judged.poison(Poison(Reason.POLICY_ERROR, f"{type(error).__name__}: {error}"))
            return
        self.turn.take(decided)
        for body in decided.read_sets:
            self.writes.read_sets.append((bytes.fromhex(snapshot_hash(body)), body))

    def _write(self, effect: Effect, item: Input, at: str) -> None:
        writes = self.writes
        if isinstance(effect, Put):
            return  # kept by the turn: of the puts of one key the last is written
        if isinstance(effect, Emit):
            writes.emit(self._law.emitter.row(effect, _cause(effect.cause, item), at), item)
        elif isinstance(effect, Append):
            writes.append(effect, item)
        elif isinstance(effect, Wait):
            if item.source is None:
                raise IllegalEffectError("Wait keeps a record or a command; this input is neither")
            until = self.part.ends.get(effect.until_read) if effect.until_read else None
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

    def announce(self, anomalies: Sequence[tuple[Emit, Input]]) -> None:
        """Publish the anomalies that were not known before."""
        at = format_instant(self._at)
        for emit, item in anomalies:
            if item.cause is None:
                raise RuntimeError(f"anomaly of {item.ref} has no cause to descend from")
            self.writes.emit(self._law.emitter.row(emit, item.cause, at), item)

    # --- close ---

    def close(self) -> tuple[Closing, list[tuple[int, str, int, int, int, str, str]]]:
        """The lane's row and certificate, and how its positions move: (lane, topic, partition, start, stop, topic id, cluster id)."""
        inputs = [judged.item for judged in self.judged]
        ranges = ranges_of(inputs)
        counts = {verdict.value: count for verdict, count in Counter(judged.verdict for judged in self.judged).items()}
        leaves = b"".join(self.writes.leaves)
        certificate = Certificate(
            lane=self.lane,
            lane_seq=self.lane_seq,
            epoch=self.stamp[2],
            inlet=self.inlet.value,
            ranges=[
                [topic, topic_id, partition, str(start), str(stop)] for (topic, partition), (start, stop, topic_id, _) in ranges.items()
            ],
            refs=[] if ranges else [item.ref for item in inputs],
            counts=dict(sorted(counts.items())),
            verdicts="".join(VERDICT_LETTERS[judged.verdict] for judged in self.judged),
            ends={topic: str(end) for topic, end in sorted(self.writes.ends.items())},
            inputs_digest=digest_of(judged.line() for judged in self.judged),
            effects_digest=hashlib.sha256(leaves).digest(),
            reads_digest=digest_of(body for _, body in self.writes.read_sets),
            previous=self._previous,
            applied_at=format_instant(self._at),
            provenance=list(self._law.provenance),
        )
        self._certificate = certificate_hash(certificate)
        closing = Closing(
            lane=self.lane,
            lane_seq=self.lane_seq,
            epoch=certificate.epoch,
            inlet=certificate.inlet,
            ranges=json.dumps(certificate.ranges),
            refs=json.dumps(certificate.refs),
            counts=json.dumps(certificate.counts),
            inputs_digest=certificate.inputs_digest,
            effects_digest=certificate.effects_digest,
            reads_digest=certificate.reads_digest,
            previous=certificate.previous,
            hash=self._certificate,
            acknowledged_seq=self.part.acknowledged_seq,
            newly_parked=self._newly_parked() - len(self.released),
            verdicts=certificate.verdicts,
            ends=json.dumps(certificate.ends),
            leaves=leaves,
        )
        moves = [
            (self.lane, topic, partition, start, stop, topic_id, cluster_id)
            for (topic, partition), (start, stop, topic_id, cluster_id) in ranges.items()
        ]
        return closing, moves

    def _newly_parked(self) -> int:
        return sum(1 for judged in self.judged if judged.verdict in (Verdict.PARKED, Verdict.POISON) and judged.item.parked_at is None)

    # --- what is told of it ---

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What became of each input."""
        return tuple(judged.verdict for judged in self.judged)

    @property
    def doubt(self) -> Doubt:
        """How to find out whether it is in."""
        return Doubt(self.lane_seq, self._certificate, self.verdicts)

    def applied(self) -> Applied:
        """What was done, once it is committed."""
        replies = self.writes.replies | self.stored_replies
        answers = [_answer(judged, replies) for judged in self.judged if judged.item.inlet is Inlet.COMMAND]
        return Applied(
            lane_seq=self.lane_seq,
            verdicts=self.verdicts,
            outbox=tuple(row.record for row, _ in self.writes.outbox),
            answers=tuple(answers),
            tasks=self.writes.tasks,
            first_due=self.writes.first_due,
            emitted=tuple(
                (row.event_type, row.traceparent, row.cause_traceparent) for row, _ in self.writes.outbox if is_sampled(row.traceparent)
            ),
        )


def _answer(judged: Judged, replies: Mapping[int, tuple[int, bytes]]) -> CommandAnswer:
    reply = replies.get(id(judged.item))
    if reply is None and judged.verdict is Verdict.DUPLICATE and judged.first is not None:
        # A duplicate of what this very batch applied gets the reply of its first.
        reply = replies.get(id(judged.first.item))
    status, body = reply or (0, b"")
    return CommandAnswer(judged.verdict, status, body, judged.reason.value if judged.reason else "")


def _cause(given: Cause | None, item: Input) -> Cause:
    cause = given or item.cause
    if cause is None:
        raise IllegalEffectError(f"input {item.ref} has no cause: name the cause of the effect")
    return cause

"""The rows that one transaction writes: collected while handlers run, flushed set-based and sorted."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from laws.catalogue import CORRIDOR_ANOMALY
from laws.contracts.audit import CorridorAnomaly, SubjectKey
from laws.coordinates import OriginOffset
from laws.event_classes import EventClass
from laws.identity import pack_event_id
from laws.ids import anomaly_event_id
from laws.reasons import Reason
from laws.verdicts import Verdict
from spine import sql
from spine.db import Db
from spine.emission import STORED, OutboxRow
from spine.encoding import encode_reply
from spine.inputs import SOURCE_ENCODER, Inlet, Input, Place
from spine.judged import Judged
from spine.leaves import RELEASED, LeafShape, gone_leaf, leaf_of
from spine.service import Anomaly, Append, Call, Emit, Put, Reply, Wait
from spine.tables import STAMP_COLUMNS, Mode, Table
from spine.turn import Turn

Mark = tuple[int, ...]


def _columns(names: str) -> tuple[str, ...]:
    return ("lane", "lane_seq", "epoch", *names.split())


# Columns in the order in which rows are written, and primary keys as the migrations declare them.
_OUTBOX = LeafShape(
    "outbox",
    _columns(
        "provenance_id i topic partition key headers value event_id payload_hash source_topic_id source_partition source_offset",
    ),
    ("lane", "lane_seq", "i"),
)
_ANOMALY = LeafShape(
    "anomaly",
    _columns(
        "provenance_id run_no class_no event_id other_hash first_hash reason first_topic_id first_partition first_offset "
        "topic_id partition offset"
    ),
    ("run_no", "class_no", "event_id", "other_hash"),
)
_PARKED = LeafShape(
    "parked",
    _columns(
        "provenance_id i key reason detail holds_key identified inlet name source platform_run_id class_no event_id "
        "topic_id partition offset"
    ),
    ("lane", "lane_seq", "i"),
)
_PENDING = LeafShape("pending", _columns("kind ref key due cap until_topic until_offset task_state body"), ("lane", "kind", "ref"))
_INPUT = LeafShape("input", _columns("i inlet name ref body"), ("lane", "lane_seq", "i"))
_REPLY = LeafShape("reply", _columns("run_no class_no event_id status body"), ("run_no", "class_no", "event_id"))
_READ_SET = _columns("i snapshot_hash body")


@lru_cache(maxsize=256)
def _shape(table: Table[Any]) -> LeafShape:
    """A service's table: one row per (key, lane) where lanes share it."""
    columns = (*(column.name for column in table.columns), *STAMP_COLUMNS)
    return LeafShape(table.name, columns, (*table.key, "lane") if table.mode is Mode.SHARED else table.key)


def shared_parts(parts: Iterable[tuple[Any, ...]]) -> tuple[list[int], Callable[[int], list[list[Any]]]]:
    """What rows have in common, each once: where each row points (from 1, as PostgreSQL counts), and the columns that they point into."""
    numbers: dict[tuple[Any, ...], int] = {}
    at = [numbers.setdefault(part, len(numbers) + 1) for part in parts]
    return at, lambda width: [[part[i] for part in numbers] for i in range(width)]


class Writes:
    """Collects and flushes. `leaves` holds a leaf for every row, in the order of writing; `ends` the ends of topics that waits go by."""

    def __init__(
        self,
        connection: Db,
        lane: int,
        lane_seq: int,
        epoch: int,
        provenance_id: int,
        at: datetime,
    ) -> None:
        self._connection = connection
        self._at = at
        self._stamp = (lane, lane_seq, epoch)
        self._provenance_id = provenance_id
        self.epoch = epoch
        self.outbox: list[tuple[OutboxRow, Input]] = []
        self.read_sets: list[tuple[bytes, bytes]] = []
        self._appends: list[tuple[Append, Input]] = []
        self._pending: list[tuple[str, str, str, datetime, datetime | None, str | None, int | None, str | None, bytes]] = []
        self._settled: list[tuple[str, str]] = []
        self._anomalies: list[tuple[tuple[Any, ...], Emit, Input]] = []
        self._replies: list[tuple[Reply, Input]] = []
        # What an input that failed had collected is taken back from each of these.
        self._lists: tuple[list[Any], ...] = (
            self.outbox,
            self.read_sets,
            self._appends,
            self._pending,
            self._settled,
            self._anomalies,
            self._replies,
        )
        self.leaves: list[bytes] = []
        self.ends: dict[str, int] = {}

    # --- collecting; undo takes back what an input that failed had collected ---

    def mark(self) -> Mark:
        """Where the lists stand now."""
        return tuple(map(len, self._lists))

    def undo(self, mark: Mark) -> None:
        """Drop everything collected since the mark."""
        for rows, length in zip(self._lists, mark, strict=True):
            del rows[length:]

    def append(self, effect: Append, item: Input) -> None:
        """A row of an append-only table."""
        self._appends.append((effect, item))

    def emit(self, row: OutboxRow, item: Input) -> None:
        """A record to publish."""
        self.outbox.append((row, item))

    def wait(self, effect: Wait, ref: str, until_offset: int | None, body: bytes) -> None:
        """An input that waits."""
        cap = None if effect.cap is None else self._after(effect.cap)
        due = self._after(effect.seconds)
        self._pending.append((effect.kind, ref, effect.key, due, cap, effect.until_read, until_offset, None, body))

    def call(self, effect: Call, settle_seconds: float, body: bytes) -> None:
        """A call to the outside, reserved with the transaction that asks for it."""
        cap = self._after(settle_seconds)
        self._pending.append((effect.task, effect.ref, effect.ref, self._at, cap, None, None, "RESERVED", body))

    def _after(self, seconds: float) -> datetime:
        return self._at + timedelta(seconds=seconds)

    def settle(self, kind: str, ref: str) -> None:
        """A pending row that is over."""
        self._settled.append((kind, ref))

    def reply(self, effect: Reply, item: Input) -> None:
        """What the caller of a command is told."""
        self._replies.append((effect, item))

    def mismatch(self, judged: Judged, observer: str) -> None:
        """The same identity with another payload hash: recorded with both hashes and both places, never applied."""
        if judged.first_hash is None or judged.run_no is None:
            raise ValueError(f"input {judged.item.ref} has no first sight to differ from")
        subject = SubjectKey(judged.identity.platform_run_id, judged.identity.event_class.value, judged.identity.event_id)
        self._anomaly(
            judged.item,
            judged.run_no,
            subject,
            Reason.PAYLOAD_HASH_MISMATCH,
            judged.first_hash,
            judged.payload_hash,
            judged.first_place,
            observer,
            {},
        )

    def anomaly_of_policy(self, effect: Anomaly, run_no: int, item: Input, observer: str) -> None:
        """An anomaly of the service's own judgement."""
        self._anomaly(
            item,
            run_no,
            effect.subject,
            effect.reason,
            effect.first_hash,
            effect.other_hash,
            (None, None, None),
            observer,
            effect.details,
        )

    def _anomaly(
        self,
        item: Input,
        run_no: int,
        subject: SubjectKey,
        reason: Reason,
        first_hash: bytes,
        other_hash: bytes,
        first: Place,
        observer: str,
        details: dict[str, str],
    ) -> None:
        source = item.source
        place = source.coordinate if source else None
        body = CorridorAnomaly(
            reason_code=reason,
            subject=subject,
            observer=observer,
            first_payload_hash=first_hash.hex(),
            other_payload_hash=other_hash.hex(),
            # An identity's copies are on one partition of one topic, so the first sight stands on the topic of this one.
            first_ref=OriginOffset(place.cluster_id, str(first[0]), place.topic, first[1], str(first[2]))
            if place and first[0] is not None
            else None,
            other_ref=place.ref() if place else None,
            details=details,
        )
        event_id = anomaly_event_id(subject.platform_run_id, subject.event_class, subject.event_id, other_hash.hex(), observer)
        number = EventClass(subject.event_class).number
        row = (run_no, number, pack_event_id(subject.event_id), other_hash, first_hash, reason.value, *first, *item.place)
        self._anomalies.append((row, Emit(CORRIDOR_ANOMALY, event_id, body), item))

    # --- flushing ---

    async def flush(self, turn: Turn, judged: list[Judged]) -> None:
        """Write everything but anomalies and outbox, which come after: a new anomaly is published too."""
        for table, rows in turn.dirty():
            await self._write_rows(table, rows)
        by_table: dict[Table[Any], list[tuple[Append, Input]]] = {}
        for effect, item in self._appends:
            by_table.setdefault(effect.table, []).append((effect, item))
        for table, appended in sorted(by_table.items(), key=lambda entry: entry[0].name):
            await self._append_rows(_shape(table), self._stamped(table, appended))
        await self._flush_pending()
        await self._flush_parked([entry for entry in judged if entry.verdict in (Verdict.PARKED, Verdict.POISON)])
        await self._flush_inputs([entry.item for entry in judged if entry.item.inlet is not Inlet.RECORDS])
        await self._flush_replies()
        if self.read_sets:
            # No leaves: a certificate has a digest of its own for what was read.
            read = [(*self._stamp, i, digest, body) for i, (digest, body) in enumerate(self.read_sets)]
            await self._connection.copy_records_to_table("read_set", records=read, columns=_READ_SET)

    def _stamped(self, table: Table[Any], rows: Sequence[tuple[Put | Append, Input]]) -> list[tuple[Any, ...]]:
        to_sql, stamp, provenance_id = table.to_sql, self._stamp, self._provenance_id
        return [(*to_sql(effect.row), *stamp, *item.place, provenance_id, _trace_id(effect, item)) for effect, item in rows]

    async def _write_rows(self, table: Table[Any], puts: Sequence[tuple[Put, Input]]) -> None:
        rows = self._stamped(table, puts)
        width = len(table.columns)
        *values, _, _, _, topic_ids, partitions, offsets, _, trace_ids = zip(*rows, strict=True)
        at, places = shared_parts(zip(topic_ids, partitions, strict=True))
        await self._connection.execute(
            sql.write_rows(table), *self._stamp, self._provenance_id, *places(2), at, offsets, *values[:width], trace_ids
        )
        self.leaves.extend(map(_shape(table).leaf, rows))

    async def _append_rows(self, shape: LeafShape, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows of a table that only grows, by COPY: half of what an INSERT costs the store, and less here."""
        await self._connection.copy_records_to_table(shape.table, records=rows, columns=shape.columns)
        self.leaves.extend(map(shape.leaf, rows))

    async def _flush_pending(self) -> None:
        gone = set(self._settled)
        # A wait that is settled by a later input of the same transaction was never stored.
        stored = [row for row in self._pending if (row[0], row[1]) not in gone]
        settled = sorted(gone - {(row[0], row[1]) for row in self._pending})
        for kind, some in groupby(settled, key=itemgetter(0)):
            refs = [ref for _, ref in some]
            deleted = await self._connection.fetch(sql.DELETE_PENDING, self._stamp[0], kind, refs)
            if len(deleted) != len(refs):
                missing = sorted(set(refs) - {row["ref"] for row in deleted})
                raise RuntimeError(f"pending rows {missing} of {kind} were settled but are not there")
        self.leaves.extend(gone_leaf("pending", (kind, self._stamp[0], ref)) for kind, ref in settled)
        if stored:
            await self._connection.execute(sql.INSERT_PENDING, *self._stamp, *map(list, zip(*stored, strict=True)))
            for kind, ref, key, due, cap, topic, until, task_state, body in stored:
                # When a call is tried next changes while it waits; when a wait is over does not.
                told = due if task_state is None else None
                self.leaves.append(_PENDING.leaf((*self._stamp, kind, ref, key, told, cap, topic, until, task_state, body)))
                if topic is not None and until is not None:
                    self.ends[topic] = until

    async def _flush_parked(self, parked: list[Judged]) -> None:
        fresh = [(i, entry) for i, entry in enumerate(parked) if entry.item.parked_at is None]
        if not fresh:
            return
        rows = [
            (
                i,
                entry.item.key,
                (entry.reason or Reason.INTERNAL_ERROR).value,
                entry.detail[:2000],
                entry.holds_key,
                entry.identified,
                entry.item.inlet.value,
                entry.item.name,
                SOURCE_ENCODER.encode(entry.item.source) if entry.item.source else entry.item.body,
                entry.item.cause.correlation.platform_run_id if entry.item.cause else None,
                entry.identity.event_class.number if entry.item.event else None,
                entry.event_id if entry.item.event else None,
                *entry.item.place,
            )
            for i, entry in fresh
        ]
        await self._append_rows(_PARKED, [(*self._stamp, self._provenance_id, *row) for row in rows])

    async def _flush_inputs(self, items: list[Input]) -> None:
        if not items:
            return
        rows = [(*self._stamp, i, item.inlet.value, item.name, item.ref, item.body) for i, item in enumerate(items)]
        await self._append_rows(_INPUT, rows)

    async def _flush_replies(self) -> None:
        if not self._replies:
            return
        rows = []
        for effect, item in self._replies:
            if item.event is None or item.run_no is None:
                raise RuntimeError(f"input {item.ref} is no command: nobody waits for its reply")
            identity = item.event.identity
            body = encode_reply(effect.body)
            event_id = pack_event_id(identity.event_id)
            rows.append((*self._stamp, item.run_no, identity.event_class.number, event_id, effect.status, body))
        await self._append_rows(_REPLY, rows)

    async def flush_released(self, released: list[tuple[int, int]]) -> None:
        """Mark parked rows, given by their (lane_seq, i), as released by this transaction."""
        if not released:
            return
        lane, lane_seq, _ = self._stamp
        await self._connection.execute(sql.RELEASE_PARKED, lane, lane_seq, [seq for seq, _ in released], [i for _, i in released])
        self.leaves.extend(leaf_of(RELEASED, (i, lane, seq), (lane_seq,)) for seq, i in released)

    async def flush_anomalies(self) -> list[tuple[Emit, Input]]:
        """Write the anomalies; those that were not known before, to be published."""
        if not self._anomalies:
            return []
        unique = {row[:4]: (row, emit, item) for row, emit, item in reversed(self._anomalies)}
        ordered = [unique[key] for key in sorted(unique)]
        stored = await self._connection.fetch(
            sql.INSERT_ANOMALIES, *self._stamp, self._provenance_id, *map(list, zip(*(row for row, _, _ in ordered), strict=True))
        )
        new = {(row["run_no"], row["class_no"], bytes(row["event_id"]), bytes(row["other_hash"])) for row in stored}
        head = (*self._stamp, self._provenance_id)
        self.leaves.extend(_ANOMALY.leaf((*head, *row)) for row, _, _ in ordered if row[:4] in new)
        return [(emit, item) for row, emit, item in ordered if row[:4] in new]

    async def flush_outbox(self) -> None:
        """Write the records to publish; last, so that everything to publish is known."""
        if not self.outbox:
            return
        head = (*self._stamp, self._provenance_id)
        await self._append_rows(_OUTBOX, [(*head, i, *row[:STORED], *item.place) for i, (row, item) in enumerate(self.outbox)])

    @property
    def tasks(self) -> int:
        """Calls to the outside that this transaction asked for."""
        return sum(1 for row in self._pending if row[7] is not None)

    @property
    def first_due(self) -> float | None:
        """Seconds until the first of the waits that this transaction began is due; None where it began none."""
        dues = [min(row[3], row[4] or row[3]) for row in self._pending if row[7] is None]
        return (min(dues) - self._at).total_seconds() if dues else None

    @property
    def replies(self) -> dict[int, tuple[int, bytes]]:
        """Status and body by identity of the input object."""
        return {id(item): (effect.status, encode_reply(effect.body)) for effect, item in self._replies}


def _trace_id(effect: Put | Append, item: Input) -> bytes:
    cause = effect.cause or item.cause
    if cause is None:
        raise RuntimeError(f"input {item.ref} has no cause: name the cause of the effect on {effect.table.name}")
    return bytes.fromhex(cause.correlation.traceparent[3:35])

"""Writes the rows of one transaction: set-based, sorted, one statement a table for all its lanes (runtime.md, The transaction)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from laws.identity import pack_event_id
from laws.reasons import Reason
from laws.verdicts import Verdict
from spine import sql
from spine.columns import shared_parts
from spine.db import Db
from spine.emission import STORED
from spine.encoding import encode_reply
from spine.inputs import SOURCE_ENCODER, Inlet, Input
from spine.judged import Judged
from spine.leaves import RELEASED, LeafShape, gone_leaf, leaf_of
from spine.service import Append, Emit, Put
from spine.share import Share
from spine.tables import STAMP_COLUMNS, Mode, Table
from spine.writes import Pending

Row = tuple[Any, ...]


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


class Flushing:
    """Writes what the shares of one transaction have collected. A row leaves its leaf with its lane's share, in the order of writing."""

    def __init__(self, connection: Db, provenance_id: int, shares: Sequence[Share]) -> None:
        self._connection = connection
        self._provenance_id = provenance_id
        self._shares = shares

    async def effects(self) -> None:
        """Write everything but anomalies and outbox, which come after: a new anomaly is published too."""
        await self._states()
        await self._appends()
        await self._pending()
        await self._append(_PARKED, [(share, self._parked(share)) for share in self._shares])
        await self._append(_INPUT, [(share, _inputs(share)) for share in self._shares if share.inlet is not Inlet.RECORDS])
        await self._append(_REPLY, [(share, _replies(share)) for share in self._shares])
        # No leaves: a certificate has a digest of its own for what was read.
        read = [(*share.stamp, i, digest, body) for share in self._shares for i, (digest, body) in enumerate(share.writes.read_sets)]
        if read:
            await self._connection.copy_records_to_table("read_set", records=read, columns=_READ_SET)
        await self._released()

    async def outbox(self) -> None:
        """Write anomalies, and last the records to publish, now that everything to publish is known."""
        for share in self._shares:
            share.announce(await self._anomalies(share))
        await self._append(_OUTBOX, [(share, self._records(share)) for share in self._shares])

    # --- the service's own tables ---

    async def _states(self) -> None:
        by_table: defaultdict[Table[Any], list[tuple[Share, list[Row]]]] = defaultdict(list)
        for share in self._shares:
            for table, puts in share.turn.dirty():
                by_table[table].append((share, self._stamped(share, table, puts)))
        for table, written in sorted(by_table.items(), key=lambda entry: entry[0].name):
            rows = [row for _, some in written for row in some]
            width = len(table.columns)
            *values, lanes, lane_seqs, epochs, topic_ids, partitions, offsets, _, trace_ids = zip(*rows, strict=True)
            at, shared = shared_parts(zip(lanes, lane_seqs, epochs, topic_ids, partitions, strict=True))
            await self._connection.execute(sql.write_rows(table), self._provenance_id, *shared(5), at, offsets, *values[:width], trace_ids)
            _leave(_shape(table), written)

    async def _appends(self) -> None:
        by_table: defaultdict[Table[Any], defaultdict[Share, list[tuple[Append, Input]]]] = defaultdict(lambda: defaultdict(list))
        for share in self._shares:
            for effect, item in share.writes.appends:
                by_table[effect.table][share].append((effect, item))
        for table, of_shares in sorted(by_table.items(), key=lambda entry: entry[0].name):
            await self._append(_shape(table), [(share, self._stamped(share, table, some)) for share, some in of_shares.items()])

    def _stamped(self, share: Share, table: Table[Any], rows: Sequence[tuple[Put | Append, Input]]) -> list[Row]:
        to_sql, stamp, provenance_id = table.to_sql, share.stamp, self._provenance_id
        return [(*to_sql(effect.row), *stamp, *item.place, provenance_id, _trace_id(effect, item)) for effect, item in rows]

    # --- the spine's own ---

    async def _append(self, shape: LeafShape, written: Iterable[tuple[Share, Sequence[Row]]]) -> None:
        """Rows of a table that only grows, by COPY: half of what an INSERT costs the store, and less here."""
        some = [(share, rows) for share, rows in written if rows]
        if not some:
            return
        await self._connection.copy_records_to_table(shape.table, records=[row for _, rows in some for row in rows], columns=shape.columns)
        _leave(shape, some)

    async def _pending(self) -> None:
        ends = [(share, *_ended(share)) for share in self._shares]
        for share, settled, _ in ends:
            await self._settle(share, settled)
        stored = [(*share.stamp, *row) for share, _, rows in ends for row in rows]
        if stored:
            await self._connection.execute(sql.INSERT_PENDING, *map(list, zip(*stored, strict=True)))
        for share, _, rows in ends:
            for kind, ref, key, due, cap, topic, until, task_state, body in rows:
                # When a call is tried next changes while it waits; when a wait is over does not.
                told = due if task_state is None else None
                share.writes.leaves.append(_PENDING.leaf((*share.stamp, kind, ref, key, told, cap, topic, until, task_state, body)))
                if topic is not None and until is not None:
                    share.writes.ends[topic] = until

    async def _settle(self, share: Share, settled: list[tuple[str, str]]) -> None:
        for kind, some in groupby(settled, key=itemgetter(0)):
            refs = [ref for _, ref in some]
            deleted = await self._connection.fetch(sql.DELETE_PENDING, share.lane, kind, refs)
            if len(deleted) != len(refs):
                missing = sorted(set(refs) - {row["ref"] for row in deleted})
                raise RuntimeError(f"pending rows {missing} of {kind} of lane {share.lane} were settled but are not there")
        share.writes.leaves.extend(gone_leaf("pending", (kind, share.lane, ref)) for kind, ref in settled)

    def _parked(self, share: Share) -> list[Row]:
        parked = [entry for entry in share.judged if entry.verdict in (Verdict.PARKED, Verdict.POISON)]
        # What is released and parked again keeps the row that it has.
        fresh = [(i, entry) for i, entry in enumerate(parked) if entry.item.parked_at is None]
        return [(*share.stamp, self._provenance_id, i, *_parked_row(entry)) for i, entry in fresh]

    async def _released(self) -> None:
        for share in self._shares:
            if released := share.released:
                lane, lane_seq, _ = share.stamp
                await self._connection.execute(sql.RELEASE_PARKED, lane, lane_seq, [seq for seq, _ in released], [i for _, i in released])
                share.writes.leaves.extend(leaf_of(RELEASED, (i, lane, seq), (lane_seq,)) for seq, i in released)

    async def _anomalies(self, share: Share) -> list[tuple[Emit, Input]]:
        """Write the anomalies of a share; those that were not known before, to be published."""
        if not share.writes.anomalies:
            return []
        unique = {row[:4]: (row, emit, item) for row, emit, item in reversed(share.writes.anomalies)}
        ordered = [unique[key] for key in sorted(unique)]
        stored = await self._connection.fetch(
            sql.INSERT_ANOMALIES, *share.stamp, self._provenance_id, *map(list, zip(*(row for row, _, _ in ordered), strict=True))
        )
        new = {(row["run_no"], row["class_no"], bytes(row["event_id"]), bytes(row["other_hash"])) for row in stored}
        head = (*share.stamp, self._provenance_id)
        share.writes.leaves.extend(_ANOMALY.leaf((*head, *row)) for row, _, _ in ordered if row[:4] in new)
        return [(emit, item) for row, emit, item in ordered if row[:4] in new]

    def _records(self, share: Share) -> list[Row]:
        head = (*share.stamp, self._provenance_id)
        return [(*head, i, *row[:STORED], *item.place) for i, (row, item) in enumerate(share.writes.outbox)]


def _leave(shape: LeafShape, written: Iterable[tuple[Share, Sequence[Row]]]) -> None:
    for share, rows in written:
        share.writes.leaves.extend(map(shape.leaf, rows))


def _ended(share: Share) -> tuple[list[tuple[str, str]], list[Pending]]:
    """(kind, ref) of the stored pending rows that are over, in order; and the new ones."""
    writes = share.writes
    gone = set(writes.settled)
    # A wait that is settled by a later input of the same transaction was never stored.
    stored = [row for row in writes.pending if (row[0], row[1]) not in gone]
    return sorted(gone - {(row[0], row[1]) for row in writes.pending}), stored


def _parked_row(entry: Judged) -> Row:
    item = entry.item
    return (
        item.key,
        (entry.reason or Reason.INTERNAL_ERROR).value,
        entry.detail[:2000],
        entry.holds_key,
        entry.identified,
        item.inlet.value,
        item.name,
        SOURCE_ENCODER.encode(item.source) if item.source else item.body,
        item.cause.correlation.platform_run_id if item.cause else None,
        entry.identity.event_class.number if item.event else None,
        entry.event_id if item.event else None,
        *item.place,
    )


def _inputs(share: Share) -> list[Row]:
    items = [entry.item for entry in share.judged]
    return [(*share.stamp, i, item.inlet.value, item.name, item.ref, item.body) for i, item in enumerate(items)]


def _replies(share: Share) -> list[Row]:
    rows = []
    for effect, item in share.writes.said:
        if item.event is None or item.run_no is None:
            raise RuntimeError(f"input {item.ref} is no command: nobody waits for its reply")
        identity = item.event.identity
        event_id = pack_event_id(identity.event_id)
        rows.append((*share.stamp, item.run_no, identity.event_class.number, event_id, effect.status, encode_reply(effect.body)))
    return rows


def _trace_id(effect: Put | Append, item: Input) -> bytes:
    cause = effect.cause or item.cause
    if cause is None:
        raise RuntimeError(f"input {item.ref} has no cause: name the cause of the effect on {effect.table.name}")
    return bytes.fromhex(cause.correlation.traceparent[3:35])

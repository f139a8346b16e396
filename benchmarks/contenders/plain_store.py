"""The store of the contenders that are not the spine: its tables, and the law's transaction for a batch and for one record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import msgspec

from benchmarks.law import CLASS_NO, RUN_NO, Judged, Output, now, output

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

# The key of an account follows from its partition, so two processes never meet in one of its rows; sorted all the same.
SCHEMA = """
CREATE TABLE inbox (
    run_no int NOT NULL,
    class_no smallint NOT NULL,
    event_id bytea NOT NULL,
    payload_hash bytea NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (run_no, class_no, event_id)
);
CREATE TABLE account (account_id text PRIMARY KEY, balance_minor bigint NOT NULL, postings bigint NOT NULL);
CREATE TABLE mismatch (
    run_no int NOT NULL,
    class_no smallint NOT NULL,
    event_id bytea NOT NULL,
    other_hash bytea NOT NULL,
    first_hash bytea NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (run_no, class_no, event_id, other_hash)
);
CREATE TABLE outbox (
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    key bytea NOT NULL,
    event_id bytea NOT NULL,
    headers bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (partition, "offset")
);
CREATE TABLE position (partition int PRIMARY KEY, next_offset bigint NOT NULL, published bigint NOT NULL);
INSERT INTO position SELECT partition, 0, 0 FROM generate_series(0, 5) AS partition;
"""

_FRESH = """
INSERT INTO inbox
SELECT $5, $6, * FROM unnest($1::bytea[], $2::bytea[], $3::int[], $4::bigint[]) AS g(event_id, payload_hash, partition, "offset")
ORDER BY g.event_id ON CONFLICT DO NOTHING RETURNING event_id
"""

_FIRSTS = "SELECT event_id, payload_hash FROM inbox WHERE run_no = $1 AND class_no = $2 AND event_id = ANY($3::bytea[])"

_ACCOUNTS = """
INSERT INTO account AS a SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
ON CONFLICT (account_id) DO UPDATE SET balance_minor = a.balance_minor + excluded.balance_minor, postings = a.postings + excluded.postings
RETURNING account_id, balance_minor, postings
"""

_MISMATCHES = """
INSERT INTO mismatch SELECT $1, $2, * FROM unnest($3::bytea[], $4::bytea[], $5::bytea[], $6::int[], $7::bigint[]) ON CONFLICT DO NOTHING
"""

_MOVE = """
UPDATE position p SET next_offset = g.stop, published = greatest(p.published, g.published)
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) AS g(partition, start, stop, published)
WHERE p.partition = g.partition AND p.next_offset = g.start
"""

_ONE = """
WITH fresh AS (
    INSERT INTO inbox VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING 1
), posted AS (
    INSERT INTO account AS a SELECT $7, $8, 1 FROM fresh ON CONFLICT (account_id)
    DO UPDATE SET balance_minor = a.balance_minor + excluded.balance_minor, postings = a.postings + 1
    RETURNING balance_minor, postings
), moved AS (
    UPDATE position SET next_offset = $6 + 1, published = greatest(published, $9) WHERE partition = $5 AND next_offset = $6 RETURNING 1
)
SELECT (SELECT true FROM moved) AS moved, (SELECT balance_minor FROM posted) AS balance_minor, (SELECT postings FROM posted) AS postings
"""

_FIRST = "SELECT payload_hash FROM inbox WHERE (run_no, class_no, event_id) = ($1, $2, $3)"
_OUTPUT = "INSERT INTO outbox VALUES ($1, $2, $3, $4, $5, $6)"

MARK = """
UPDATE position p SET published = greatest(p.published, g.published)
FROM unnest($1::int[], $2::bigint[]) AS g(partition, published) WHERE p.partition = g.partition
"""

_LEFT = """
SELECT o.* FROM outbox o JOIN position p USING (partition)
WHERE partition = ANY($1::int[]) AND o."offset" >= p.published ORDER BY partition, "offset"
"""

_HEADERS = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

_OUTBOX = ("partition", "offset", "key", "event_id", "headers", "value")


class OutOfOrderError(Exception):
    """The store does not stand where the batch begins: records are missing or come twice."""


class Range(NamedTuple):
    """Records of one partition in a batch, half-open."""

    start: int
    stop: int


async def apply_batch(connection: Connection, ranges: dict[int, Range], batch: Sequence[Judged], published: dict[int, int]) -> list[Output]:
    """Step 3 for a batch, set-based; `published` is the mark of earlier outputs, which rides along. The outputs, committed."""
    async with connection.transaction():
        new, mismatches = await _dedupe(connection, batch)
        outputs = await _post(connection, new)
        if outputs:
            await connection.copy_records_to_table(
                "outbox",
                records=[(made.partition, made.offset, made.key, made.event_id, made.stored_headers, made.value) for made in outputs],
                columns=_OUTBOX,
            )
        if mismatches:
            columns = zip(
                *((judged.event_id, judged.payload_hash, first, judged.partition, judged.offset) for judged, first in mismatches),
                strict=True,
            )
            await connection.execute(_MISMATCHES, RUN_NO, CLASS_NO, *map(list, columns))
        moved = await connection.execute(
            _MOVE,
            list(ranges),
            [place.start for place in ranges.values()],
            [place.stop for place in ranges.values()],
            [published.get(partition, 0) for partition in ranges],
        )
        if moved != f"UPDATE {len(ranges)}":
            raise OutOfOrderError(f"the store does not stand at {ranges}")
    return outputs


async def _dedupe(connection: Connection, batch: Sequence[Judged]) -> tuple[list[Judged], list[tuple[Judged, bytes]]]:
    """Those that are new, in order, and those whose first had another hash, with it."""
    firsts: dict[bytes, Judged] = {}
    later: list[Judged] = []
    for judged in batch:
        if judged.event_id in firsts:
            later.append(judged)
        else:
            firsts[judged.event_id] = judged
    asked = list(firsts.values())
    fresh = await connection.fetch(
        _FRESH,
        [judged.event_id for judged in asked],
        [judged.payload_hash for judged in asked],
        [judged.partition for judged in asked],
        [judged.offset for judged in asked],
        RUN_NO,
        CLASS_NO,
    )
    known: dict[bytes, bytes] = {}
    if len(fresh) < len(asked):
        added = {row[0] for row in fresh}
        left = [judged.event_id for judged in asked if judged.event_id not in added]
        known = {row[0]: row[1] for row in await connection.fetch(_FIRSTS, RUN_NO, CLASS_NO, left)}
    new = [judged for judged in asked if judged.event_id not in known] if known else asked
    mismatches = [
        (judged, known[judged.event_id]) for judged in asked if known.get(judged.event_id, judged.payload_hash) != judged.payload_hash
    ]
    for judged in later:
        first = known.get(judged.event_id, firsts[judged.event_id].payload_hash)
        if first != judged.payload_hash:
            mismatches.append((judged, first))
    return new, mismatches


async def _post(connection: Connection, new: Sequence[Judged]) -> list[Output]:
    if not new:
        return []
    moves: dict[str, list[int]] = {}
    for judged in new:
        move = moves.setdefault(judged.account_id, [0, 0])
        move[0] += judged.amount_minor
        move[1] += 1
    ordered = sorted(moves.items())
    rows = await connection.fetch(
        _ACCOUNTS, [account for account, _ in ordered], [move[0] for _, move in ordered], [move[1] for _, move in ordered]
    )
    # What an account held before the batch: its row now, less what the batch moved.
    stands = {row[0]: [row[1] - moves[row[0]][0], row[2] - moves[row[0]][1]] for row in rows}
    at = now()
    outputs = []
    for judged in new:
        stand = stands[judged.account_id]
        stand[0] += judged.amount_minor
        stand[1] += 1
        outputs.append(output(judged, stand[1], stand[0], at))
    return outputs


async def apply_one(connection: Connection, judged: Judged, published: int) -> Output | None:
    """Step 3 for one record, in as few round trips as it can be: the output's bytes need the row that the first statement moves."""
    async with connection.transaction():
        row = await connection.fetchrow(
            _ONE,
            RUN_NO,
            CLASS_NO,
            judged.event_id,
            judged.payload_hash,
            judged.partition,
            judged.offset,
            judged.account_id,
            judged.amount_minor,
            published,
        )
        if row is None or not row["moved"]:
            raise OutOfOrderError(f"the store does not stand at {judged.partition}/{judged.offset}")
        if row["postings"] is None:
            first = await connection.fetchval(_FIRST, RUN_NO, CLASS_NO, judged.event_id)
            if first != judged.payload_hash:
                changed = ([judged.event_id], [judged.payload_hash], [first], [judged.partition], [judged.offset])
                await connection.execute(_MISMATCHES, RUN_NO, CLASS_NO, *changed)
            return None
        made = output(judged, row["postings"], row["balance_minor"], now())
        await connection.execute(_OUTPUT, made.partition, made.offset, made.key, made.event_id, made.stored_headers, made.value)
    return made


async def left_behind(connection: Connection, partitions: Sequence[int]) -> list[Output]:
    """Outputs that are stored and not marked: what a process left that ended between its commit and its mark."""
    rows = await connection.fetch(_LEFT, list(partitions))
    return [
        Output(row["partition"], row["offset"], row["key"], row["event_id"], _HEADERS.decode(row["headers"]), row["headers"], row["value"])
        for row in rows
    ]


def ranges_of(batch: Sequence[Judged]) -> dict[int, Range]:
    """What a batch covers of each partition. Its records are in order, and none is missing between them."""
    ranges: dict[int, Range] = {}
    for judged in batch:
        start = ranges[judged.partition].start if judged.partition in ranges else judged.offset
        ranges[judged.partition] = Range(start, judged.offset + 1)
    return ranges

"""Every row of every effect table against the leaves of the chain: altered, missing, or vouched for by nobody (I2, I3, I5)."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.chain import Cert
from audit.findings import Book
from spine.db import Db
from spine.leaves import RELEASED, SIZE, UNCERTIFIED, LeafShape, certified, leaf_of, split
from spine.tables import quote

Leaves = npt.NDArray[np.void]

_HALF = SIZE // 2
_LEAF = np.dtype((np.void, SIZE))

# Tables of the spine that hold no effects, or are checked by other means: the inbox and the log, read sets and their digest.
_OTHERS = {
    "alembic_version",
    "certificate",
    "handover",
    "inbox",
    "lane",
    "lane_lease",
    "lane_position",
    "provenance",
    "read_set",
    "run",
    "worker",
}

_TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
       (SELECT array_agg(k.attname::text) FROM pg_index i JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = ANY(i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary) AS key
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
GROUP BY c.oid, c.relname ORDER BY c.relname
"""

_LAW_OF = {"outbox": "I3", "anomaly": "I5"}


@dataclass(frozen=True)
class EffectTable:
    """A table whose rows have leaves."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def shape(self) -> LeafShape:
        """How its rows become leaves."""
        return LeafShape(self.name, self.columns, self.key)

    @property
    def law(self) -> str:
        """The law that a wrong row of it breaks."""
        return _LAW_OF.get(self.name, "I2")

    def place(self, row: Any) -> str:
        """A row by its key, for a reader."""
        return f"{self.name} {', '.join(f'{name}={shown(row[name])}' for name in self.key)}"

    @property
    def query(self) -> str:
        """Its rows of one lane from one lane_seq to another: the columns that leaves hold."""
        columns = ", ".join(map(self._expression, self.columns))
        return f"SELECT {columns} FROM {quote(self.name)} WHERE lane = $1 AND lane_seq BETWEEN $2 AND $3"

    def _expression(self, name: str) -> str:
        if self.name == "pending" and name == "due":
            # When a call is tried next changes while it waits; only a wait's end is certified.
            return "CASE WHEN task_state IS NULL THEN due END AS due"
        return quote(name)


async def effect_tables(store: Db) -> list[EffectTable]:
    """The tables of the schema that hold effects, the service's own among them."""
    found = []
    for row in await store.fetch(_TABLES):
        if row["name"] in _OTHERS:
            continue
        found.append(EffectTable(row["name"], certified(row["name"], row["columns"]), tuple(sorted(row["key"] or ()))))
    return found


async def check_rows(book: Book, store: Db, tables: list[EffectTable], lane: int, certs: list[Cert], last: int) -> None:
    """Compare the rows that the lane's transactions up to `last` wrote with the leaves of the chain.

    `certs` go on to the lane's newest one: a row that was rewritten after `last` is vouched for by a later leaf.
    """
    if not certs:
        return
    first = certs[0].lane_seq
    due = _newest(certs, last)
    there = await _rows(store, tables, lane, first, last, book)
    missing, surplus = _difference(due, there)
    if not len(missing) and not len(surplus):
        return
    left = await _name(book, store, tables, lane, first, last, _halves(missing), _halves(surplus))
    for which in left:
        writer = next((cert.lane_seq for cert in reversed(certs) if which in dict(split(cert.leaves))), None)
        book.find(
            "I2", "ROW_MISSING", f"leaf {which.hex()}", "this transaction wrote a row that is not there as it was written", lane, writer
        )


def _newest(certs: list[Cert], last: int) -> Leaves:
    """The leaves that rows must have now: of each row the newest one, where it was written up to `last` and is not gone."""
    leaves = np.frombuffer(b"".join(cert.leaves for cert in certs), dtype=">u8").reshape(-1, 4)
    if not len(leaves):
        return np.empty(0, dtype=_LEAF)
    seqs = np.repeat([cert.lane_seq for cert in certs], [len(cert.leaves) // SIZE for cert in certs])
    # Stable: leaves of one row stay in the order in which they were written.
    order = np.lexsort((np.arange(len(leaves)), leaves[:, 1], leaves[:, 0]))
    ordered = leaves[order]
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = (ordered[1:, 0] != ordered[:-1, 0]) | (ordered[1:, 1] != ordered[:-1, 1])
    gone = (ordered[:, 2] == 0) & (ordered[:, 3] == 0)
    kept = ordered[is_last & ~gone & (seqs[order] <= last)]
    return np.ascontiguousarray(kept).view(_LEAF).reshape(-1)


async def _each(store: Db, table: EffectTable, lane: int, first: int, last: int) -> AsyncIterator[tuple[Any, bytes]]:
    shape = table.shape
    async for row in store.cursor(table.query, lane, first, last, prefetch=2000):
        yield row, shape.leaf(tuple(row.values()))


_RELEASED = "SELECT i, lane, lane_seq, released_seq FROM parked WHERE lane = $1 AND released_seq BETWEEN $2 AND $3"


async def _rows(store: Db, tables: list[EffectTable], lane: int, first: int, last: int, book: Book) -> Leaves:
    leaves = bytearray()
    for table in tables:
        count = len(leaves)
        async for _, leaf in _each(store, table, lane, first, last):
            leaves += leaf
        book.figures["rows"] += (len(leaves) - count) // SIZE
    for row in await store.fetch(_RELEASED, lane, first, last):
        leaves += leaf_of(RELEASED, (row["i"], row["lane"], row["lane_seq"]), (row["released_seq"],))
    return np.frombuffer(bytes(leaves), dtype=_LEAF)


def _difference(due: Leaves, there: Leaves) -> tuple[Leaves, Leaves]:
    """(leaves without a row, rows without a leaf)."""
    if len(due) == len(there) and np.array_equal(_sorted(due), _sorted(there)):
        return due[:0], there[:0]
    first, second = set(due.tolist()), set(there.tolist())
    return _array(first - second), _array(second - first)


def _sorted(leaves: Leaves) -> npt.NDArray[np.uint64]:
    numbers = leaves.view(">u8").reshape(-1, 4).astype(np.uint64)
    ordered: npt.NDArray[np.uint64] = numbers[np.lexsort((numbers[:, 3], numbers[:, 2], numbers[:, 1], numbers[:, 0]))]
    return ordered


def _array(leaves: Iterable[bytes]) -> Leaves:
    return np.frombuffer(b"".join(sorted(leaves)), dtype=_LEAF)


def _halves(leaves: Leaves) -> dict[bytes, bytes]:
    return {leaf[:_HALF]: leaf[_HALF:] for leaf in map(bytes, leaves.tolist())}


async def _name(
    book: Book,
    store: Db,
    tables: list[EffectTable],
    lane: int,
    first: int,
    last: int,
    missing: dict[bytes, bytes],
    surplus: dict[bytes, bytes],
) -> dict[bytes, bytes]:
    """Say which rows they are: altered where a leaf of the same row has another content, else unknown. What is left has no row."""
    for table in tables:
        async for row, leaf in _each(store, table, lane, first, last):
            which = leaf[:_HALF]
            if surplus.pop(which, None) is None:
                continue
            altered = missing.pop(which, None) is not None
            code, detail = (
                ("ROW_ALTERED", "it is not what its newest transaction wrote")
                if altered
                else ("ROW_UNKNOWN", "no transaction of its lane wrote it, or a later one rewrote it or took it away")
            )
            book.find(table.law, code, table.place(row), detail, lane, row["lane_seq"])
    for _ in surplus:
        book.find("I2", "ROW_UNKNOWN", RELEASED, "a parked row says released, and no transaction released it", lane)
    return missing


def shown(value: Any) -> str:
    """A column's value for a reader."""
    return value.hex() if isinstance(value, bytes) else str(value)


async def check_epochs(book: Book, store: Db, tables: list[EffectTable]) -> None:
    """No effect carries another epoch than its transaction's (I7)."""
    for table in tables:
        if "epoch" in UNCERTIFIED.get(table.name, ()):
            continue
        count = await store.fetchval(
            f"SELECT count(*) FROM {quote(table.name)} t LEFT JOIN certificate c USING (lane, lane_seq) "
            "WHERE c.epoch IS DISTINCT FROM t.epoch"
        )
        if count:
            book.find("I7", "EPOCH_DIFFERS", table.name, f"{count} rows carry another epoch than their transaction, or have none")


# By the database's clock on both sides: a claim's row is written under the lane's lock, as a certificate is.
_OUT_OF_TIME = """
SELECT c.lane, c.lane_seq, c.epoch, c.applied_at, h.epoch AS claimed, h.at
FROM certificate c JOIN handover h ON h.lane = c.lane AND h.event = 'CLAIMED'
WHERE (h.epoch = c.epoch AND h.at > c.applied_at) OR (h.epoch = c.epoch + 1 AND h.at < c.applied_at)
ORDER BY c.lane, c.lane_seq
"""


async def check_claims(book: Book, store: Db) -> None:
    """Every transaction was applied after its epoch was claimed, and before the next one was (I7)."""
    for row in await store.fetch(_OUT_OF_TIME):
        when = "before" if row["claimed"] == row["epoch"] else "after"
        detail = f"applied at {row['applied_at']} under epoch {row['epoch']}, {when} epoch {row['claimed']} was claimed at {row['at']}"
        book.find("I7", "EPOCH_OUT_OF_TIME", "certificate", detail, row["lane"], row["lane_seq"])

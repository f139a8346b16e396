"""Leaves: 32 bytes for every row that a transaction writes, kept with its certificate (runtime.md, Rules).

16 bytes say which row (table and primary key), 16 what it holds. A certificate's digest of effects is the SHA-256 of its leaves, so whoever
has the chain can tell, for each row of each table, which transaction wrote it last and that nobody has changed it since; without running
any policy, and although a state row is rewritten many times.

A leaf is made of what stands in the table: msgpack of [table, values..], columns in the order of their names, a uuid as its 16 bytes, a
time as msgpack's timestamp. Leaves of rows that are gone (a settled wait) hold sixteen zero bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

SIZE = 32
_HALF = SIZE // 2
GONE = bytes(_HALF)

_pack = msgspec.msgpack.Encoder(uuid_format="bytes").encode

# Columns that no leaf holds: the database's own time of writing, and what changes while a row waits (a call's attempts and next try).
UNCERTIFIED: dict[str, frozenset[str]] = {
    "pending": frozenset({"epoch", "firing", "task_state", "attempt", "attempts"}),
    "parked": frozenset({"recorded_at", "released_seq"}),
}
_ELSEWHERE = frozenset({"recorded_at"})

# A release is a fact of its own about a parked row: a table that exists in leaves only.
RELEASED = "parked.released"


def certified(table: str, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of a table that its leaves hold, in the order of their names."""
    left_out = UNCERTIFIED.get(table, _ELSEWHERE)
    return tuple(sorted(name for name in columns if name not in left_out))


def leaf_of(table: str, key: Sequence[Any], values: Sequence[Any]) -> bytes:
    """The leaf of a row: `key` are its primary key's values, `values` its certified values, each in the order of the columns' names."""
    which = hashlib.sha256(_pack([table, *key])).digest()
    what = hashlib.sha256(_pack([table, *values])).digest()
    return which[:_HALF] + what[:_HALF]


def gone_leaf(table: str, key: Sequence[Any]) -> bytes:
    """The leaf of a row that was taken away."""
    return hashlib.sha256(_pack([table, *key])).digest()[:_HALF] + GONE


def split(leaves: bytes) -> list[tuple[bytes, bytes]]:
    """(which row, what it holds) of every leaf. Raises ValueError for bytes that are no leaves."""
    if len(leaves) % SIZE:
        raise ValueError(f"{len(leaves)} bytes are no leaves: each has {SIZE}")
    return [(leaves[i : i + _HALF], leaves[i + _HALF : i + SIZE]) for i in range(0, len(leaves), SIZE)]


class LeafShape:
    """How rows of one table, given as tuples in some order of columns, become leaves."""

    def __init__(self, table: str, columns: Sequence[str], key: Iterable[str]) -> None:
        self.table = table
        self.columns = tuple(columns)
        at = {name: i for i, name in enumerate(columns)}
        self._key = _picker([at[name] for name in sorted(key)])
        self._values = _picker([at[name] for name in certified(table, columns)])

    def leaf(self, row: Sequence[Any]) -> bytes:
        """The leaf of a row."""
        return leaf_of(self.table, self._key(row), self._values(row))


def _picker(places: list[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    return itemgetter(*places)

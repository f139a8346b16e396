"""Tables of a service as declarations: the spine reads and writes them, the service's migrations create them.

Columns are the fields of a msgspec struct: str -> text, int -> bigint, bool -> boolean, bytes -> bytea, hex fields of laws.fields ->
bytea (16 or 32 raw bytes), each or None. Beside them every table has the stamp columns of STAMP_DDL.
"""

from collections.abc import Callable
from enum import Enum, StrEnum
from functools import cached_property
from operator import attrgetter, itemgetter
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import asyncpg
import msgspec

R = TypeVar("R", bound=msgspec.Struct)

# Where a row comes from: lane and place in its order, the owner's epoch, the record (if it was one), the provenance (runtime.md, Rules).
STAMP_COLUMNS = ("lane", "lane_seq", "epoch", "topic_id", "partition", "offset", "provenance_id", "trace_id")
STAMP_DDL = """
    lane int NOT NULL,
    lane_seq bigint NOT NULL,
    epoch bigint NOT NULL,
    topic_id uuid,
    partition int,
    "offset" bigint,
    provenance_id int NOT NULL,
    trace_id bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
"""

# Storage parameters of a table that gets a row an event. The store's housekeeping goes by shares of a table, and all of a young table is
# new: it vacuumed and sampled each of them once a minute, and every decision of that second waited. From a million rows on, shares mean
# something. No plan needs what it finds: rows are looked up by key (docs/decisions/2026-11-25-store-upkeep.md).
A_ROW_AN_EVENT = "autovacuum_vacuum_insert_threshold = 1000000, autovacuum_analyze_threshold = 1000000"
# Of a table whose rows are rewritten once: the new version finds room on its page, so that no index has to be told of it.
REWRITTEN_ONCE = "fillfactor = 50"


class Mode(Enum):
    """How rows of a table may change."""

    STATE = "state"
    """One row per key; the lane that owns the key rewrites it."""
    APPEND = "append"
    """A truth: rows are added and never changed; the service's role has no right to."""
    SHARED = "shared"
    """One row per (key, lane): a lane writes only its own and reads all of them. No lane waits for another."""


class Column(NamedTuple):
    """One column of a declaration."""

    name: str
    pg_type: str
    is_hex: bool
    enum: type[StrEnum] | None


class Table(Generic[R]):
    """Declaration of one table. `key` names the fields that identify a row; a STATE or SHARED key has one home lane."""

    def __init__(self, name: str, row: type[R], key: tuple[str, ...], mode: Mode) -> None:
        self.name = name
        self.row = row
        self.key = key
        self.mode = mode

    def __repr__(self) -> str:
        return f"Table({self.name})"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns in field order. Raises TypeError, naming the field, for a type that has no column type."""
        hints = get_type_hints(self.row, include_extras=True)
        return tuple(_column(self.name, name, hints[name]) for name in self.row.__struct_fields__)

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key, in key order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)

    @cached_property
    def key_of(self) -> Callable[[R], tuple[Any, ...]]:
        """The key values of a row."""
        return _picker(self.key)

    @cached_property
    def to_sql(self) -> Callable[[R], tuple[Any, ...]]:
        """Column values of a row as asyncpg takes them."""
        pick = _picker(tuple(column.name for column in self.columns))
        return _converted(pick, [_to_sql(column) for column in self.columns])

    @cached_property
    def key_to_sql(self) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        """Key values as asyncpg takes them."""
        return _converted(tuple, [_to_sql(column) for column in self.key_columns])

    @cached_property
    def plain(self) -> Callable[[R], tuple[Any, ...]]:
        """Column values of a row as JSON takes them: raw bytes as hex."""
        return _converted(_picker(tuple(column.name for column in self.columns)), [_to_plain(column) for column in self.columns])

    @cached_property
    def plain_key(self) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        """Key values as JSON takes them."""
        return _converted(tuple, [_to_plain(column) for column in self.key_columns])

    @cached_property
    def has_numbers(self) -> bool:
        """Whether a column holds numbers."""
        return any(column.pg_type == _PLAIN[int] for column in self.columns)

    @cached_property
    def from_sql(self) -> Callable[[asyncpg.Record], R]:
        """The struct of a fetched record."""
        names = [column.name for column in self.columns]
        pick: Convert = itemgetter(*names) if len(names) > 1 else lambda record: (record[names[0]],)
        values = _converted(pick, [_from_sql(column) for column in self.columns])
        return lambda record: self.row(*values(record))


def quote(name: str) -> str:
    """A column or table name for SQL; names come from declarations, and are checked here all the same."""
    if not name.isidentifier():
        raise ValueError(f"name={name!r} is no plain identifier: rename the field")
    return f'"{name}"'


_PLAIN = {str: "text", int: "bigint", bool: "boolean", bytes: "bytea"}


def _column(table: str, name: str, hint: Any) -> Column:
    metadata: tuple[Any, ...] = ()
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
    if hasattr(hint, "__metadata__"):
        metadata = hint.__metadata__
        hint = hint.__origin__
    if any(isinstance(meta, msgspec.Meta) and (meta.pattern or "").startswith("^[0-9a-f]{") for meta in metadata):
        return Column(name, "bytea", True, None)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Column(name, "text", False, hint)
    if hint not in _PLAIN:
        raise TypeError(f"table {table}, field {name}: {hint!r} has no column type; use str, int, bool, bytes, a hex field or a StrEnum")
    return Column(name, _PLAIN[hint], False, None)


Convert = Callable[[Any], Any]


def _picker(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        (name,) = names
        return lambda row: (getattr(row, name),)
    return attrgetter(*names)


def _converted(pick: Callable[[Any], tuple[Any, ...]], converts: list[Convert | None]) -> Callable[[Any], tuple[Any, ...]]:
    """What `pick` gives, with the conversions of the places that have one; NULL stays NULL."""
    changed = [(i, convert) for i, convert in enumerate(converts) if convert is not None]
    if not changed:
        return pick

    def converted(source: Any) -> tuple[Any, ...]:
        values = list(pick(source))
        for i, convert in changed:
            value = values[i]
            if value is not None:
                values[i] = convert(value)
        return tuple(values)

    return converted


def _to_sql(column: Column) -> Convert | None:
    if column.is_hex:
        return bytes.fromhex
    # asyncpg takes an enum's member for the text that it is.
    return None


def _to_plain(column: Column) -> Convert | None:
    return bytes.hex if column.pg_type == _PLAIN[bytes] and not column.is_hex else None


def _from_sql(column: Column) -> Convert | None:
    if column.is_hex:
        return bytes.hex
    return column.enum

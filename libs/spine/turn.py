"""The working memory of one lane in a transaction: what was read, what handlers see, what they decided."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from laws.canonical import MAX_PLAIN_INT, canonical_json
from laws.headers import Provenance
from spine.inputs import Input
from spine.service import (
    Anomaly,
    Append,
    Call,
    Effect,
    Emit,
    Put,
    ReadWaits,
    Reply,
    Settle,
    Wait,
    Waiting,
)
from spine.tables import Mode, Table

R = TypeVar("R", bound=msgspec.Struct)

Key = tuple[Any, ...]


_EFFECTS = frozenset({Put, Append, Emit, Wait, Settle, Call, Anomaly, Reply})
# What no handler of the same transaction can see.
_UNSEEN = (Emit, Append)


class UndeclaredReadError(Exception):
    """A handler read what its `reads` does not declare: the row was not fetched, and answering None would be a lie."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was read but is not declared by the door's reads: add it there")


class IllegalEffectError(Exception):
    """A handler's effect breaks a rule of the contract."""


class Versioned(NamedTuple):
    """A row and where it was written: (lane, lane_seq)."""

    row: Any
    lane: int
    lane_seq: int


Shared = dict[Table[Any], dict[Key, dict[int, Versioned]]]
"""Rows of tables that lanes share, by key and lane."""


class Decided(NamedTuple):
    """The effects of one input."""

    item: Input
    effects: tuple[Effect, ...]
    read_sets: tuple[bytes, ...]


class Turn:
    """Implements `spine.service.State` for the handlers of one transaction."""

    def __init__(self, lane: int, lane_seq: int, provenance: Provenance, shared: Shared | None = None) -> None:
        """`shared`: the rows that all lanes write, common to the lanes of a transaction, so that each sees what those before it decided."""
        self._lane = lane
        self._lane_seq = lane_seq
        self._provenance = provenance
        self._rows: dict[Table[Any], dict[Key, Versioned | None]] = {}
        self._shared: Shared = {} if shared is None else shared
        self._shared_keys: dict[Table[Any], set[Key]] = {}
        self._waits: dict[ReadWaits, dict[str, Waiting]] = {}
        self._dirty: dict[Table[Any], dict[Key, tuple[Put, Input]]] = {}
        self._looks: list[tuple[Table[Any], Key, list[Versioned]]] = []
        self._keep_looks = False
        self._read_sets: list[bytes] = []

    # --- what the transaction fetched ---

    def load(self, table: Table[Any], keys: Iterable[Key], rows: Iterable[Versioned]) -> None:
        """Take the rows of `keys`; a key without a row is known to be absent."""
        if table.mode is Mode.SHARED:
            shared = self._shared.setdefault(table, {})
            keys = list(keys)
            self._shared_keys.setdefault(table, set()).update(keys)
            for key in keys:
                shared.setdefault(key, {})
            for versioned in rows:
                shared[table.key_of(versioned.row)][versioned.lane] = versioned
            return
        plain = self._rows.setdefault(table, {})
        for key in keys:
            plain.setdefault(key, None)
        for versioned in rows:
            plain[table.key_of(versioned.row)] = versioned

    def load_waits(self, wanted: Iterable[ReadWaits], found: Iterable[Waiting]) -> None:
        """Take the waits of the wanted kinds and keys, oldest first."""
        for read in wanted:
            self._waits.setdefault(read, {})
        for waiting in found:
            self._waits[ReadWaits(waiting.kind, waiting.key)][waiting.ref] = waiting

    # --- State ---

    @property
    def provenance(self) -> Provenance:
        """Policy revision, bundle, config digest and release under which this runs."""
        return self._provenance

    def get(self, table: Table[R], *key: Any) -> R | None:
        """The row of `key`, or None."""
        try:
            found = self._rows[table][key]
        except KeyError:
            raise UndeclaredReadError(f"{table.name}{key}") from None
        self._looks.append((table, key, [found] if found else []))
        return found.row if found else None

    def all_lanes(self, table: Table[R], *key: Any) -> tuple[R, ...]:
        """The rows of every lane, in lane order."""
        found = self._shared_rows(table, key)
        ordered = [found[lane] for lane in sorted(found)]
        # What other lanes wrote can't be refolded from this lane's inputs: the read itself must be kept.
        self._keep_looks = True
        self._looks.append((table, key, ordered))
        return tuple(versioned.row for versioned in ordered)

    def own(self, table: Table[R], *key: Any) -> R | None:
        """This lane's row of a shared table, or None."""
        found = self._shared_rows(table, key).get(self._lane)
        return found.row if found else None

    def waits(self, kind: str, key: str) -> tuple[Waiting, ...]:
        """The waits of a kind under a key, oldest first."""
        try:
            return tuple(self._waits[ReadWaits(kind, key)].values())
        except KeyError:
            raise UndeclaredReadError(f"waits({kind!r}, {key!r})") from None

    def read_set(self) -> bytes:
        """Canonical JSON of everything that this handler has read since it last asked."""
        looks = [
            (table.name, table.plain_key(key), [(lane, lane_seq, table.plain(row)) for row, lane, lane_seq in versions])
            for table, key, versions in self._looks
        ]
        read_set = _canonical_looks(looks, [look for look, (table, _, _) in zip(looks, self._looks, strict=True) if table.has_numbers])
        self._read_sets.append(read_set)
        self._looks, self._keep_looks = [], False
        return read_set

    def _shared_rows(self, table: Table[Any], key: Key) -> dict[int, Versioned]:
        # That another lane of the transaction declared it is no excuse: alone, this lane would not have it.
        if key not in self._shared_keys.get(table, ()):
            raise UndeclaredReadError(f"{table.name}{key}")
        return self._shared[table][key]

    # --- running handlers ---

    def decide(self, item: Input) -> Decided:
        """Run the input's handler. Nothing of it is in this memory before `take`, so a handler that raises leaves no trace."""
        self._looks, self._keep_looks, self._read_sets = [], False, []
        if item.apply is None:
            return Decided(item, (), ())
        effects = tuple(item.apply(self))
        for effect in effects:
            self._check(effect)
        if self._keep_looks:
            self.read_set()
        return Decided(item, effects, tuple(self._read_sets))

    def take(self, decided: Decided) -> None:
        """Make the effects of an input visible to the handlers after it."""
        for effect in decided.effects:
            self._take(effect, decided.item)

    def _check(self, effect: Effect) -> None:
        if type(effect) not in _EFFECTS:
            raise IllegalEffectError(f"{type(effect).__name__} is no effect")
        if type(effect) is Put and effect.table.mode is Mode.APPEND:
            raise IllegalEffectError(f"Put into {effect.table.name}: it is append-only, use Append")
        if type(effect) is Append and effect.table.mode is not Mode.APPEND:
            raise IllegalEffectError(f"Append to {effect.table.name}: it is a state table, use Put")

    def _take(self, effect: Effect, item: Input) -> None:
        if isinstance(effect, _UNSEEN):
            return
        if isinstance(effect, Put):
            table = effect.table
            key = table.key_of(effect.row)
            versioned = Versioned(effect.row, self._lane, self._lane_seq)
            self._dirty.setdefault(table, {})[key] = (effect, item)
            if table.mode is Mode.SHARED:
                self._shared_keys.setdefault(table, set()).add(key)
                self._shared.setdefault(table, {}).setdefault(key, {})[self._lane] = versioned
            else:
                self._rows.setdefault(table, {})[key] = versioned
        elif isinstance(effect, Wait):
            read = ReadWaits(effect.kind, effect.key)
            if read in self._waits and item.event is not None:
                waiting = Waiting(effect.kind, wait_ref(item), effect.key, item.event)
                self._waits[read][waiting.ref] = waiting
        elif isinstance(effect, Settle):
            self._waits[ReadWaits(effect.waiting.kind, effect.waiting.key)].pop(effect.waiting.ref, None)

    def dirty(self) -> list[tuple[Table[Any], list[tuple[Put, Input]]]]:
        """State rows to write: tables by name, rows by key, so that no two transactions lock in another order."""
        return [
            (table, [rows[key] for key in sorted(rows, key=_sort_key)])
            for table, rows in sorted(self._dirty.items(), key=lambda entry: entry[0].name)
        ]


def wait_ref(item: Input) -> str:
    """The name of the wait of an input within its kind: its identity, so that no input waits twice."""
    if item.event is None:
        raise IllegalEffectError("Wait keeps the input's event, but a timer or an answer has none of its own")
    identity = item.event.identity
    return f"{identity.platform_run_id}/{identity.event_class}/{identity.event_id}"


_encode = msgspec.json.Encoder().encode
_Look = tuple[str, Key, list[tuple[int, int, tuple[Any, ...]]]]


def _canonical_looks(looks: list[_Look], with_numbers: list[_Look]) -> bytes:
    """The canonical JSON of lists of what columns hold: text, whole numbers, truth values.

    Of such values msgspec writes the canonical form by itself, if all is ASCII and every number is exact as a double.
    """
    numbers = (value for _, key, versions in with_numbers for values in (key, *(row for _, _, row in versions)) for value in values)
    if all(-MAX_PLAIN_INT <= value <= MAX_PLAIN_INT for value in numbers if type(value) is int):
        encoded = _encode(looks)
        if encoded.isascii():
            return encoded
    return canonical_json(looks)


def _sort_key(key: Key) -> tuple[Any, ...]:
    return tuple((part is None, part) for part in key)

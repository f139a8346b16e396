"""A service's lanes in memory: handlers run on the spine's own turn, as in a transaction, without a database or a broker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from laws.catalogue import EVENT_TYPES, EventType
from laws.coordinates import Coordinate
from laws.encode import canonical_struct
from laws.envelope import decode_envelope
from laws.headers import Correlation, Provenance
from laws.identity import Identity
from laws.payload_hash import payload_hash
from spine.emission import Emitter, OutboxRow
from spine.inputs import Inlet, Input, reads_of
from spine.service import Answer, Append, Cause, Due, Effect, Emit, Event, On, Put, Reads, ReadWaits, Settle, Task, Timer, Wait, Waiting
from spine.tables import Mode, Table
from spine.turn import Decided, Turn, Versioned, wait_ref

RUN = "platform_20260105T000000Z"
OTHER_RUN = "platform_20260106T000000Z"
SCENARIO_RUN = "5" * 32
TS = "2026-01-05T12:00:00.000000Z"
PROVENANCE = Provenance("test.policy.v1", "b" * 64, "c" * 64, "test-release")


def cause_of(event_id: str, run: str = RUN, ts_utc: str = TS) -> Cause:
    """The cause of an event: a trace of its own and the six pins."""
    trace = payload_hash(event_id, None, None).hex()
    correlation = Correlation(f"00-{trace[:32]}-{trace[32:48]}-00", "", run, SCENARIO_RUN, "P6", event_id, "ig")
    return Cause(correlation, "1" * 64, "2" * 64, "42", "baseline_v1", ts_utc)


def event_of(  # the parts of one record
    event_type: EventType, event_id: str, body: msgspec.Struct, *, run: str = RUN, ts_utc: str = TS, offset: int = 7
) -> Event[Any]:
    """A judged record of a type of the catalogue."""
    assert event_type.topic is not None
    payload = canonical_struct(body)
    version = event_type.schema_versions[-1] if event_type.schema_versions else None
    key = event_type.topic.key.key_of(event_id, msgspec.to_builtins(body))
    assert key is not None
    return Event(
        identity=Identity(run, event_type.event_class, event_id),
        event_type=event_type.name,
        body=msgspec.json.decode(payload, type=event_type.contract),
        payload_hash=payload_hash(event_type.name, payload, version),
        ts_utc=ts_utc,
        producer="test",
        cause=cause_of(event_id, run, ts_utc),
        key=key,
        origin=Coordinate("cluster", "topic-id", event_type.topic.name, event_type.topic.partition(key), offset),
    )


def record(door: On, event: Event[Any]) -> Input:
    """A record at a door."""
    apply = door.apply
    assert apply is not None
    return Input(
        Inlet.RECORDS,
        event.key,
        event.identity.event_id,
        event=event,
        cause=event.cause,
        apply=lambda state: apply(event, state),
        reads=lambda: door.reads(event),
        reads_then=lambda state: door.reads_then(event, state),
    )


def fired(timer: Timer, waiting: Waiting, *, capped: bool = False) -> Input:
    """A wait that came due."""
    due: Due[Any] = Due(waiting.event, 1, capped)
    return Input(
        Inlet.TIMER,
        waiting.event.key,
        waiting.ref,
        cause=waiting.event.cause,
        apply=lambda state: timer.apply(due, state),
        reads=lambda: timer.reads(due),
        settles=(waiting.kind, waiting.ref),
    )


def answered(task: Task, answer: Answer) -> Input:
    """A settled call."""
    return Input(
        Inlet.ANSWER,
        answer.ref.encode(),
        answer.ref,
        cause=answer.cause,
        apply=lambda state: task.on_answer(answer, state),
        reads=lambda: task.reads(answer),
    )


class Published(NamedTuple):
    """One output: its event id, its body as a consumer decodes it, and its stored bytes."""

    event_id: str
    parent_event_id: str | None
    body: Any
    row: OutboxRow


def published(effects: Sequence[Effect], cause: Cause, *, service: str = "test", provenance: Provenance = PROVENANCE) -> list[Published]:
    """What these effects of one input put on the bus: each lawful for the emitter, and equal once decoded under its contract."""
    emitter = Emitter(service, "df", "P6", provenance)
    outputs = []
    for effect in effects:
        if not isinstance(effect, Emit):
            continue
        row = emitter.row(effect, effect.cause or cause, TS)
        envelope = decode_envelope(row.value)
        body = msgspec.json.decode(bytes(envelope.payload), type=EVENT_TYPES[envelope.event_type].contract)
        assert body == effect.body
        outputs.append(Published(envelope.event_id, envelope.parent_event_id, body, row))
    return outputs


@dataclass
class FakeStore:
    """What all lanes of a service have written. Every row has gone through the form in which the database would hold it."""

    rows: dict[Table[Any], dict[tuple[Any, ...], dict[int, Versioned]]] = field(default_factory=dict)
    waits: dict[int, dict[tuple[str, str], Waiting]] = field(default_factory=dict)

    def all(self, table: Table[Any]) -> list[Any]:
        """Every row of a table, in the order of first writing."""
        return [versioned.row for lanes in self.rows.get(table, {}).values() for versioned in lanes.values()]

    def write(self, effect: Put | Append, lane: int, lane_seq: int) -> None:
        """Store a row. Raises AssertionError for a second row of one key of an append-only table."""
        table = effect.table
        names = [column.name for column in table.columns]
        row = table.from_sql(dict(zip(names, table.to_sql(effect.row), strict=True)))  # type: ignore[arg-type]  # any mapping will do
        assert row == effect.row
        lanes = self.rows.setdefault(table, {}).setdefault(table.key_of(row), {})
        assert not (isinstance(effect, Append) and lanes), f"{table} has a row of key {table.key_of(row)} already"
        lanes[lane if table.mode is Mode.SHARED else 0] = Versioned(row, lane, lane_seq)


class FakeLane:
    """One lane over a store."""

    def __init__(self, store: FakeStore | None = None, lane: int = 0, provenance: Provenance = PROVENANCE) -> None:
        self.store = FakeStore() if store is None else store
        self.lane = lane
        self.lane_seq = 0
        self._provenance = provenance

    @property
    def waits(self) -> list[Waiting]:
        """The waits of this lane, oldest first."""
        return list(self.store.waits.get(self.lane, {}).values())

    def one(self, item: Input) -> tuple[Effect, ...]:
        """The effects of an input that has a transaction of its own."""
        return self.run(item)[0].effects

    def run(self, *items: Input) -> list[Decided]:
        """Apply inputs in one transaction: what they declare is fetched first, then each sees the effects of those before it."""
        self.lane_seq += 1
        turn = Turn(self.lane, self.lane_seq, self._provenance)
        self._fetch(turn, items, lambda item: item.reads())
        self._fetch(turn, items, lambda item: item.reads_then(turn) if item.reads_then else ())
        done = []
        for item in items:
            decided = turn.decide(item)
            turn.take(decided)
            done.append(decided)
        for decided in done:
            self._commit(decided)
        return done

    def _fetch(self, turn: Turn, items: Sequence[Input], declare: Callable[[Input], Reads]) -> None:
        rows, waits = reads_of([read for item in items for read in declare(item)])
        for read in rows:
            turn.load(read.table, [read.key], self.store.rows.get(read.table, {}).get(read.key, {}).values())
        turn.load_waits(waits, [waiting for waiting in self.waits if ReadWaits(waiting.kind, waiting.key) in waits])

    def _commit(self, decided: Decided) -> None:
        waits = self.store.waits.setdefault(self.lane, {})
        item = decided.item
        if item.settles is not None:
            del waits[item.settles]
        for effect in decided.effects:
            if isinstance(effect, Put | Append):
                self.store.write(effect, self.lane, self.lane_seq)
            elif isinstance(effect, Wait):
                assert item.event is not None
                waits[(effect.kind, wait_ref(item))] = Waiting(effect.kind, wait_ref(item), effect.key, item.event)
            elif isinstance(effect, Settle):
                del waits[(effect.waiting.kind, effect.waiting.ref)]

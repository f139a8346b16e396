"""What the four inlets hand to the transaction, and how a record becomes an event (runtime.md, Four inlets; The transaction, decode)."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache, partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from asyncpg.pgproto.pgproto import UUID

from laws.catalogue import EVENT_TYPES, EventType, Refusal, check_envelope
from laws.coordinates import Coordinate
from laws.envelope import Envelope, SharedFields, decode_known, shared_fields
from laws.headers import Correlation, read_correlation
from laws.identity import Identity
from laws.payload_hash import payload_hash
from laws.reasons import Reason
from spine.service import Anomaly, Cause, Effects, Event, LaneGroup, On, Read, Reads, ReadWaits, State, no_more_reads, no_reads


class Inlet(StrEnum):
    """The doors by which a truth may change."""

    RECORDS = "records"
    COMMAND = "command"
    TIMER = "timer"
    ANSWER = "answer"


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record (or command) as it came: enough to judge it again. `offset` is -1 for a command."""

    cluster_id: str
    topic_id: str
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def coordinate(self) -> Coordinate | None:
        """Where the record stands; None for a command."""
        if self.offset < 0:
            return None
        return Coordinate(self.cluster_id, self.topic_id, self.topic, self.partition, self.offset)


Place = tuple[Any, Any, Any]
"""(topic id, partition, offset) of a record as rows have it; three Nones for everything else."""

_NOWHERE: Place = (None, None, None)


@lru_cache(maxsize=1024)
def uuid_of(text: str) -> UUID:
    """A topic id as the store takes it: asyncpg's own type goes on the wire without a detour. The same few are used for every row."""
    return UUID(text)


_PLACE_OF = attrgetter("topic", "partition")

SOURCE_ENCODER = msgspec.msgpack.Encoder()
SOURCE_DECODER = msgspec.msgpack.Decoder(Source)


class Poison(NamedTuple):
    """Why an input can't be applied."""

    reason: Reason
    detail: str
    anomaly: Anomaly | None = None
    """What is recorded and published of it beside the parked row."""


class Input(msgspec.Struct, gc=False):
    """One thing to apply. Exactly one of `event` (records and commands) and `apply` without an event (timers, answers) leads."""

    inlet: Inlet
    key: bytes
    ref: str
    source: Source | None = None
    event: Event[Any] | None = None
    poison: Poison | None = None
    cause: Cause | None = None
    apply: Callable[[State], Effects] | None = None
    reads: Callable[[], Reads] = tuple
    reads_then: Callable[[State], Reads] | None = None
    name: str = ""
    body: bytes = b""
    """For inlets other than records: what is written to `input`, so that a replay has it."""
    settles: tuple[str, str] | None = None
    """(kind, ref) of the pending row that is over with this input."""
    parked_at: tuple[int, int] | None = None
    """(lane_seq, i) of the parked row that this input is released from."""
    identified: bool = False
    """Its identity is in the inbox already, from when it was parked."""
    run_no: int | None = None
    place: Place = _NOWHERE
    """Where its record stands."""


# Combinations of an envelope's shared fields whose judgement is kept: some hundred a run.
_COMBINATIONS = 1024


class _Combination(NamedTuple):
    """What is the same for all events with the same shared fields: judged for the first of them."""

    event_type: EventType
    topic: str | None
    """The type's topic by name."""
    decode_body: Callable[[bytes], Any]


class Decoder:
    """Decodes the records of one lane group."""

    def __init__(self, group: LaneGroup) -> None:
        self.claims = group.claims
        self._doors: dict[str, On] = {door.event_type.name: door for door in group.doors}
        self._bodies = {name: msgspec.json.Decoder(event_type.contract).decode for name, event_type in EVENT_TYPES.items()} | {
            door.event_type.name: msgspec.json.Decoder(door.event_type.contract).decode for door in group.doors
        }
        self._types = EVENT_TYPES | {door.event_type.name: door.event_type for door in group.doors}
        self._commands = {command.event_type.name: command for command in group.commands}
        for command in group.commands:
            self._types[command.event_type.name] = command.event_type
            self._bodies[command.event_type.name] = msgspec.json.Decoder(command.event_type.contract).decode
        self._known: dict[SharedFields, _Combination | Poison] = {}

    def record(self, source: Source) -> Input:
        """The input of a record; a failure is poison on that input, never an exception for its batch."""
        event = self._event(source)
        place = (uuid_of(source.topic_id), source.partition, source.offset) if source.topic_id else _NOWHERE
        taken = Input(Inlet.RECORDS, source.key, f"{source.topic}/{source.partition}/{source.offset}", source, place=place)
        if isinstance(event, Poison):
            taken.poison = event
            return taken
        door = self._doors.get(event.event_type)
        if door is None:
            allowed = sorted(self._doors)
            taken.poison = Poison(Reason.EVENT_TYPE_NOT_ALLOWED, f"event_type={event.event_type!r} is not one of {allowed}")
            return taken
        taken.event = event
        taken.cause = event.cause
        if door.apply is not None:
            taken.apply = partial(door.apply, event)
            if door.reads is not no_reads:
                taken.reads = partial(door.reads, event)
            if door.reads_then is not no_more_reads:
                taken.reads_then = partial(door.reads_then, event)
        return taken

    def command(self, source: Source) -> Input:
        """The input of a command whose envelope the boundary made. Raises ValueError naming what is wrong with it."""
        event = self._event(source)
        if isinstance(event, Poison):
            raise ValueError(f"{event.reason}: {event.detail}")
        command = self._commands.get(event.event_type)
        if command is None:
            raise ValueError(f"event_type={event.event_type!r} is no command here: use one of {sorted(self._commands)}")
        apply, reads = command.apply, command.reads
        return Input(
            Inlet.COMMAND,
            source.key,
            f"{event.identity.event_class}/{event.identity.event_id}",
            source=source,
            event=event,
            cause=event.cause,
            apply=lambda state: apply(event, state),
            reads=lambda: reads(event),
            name=event.event_type,
            body=SOURCE_ENCODER.encode(source),
        )

    def event_type(self, name: str) -> EventType | None:
        """A type that this decoder knows by its name."""
        return self._types.get(name)

    def any_event(self, source: Source) -> Event[Any]:
        """The event of a source that was lawful when it was kept. Raises ValueError when it is not any more."""
        event = self._event(source)
        if isinstance(event, Poison):
            raise ValueError(f"{event.reason}: {event.detail}")
        return event

    def again(self, source: Source) -> Input:
        """The input of a kept source, whichever door it came by."""
        return self.command(source) if source.offset < 0 else self.record(source)

    def _event(self, source: Source) -> Event[Any] | Poison:
        try:
            envelope, known = decode_known(source.value, self._known)
        except msgspec.MsgspecError as error:
            return Poison(Reason.ENVELOPE_INVALID, str(error))
        correlation, missing = read_correlation(source.headers)
        if correlation is None:
            return Poison(Reason.CORRELATION_MISSING, f"missing or invalid headers: {', '.join(missing)}")
        known = known or self._judge(envelope)
        if isinstance(known, Poison):
            return known
        event_type, topic, decode_body = known
        event_id = envelope.event_id
        if envelope.platform_run_id != correlation.platform_run_id or event_id != correlation.event_id:
            return Poison(
                Reason.ENVELOPE_INVALID,
                f"headers say run {correlation.platform_run_id}, event {correlation.event_id}; "
                f"the envelope says run {envelope.platform_run_id}, event {event_id}",
            )
        if source.topic != topic and source.topic:
            return Poison(Reason.EVENT_TYPE_NOT_ALLOWED, f"event_type={event_type.name!r} does not travel on {source.topic}")
        raw = bytes(envelope.payload)
        if not raw:
            return Poison(Reason.CONTRACT_INVALID, f"{event_type.name}: payload is absent; its contract requires one")
        try:
            body = decode_body(raw)
        except msgspec.MsgspecError as error:
            return Poison(Reason.CONTRACT_INVALID, f"{event_type.name}: {error}")
        return Event(
            identity=Identity(correlation.platform_run_id, event_type.event_class, event_id),
            event_type=event_type.name,
            body=body,
            payload_hash=payload_hash(envelope.event_type, raw, envelope.schema_version),
            ts_utc=envelope.ts_utc,
            producer=envelope.producer,
            cause=cause_of(correlation, envelope),
            key=source.key,
            origin=source.coordinate,
        )

    def _judge(self, envelope: Envelope) -> _Combination | Poison:
        """The first sight of a combination. All that is looked at here is among the shared fields."""
        # Types that a test or a new service declares for itself are not in the catalogue; the same checks hold for them.
        checked = check_envelope(envelope, self._types.get(envelope.event_type))
        judged: _Combination | Poison
        if isinstance(checked, Refusal):
            judged = Poison(checked.reason, f"{checked.field}={checked.value!r}: {checked.advice}")
        else:
            judged = _Combination(checked, checked.topic.name if checked.topic else None, self._bodies[checked.name])
        if len(self._known) >= _COMBINATIONS:
            self._known.clear()
        self._known[shared_fields(envelope)] = judged
        return judged


def cause_of(correlation: Correlation, envelope: Envelope) -> Cause:
    """What descends from a record, or is told of it, says of where it comes from."""
    return Cause(correlation, envelope.manifest_fingerprint, envelope.parameter_hash, envelope.seed, envelope.scenario_id, envelope.ts_utc)


def reads_of(declared: Reads) -> tuple[set[Read], set[ReadWaits]]:
    """The declared reads, each once: rows and waits."""
    rows: set[Read] = set()
    waits: set[ReadWaits] = set()
    for read in declared:
        if isinstance(read, Read):
            rows.add(read)
        else:
            waits.add(read)
    return rows, waits


def ranges_of(inputs: Sequence[Input]) -> dict[tuple[str, int], tuple[int, int, str, str]]:
    """{(topic, partition): (start, end, topic id, cluster id)} of the records among the inputs; offsets must be contiguous by then."""
    ranges: dict[tuple[str, int], tuple[int, int, str, str]] = {}
    sources = (item.source for item in inputs if item.inlet is Inlet.RECORDS and item.source is not None)
    for place, some in groupby(sources, _PLACE_OF):
        taken = list(some)
        first, last = taken[0], taken[-1]
        start = ranges[place][0] if place in ranges else first.offset
        ranges[place] = (start, last.offset + 1, last.topic_id, last.cluster_id)
    return ranges

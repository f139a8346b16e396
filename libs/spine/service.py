"""The public contract: what a service is, and the rules that its author may rely on.

A service is its doors (which records, commands, timers and answers change its truth), its policy (pure functions), its tables and what
it emits. The spine does the rest, and promises:

- Every input enters by one of four doors and is applied under its home lane's row lock, in one transaction with its dedupe identity, its
  effects, its outbox rows, its certificate and its position. It is applied once, or kept with a reason; never dropped.
- A handler is called with an input that is NEW. A DUPLICATE never reaches it. A MISMATCH never reaches it: the spine records the anomaly.
- A handler is pure: (input, state) -> effects. It may not read a clock, draw a random number, or do I/O. It sees the effects of all
  inputs before it, not its own. What it may read, it declares by `reads`; an undeclared read raises UndeclaredReadError.
- A handler that raises makes its input POISON: parked with its reason, its key behind it; other keys flow.
- Nobody but the spine opens a transaction, publishes, or calls the outside. A task's `submit` and `lookup` run between two transactions
  and may block only on their own I/O; they are given a deadline and own no state.
- Output bytes are made once, in the transaction, stored, and published as they are stored: a retry can't publish something else.
- The spine owns start, drain and shutdown. A handler never sees them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from laws.catalogue import EventType
from laws.claims import Fetch
from laws.contracts.audit import SubjectKey
from laws.coordinates import Coordinate
from laws.headers import Correlation, Provenance
from laws.identity import Identity
from laws.pins import ContextPins
from laws.reasons import Reason
from spine.tables import Table

if TYPE_CHECKING:
    from fastapi import APIRouter

    from spine.deadline import Deadline
    from spine.surface import ServiceContext

B = TypeVar("B", bound=msgspec.Struct, covariant=True)
R = TypeVar("R", bound=msgspec.Struct)


class Cause(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an effect descends from: trace, run headers and pins. Everything emitted carries its cause's."""

    correlation: Correlation
    manifest_fingerprint: str
    parameter_hash: str | None
    seed: str | None
    scenario_id: str | None
    ts_utc: str

    @property
    def pins(self) -> ContextPins:
        """The six pins. Raises ValueError where the cause carries fewer (control and audit classes)."""
        if self.parameter_hash is None or self.seed is None or self.scenario_id is None:
            raise ValueError(f"event {self.correlation.event_id} carries no full set of pins: its class does not require them")
        return ContextPins(
            platform_run_id=self.correlation.platform_run_id,
            scenario_run_id=self.correlation.scenario_run_id,
            manifest_fingerprint=self.manifest_fingerprint,
            parameter_hash=self.parameter_hash,
            seed=self.seed,
            scenario_id=self.scenario_id,
        )


class Event(msgspec.Struct, Generic[B], frozen=True, gc=False):
    """One judged record or command. `origin` is None for a command."""

    identity: Identity
    event_type: str
    body: B
    payload_hash: bytes
    ts_utc: str
    producer: str | None
    cause: Cause
    key: bytes
    origin: Coordinate | None


class Due(msgspec.Struct, Generic[B], frozen=True):
    """A wait that came due: the event that waited, how often the timer fired, and whether the hard cap ended it."""

    event: Event[B]
    firing: int
    capped: bool


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """What one call to the outside, or one look-up, said."""

    result: str
    code: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """The settled answer of the outside to one Call.

    `result` is DONE (it was done, `body` is what it said), REFUSED (it will never be done, `code` says why), EXHAUSTED (it was not
    done, and the attempts are spent) or UNCERTAIN (the outside could not be asked within the task's cap; nothing may be assumed).
    """

    ref: str
    result: str
    request: bytes
    attempts: tuple[Attempt, ...]
    cause: Cause
    body: bytes = b""
    code: str | None = None


# --- what a handler reads -------------------------------------------------------------------------------------------------------------


class Read(msgspec.Struct, frozen=True, gc=False):
    """One row (or, for a shared table, the rows of all lanes) that a handler will ask for."""

    table: Table[Any]
    key: tuple[Any, ...]


class ReadWaits(msgspec.Struct, frozen=True, gc=False):
    """The waits of one kind under one key."""

    kind: str
    key: str


class State(Protocol):
    """What a handler may look at. Every look is recorded."""

    @property
    def provenance(self) -> Provenance:
        """Policy revision, bundle, config digest and release under which this runs."""
        ...

    def get(self, table: Table[R], *key: Any) -> R | None:
        """The row of `key` in a table of this lane, or None."""
        ...

    def all_lanes(self, table: Table[R], *key: Any) -> tuple[R, ...]:
        """The rows of `key` of every lane that wrote one, in lane order. Only for a shared table."""
        ...

    def own(self, table: Table[R], *key: Any) -> R | None:
        """This lane's row of `key` in a shared table, or None."""
        ...

    def waits(self, kind: str, key: str) -> tuple["Waiting", ...]:
        """The waits of `kind` under `key`, oldest first."""
        ...

    def read_set(self) -> bytes:
        """Canonical JSON of everything that this handler has read since it last asked, values and versions.

        The spine stores it beside the effects; its `laws.ids.snapshot_hash` finds it again. Reads of shared tables are stored in any case.
        """
        ...


# --- what a handler answers -----------------------------------------------------------------------------------------------------------


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write the row of its key in a state table (of a shared table: this lane's row)."""

    table: Table[Any]
    row: msgspec.Struct
    cause: Cause | None = None
    """Whose trace the row is stamped with; by default the input's."""


class Append(msgspec.Struct, frozen=True, gc=False):
    """Add a row to an append-only table. A second row with the same key makes the input POISON."""

    table: Table[Any]
    row: msgspec.Struct
    cause: Cause | None = None


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Publish an event, once committed. Pins, run headers and trace are those of `cause` (by default of the input)."""

    event_type: EventType
    event_id: str
    body: msgspec.Struct
    parent_event_id: str | None = None
    cause: Cause | None = None


class Wait(msgspec.Struct, frozen=True):
    """Keep the input, under `key`, until it is settled or `seconds` have passed since now, by the database's clock.

    With `until_read`, the wait ends only when the lane has also read that topic up to the end that stood there at first sight; `cap`
    seconds end it in any case.
    """

    kind: str
    key: str
    seconds: float
    until_read: str | None = None
    cap: float | None = None


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A wait that is not settled yet."""

    kind: str
    ref: str
    key: str
    event: Event[Any]


class Settle(msgspec.Struct, frozen=True, gc=False):
    """End a wait: what it waited for has come."""

    waiting: Waiting


class Call(msgspec.Struct, frozen=True):
    """Ask the outside, after commit, by the task's name. `ref` is the idempotency key: one answer per (task, ref), ever."""

    task: str
    ref: str
    request: bytes
    cause: Cause | None = None


class Anomaly(msgspec.Struct, frozen=True):
    """Record an anomaly of the service's own judgement, with both hashes as evidence, and publish it."""

    reason: Reason
    subject: SubjectKey
    first_hash: bytes
    other_hash: bytes
    details: dict[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """What the caller of a command is told: durable with the command, repeated for its duplicates."""

    status: int
    body: msgspec.Struct


Effect = Put | Append | Emit | Wait | Settle | Call | Anomaly | Reply
Effects = Iterable[Effect]
Reads = Iterable[Read | ReadWaits]


def no_reads(_: Any) -> Reads:
    """For a handler that decides from its input alone."""
    return ()


def no_more_reads(_: Any, __: State) -> Reads:
    """For a handler whose reads are all known from its input."""
    return ()


# --- the doors ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class On:
    """Records of one event type. `apply=None` judges and counts them without any effect."""

    event_type: EventType
    apply: Callable[[Event[Any], State], Effects] | None
    reads: Callable[[Event[Any]], Reads] = no_reads
    reads_then: Callable[[Event[Any], State], Reads] = no_more_reads
    """What to read once the rows of `reads` are known: keys that stand in those rows. Rows of this very batch are not there yet: whoever
    writes such a row declares the reads that follow from it."""


@dataclass(frozen=True)
class Command:
    """A request at this service's writer boundary; `key` gives the values of the lane key of its home lane."""

    event_type: EventType
    apply: Callable[[Event[Any], State], Effects]
    key: Callable[[Any], Sequence[Any]]
    reads: Callable[[Event[Any]], Reads] = no_reads


@dataclass(frozen=True)
class Timer:
    """What happens when a wait of `kind` comes due. The wait itself is gone then."""

    kind: str
    apply: Callable[[Due[Any], State], Effects]
    reads: Callable[[Due[Any]], Reads] = no_reads


class TaskResult(msgspec.Struct, frozen=True):
    """What the outside said to one call: DONE, REFUSED, RETRY (surely not done), UNKNOWN (perhaps done) or, to a look-up, ABSENT."""

    result: str
    body: bytes = b""
    code: str | None = None


class TaskRequest(msgspec.Struct, frozen=True):
    """One call of several that go to the outside together."""

    ref: str
    request: bytes
    cause: Cause


@dataclass(frozen=True)
class Task:
    """A call to the outside, at most once per ref. An UNKNOWN answer is settled by `lookup`, never by repeating `submit` blindly."""

    name: str
    submit: Callable[[str, bytes, Cause, "Deadline"], Awaitable[TaskResult]]
    lookup: Callable[[str, bytes, Cause, "Deadline"], Awaitable[TaskResult]]
    on_answer: Callable[[Answer, State], Effects]
    reads: Callable[[Answer], Reads] = no_reads
    attempts: int = 3
    """Submissions at the most (domain.md 6)."""
    first_backoff: float = 0.1
    max_backoff: float = 1.0
    call_seconds: float = 2.0
    """Budget of one call."""
    settle_seconds: float = 600.0
    """How long an unknown answer is looked up before it is UNCERTAIN."""
    submit_many: Callable[[Sequence[TaskRequest], "Deadline"], AsyncIterator[tuple[str, TaskResult]]] | None = None
    """Where the outside takes several at once: what was said of each ref, as it is said. A ref of which nothing is said is UNKNOWN."""


@dataclass(frozen=True)
class LaneGroup:
    """Lanes that share a key. Records of the group's topics (same key recipe, same partition count) with the same key meet in one lane.

    Within a batch the topics are applied in the order in which `doors` first names them.
    """

    name: str
    doors: tuple[On, ...] = ()
    commands: tuple[Command, ...] = ()
    timers: tuple[Timer, ...] = ()
    tasks: tuple[Task, ...] = ()
    local_lanes: int | None = None
    """Number of lanes of a group that reads no topic; for ever."""
    longest_rest: float = 0.1
    """Seconds by which a record may be later because its lane rests, so that more records share a transaction; on an idle machine it rests
    a fifth of that, and where a batch waits not at all."""
    claims: Fetch | None = None
    """Reads the objects in which payloads stand that no record can carry. It raises OSError where it can't ask: the lane waits then."""


@dataclass(frozen=True)
class Service:
    """A whole service."""

    name: str
    """Also its schema, its role and its consumer group."""
    runtime_lane: str
    policy_rev: str
    policy_content: Mapping[str, Any]
    """What decides, as JSON: its digest is the bundle id of every output."""
    groups: tuple[LaneGroup, ...]
    migrations: Path
    tables: tuple[Table[Any], ...] = ()
    api: "Callable[[ServiceContext], APIRouter] | None" = None
    dependencies: Callable[[], Awaitable[list[str]]] | None = None
    """Reasons why a dependency of the service's own is not ready; empty when it is."""
    cleanup: Callable[[], Awaitable[None]] | None = None
    """Closes clients that the service opened for its tasks."""
    producers: tuple[str, ...] = field(default=())
    """Event types emitted (names), for the catalogue's check at start."""

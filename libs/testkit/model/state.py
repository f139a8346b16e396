"""What the model knows: the store's row of a lane, the bus, and what each worker has in its memory. All of it is hashable.

Records are names: `e1` has an effect, `w1` waits for a key, `k1` is the key that it waits for, `p1` asks for a call to the outside.
`e1'` is `e1` with another payload. A waiting record of a lane is settled by any key record of that lane.
"""

from enum import IntEnum
from typing import NamedTuple

WORKERS = (0, 1)

# Who holds the lock of a lane's row: a worker's applier, a worker's command door, or a COMMIT whose client is gone.
NOBODY = -1
DOORS = len(WORKERS)
IN_DOUBT = 2 * len(WORKERS)

Cert = tuple[int, int, str, int, int, str]
"""(epoch, token, inlet, start, stop, verdicts). For other inlets than records, `start` is the number of the firing or submission."""


class Role(IntEnum):
    """What a worker is to a lane."""

    NONE = 0
    CLAIMING = 1
    """Its claim has taken the lease row and waits for the lane row."""
    EMPTYING = 2
    """It has claimed, and publishes what the owner before it left."""
    SERVING = 3
    DRAINING = 4


class Tx(IntEnum):
    """The transaction of a lane's applier."""

    IDLE = 0
    OPEN = 1
    """The lane row is locked, nothing is committed."""
    UNKNOWN = 2
    """COMMIT was sent and not answered."""


class Inlet(IntEnum):
    """Whose transaction it is."""

    NONE = 0
    RECORDS = 1
    TIMER = 2
    ANSWER = 3


LETTER = {Inlet.RECORDS: "R", Inlet.TIMER: "T", Inlet.ANSWER: "A"}
COMMAND = "C"


class Job(NamedTuple):
    """What a transaction applies, and under which claim."""

    inlet: Inlet
    epoch: int
    token: int
    start: int
    stop: int
    mark: int
    """The newest acknowledged lane_seq: the mark rides along."""
    seen: tuple[str, ...] = ()
    """Verdicts of a dedupe that was committed before, where the variant does that."""


class Lane(NamedTuple):
    """What the store and the bus hold of one lane, committed."""

    log: tuple[str, ...]
    epoch: int = 0
    token: int = 0
    minted: int = 0
    """Tokens drawn so far: a token is never drawn twice, an epoch can be, after a failover."""
    before: int = -1
    """The token before the newest claim while nothing was committed since; -1 otherwise."""
    seq: int = 0
    published: int = 0
    position: int = 0
    owner: int = NOBODY
    """Whose lease has not run out."""
    claimer: int = NOBODY
    """Whose open claim holds the lease row."""
    lock: int = NOBODY
    doubt: Job | None = None
    """The transaction whose COMMIT is under way on a connection that is gone."""
    inbox: tuple[tuple[str, str], ...] = ()
    """(identity, payload) in the order of first sight."""
    state: tuple[str, ...] = ()
    """The inputs that had an effect, in order: the fold."""
    outbox: tuple[tuple[int, str, int], ...] = ()
    """(lane_seq, output, its bytes: how many effects stood before it)."""
    pending: tuple[str, ...] = ()
    anomalies: tuple[tuple[str, str], ...] = ()
    chain: tuple[Cert, ...] = ()
    topic: tuple[tuple[str, int], ...] = ()
    """Outputs that stand on the bus, each copy's (output, bytes) once."""
    call: str = ""
    """RESERVED, EXECUTING, ASKING, SETTLED; empty before it is asked for."""
    called: int = 0
    """How often the outside did what the call asks for under one idempotency key: 0 or 1."""
    trespass: str = ""
    """A write under a claim that was not the current one, by the step that made it. It must stay empty."""


class Mem(NamedTuple):
    """What one worker has in its memory for one lane."""

    role: Role = Role.NONE
    epoch: int = 0
    token: int = 0
    next: int = 0
    """Where the intake stands."""
    tx: Tx = Tx.IDLE
    job: Job | None = None
    seq: int = 0
    """The lane_seq that an unanswered COMMIT would have got."""
    ack: int = 0
    """The newest lane_seq whose outputs the bus has acknowledged."""
    read: int = 0
    """The newest lane_seq of the outbox rows in hand; 0 for none."""
    awake: bool = False
    """The publisher has been told that there are rows."""
    call: str = ""
    """The call in hand: SUBMIT or LOOKUP before the outside has spoken; DONE, UNKNOWN, ABSENT after."""


class Door(NamedTuple):
    """One command on its way through a worker's door; the caller sends it again until it is told something."""

    phase: str = "UNSENT"
    """UNSENT, RECEIVED, OPEN, UNKNOWN, COMMITTED, TOLD."""
    worker: int = NOBODY
    submission: int = 0
    seq: int = 0
    sure: bool = False
    """An earlier attempt of this submission is known to be in."""
    answer: str = ""


class Budget(NamedTuple):
    """Faults that may still happen: each kind, and all of them together."""

    total: int = 0
    crash: int = 0
    pause: int = 0
    handover: int = 0
    lost: int = 0
    skip: int = 0
    resend: int = 0
    failover: int = 0
    outside: int = 0


class State(NamedTuple):
    """Everything."""

    mems: tuple[tuple[Mem, ...], ...]
    """By worker, by lane."""
    lanes: tuple[Lane, ...]
    doors: tuple[Door, ...]
    budget: Budget


NO_MEM = Mem()


def initial(logs: tuple[tuple[str, ...], ...], budget: Budget, *, command: bool) -> State:
    """Nobody owns anything, and the records stand in the topics."""
    return State(
        mems=tuple((NO_MEM,) * len(logs) for _ in WORKERS),
        lanes=tuple(Lane(log) for log in logs),
        doors=(Door(),) * ((1 + min(1, budget.resend)) if command else 0),
        budget=budget,
    )


def with_lane(state: State, number: int, lane: Lane) -> State:
    """The state with another lane row."""
    lanes = state.lanes
    return state._replace(lanes=(*lanes[:number], lane, *lanes[number + 1 :]))


def with_mem(state: State, worker: int, number: int, mem: Mem) -> State:
    """The state with another memory of one worker for one lane."""
    mine = state.mems[worker]
    mine = (*mine[:number], mem, *mine[number + 1 :])
    return state._replace(mems=(mine, state.mems[1]) if worker == 0 else (state.mems[0], mine))


def with_both(state: State, worker: int, number: int, mem: Mem, lane: Lane) -> State:
    """The state with another memory and another lane row."""
    return with_lane(with_mem(state, worker, number, mem), number, lane)


def spend(budget: Budget, kind: str) -> Budget | None:
    """The budget after one fault of a kind; None where there is none left."""
    left = getattr(budget, kind)
    if not left or not budget.total:
        return None
    return budget._replace(total=budget.total - 1, **{kind: left - 1})


def unpublished(lane: Lane, ack: int) -> int:
    """The newest lane_seq with outbox rows that a publisher which knows of `ack` would read; 0 for none."""
    if not lane.outbox:
        return 0
    newest = lane.outbox[-1][0]
    return newest if newest > ack and newest > lane.published else 0

"""What goes wrong: crash, pause past the lease, a COMMIT whose answer is lost, a fetch that skips, a failover that loses a claim."""

from testkit.model import law
from testkit.model.commands import HOME, notified, with_door
from testkit.model.moves import CRASH, DIES, FAILOVER, LANDS, LOST, PAUSE, SKIP, Move
from testkit.model.ownership import claimed, dropped
from testkit.model.rules import Successors
from testkit.model.state import (
    DOORS,
    IN_DOUBT,
    NO_MEM,
    NOBODY,
    WORKERS,
    Door,
    Inlet,
    Job,
    Lane,
    Mem,
    Role,
    State,
    Tx,
    spend,
    with_both,
    with_lane,
    with_mem,
)


def faults(state: State) -> Successors:
    """Every fault that the budget still allows, and how a COMMIT in doubt ends."""
    for number, lane in enumerate(state.lanes):
        if lane.doubt is not None:
            yield Move(-1, LANDS, number), _landed(state, number, lane, lane.doubt)
            yield Move(-1, DIES, number), with_lane(state, number, lane._replace(lock=NOBODY, doubt=None))
    if not state.budget.total:
        return
    for worker in WORKERS:
        yield from _crash(state, worker)
        yield from _pause(state, worker)
        for number, lane in enumerate(state.lanes):
            yield from _lost(state, worker, number, state.mems[worker][number], lane)
            yield from _skip(state, worker, number, state.mems[worker][number], lane)
    yield from _door_lost(state)
    yield from _failover(state)


def _without_lease(lane: Lane, worker: int) -> Lane:
    gone = dropped(lane, worker)
    return gone._replace(owner=NOBODY) if gone.owner == worker else gone


def _crash(state: State, worker: int) -> Successors:
    """The process is gone with its memory and its connections, and its leases run out. A new one stands in its place."""
    busy = any(door.worker == worker and door.phase not in ("UNSENT", "TOLD") for door in state.doors)
    if not busy and all(mem.role is Role.NONE for mem in state.mems[worker]):
        return
    budget = spend(state.budget, "crash")
    if budget is None:
        return
    after = state._replace(budget=budget, lanes=tuple(_without_lease(lane, worker) for lane in state.lanes))
    for number in range(len(state.lanes)):
        after = with_mem(after, worker, number, NO_MEM)
    for number, door in enumerate(state.doors):
        if door.worker == worker and door.phase not in ("UNSENT", "TOLD"):
            after = _door_unlocked(with_door(after, number, Door(submission=door.submission)), number)
    yield Move(worker, CRASH), after


def _pause(state: State, worker: int) -> Successors:
    """The process sleeps past its leases and the idle-in-transaction limit; its next move is that of a zombie."""
    if all(lane.owner != worker for lane in state.lanes):
        return
    budget = spend(state.budget, "pause")
    if budget is None:
        return
    after = state._replace(budget=budget, lanes=tuple(_without_lease(lane, worker) for lane in state.lanes))
    for number, mem in enumerate(state.mems[worker]):
        if mem.role is Role.CLAIMING:
            after = with_mem(after, worker, number, NO_MEM)
        elif mem.tx is Tx.OPEN:
            after = with_mem(after, worker, number, mem._replace(tx=Tx.IDLE, job=None))
    for number, door in enumerate(state.doors):
        if door.worker == worker and door.phase == "OPEN":
            after = _door_unlocked(with_door(after, number, door._replace(phase="RECEIVED")), number)
    yield Move(worker, PAUSE), after


def _door_unlocked(state: State, number: int) -> State:
    lane = state.lanes[HOME]
    return with_lane(state, HOME, lane._replace(lock=NOBODY)) if lane.lock == DOORS + number else state


def _lost(state: State, worker: int, number: int, mem: Mem, lane: Lane) -> Successors:
    """The connection goes away during COMMIT. The store goes on with it for as long as it likes: it lands, or it dies."""
    claiming = mem.role is Role.CLAIMING and lane.lock == NOBODY
    if not claiming and mem.tx is not Tx.OPEN:
        return
    budget = spend(state.budget, "lost")
    if budget is None:
        return
    if claiming:
        # The claim is in and its worker does not know: nobody renews the lease, so it runs out.
        row = claimed(lane, worker)._replace(owner=NOBODY)
        after = with_both(state, worker, number, NO_MEM, row)
    else:
        row = lane._replace(lock=IN_DOUBT, doubt=mem.job)
        after = with_both(state, worker, number, mem._replace(tx=Tx.UNKNOWN, seq=lane.seq + 1), row)
    yield Move(worker, LOST, number), after._replace(budget=budget)


def _door_lost(state: State) -> Successors:
    for number, door in enumerate(state.doors):
        if door.phase != "OPEN":
            continue
        budget = spend(state.budget, "lost")
        if budget is None:
            return
        lane = state.lanes[HOME]
        row = lane._replace(lock=IN_DOUBT, doubt=Job(Inlet.NONE, 0, 0, door.submission, 0, 0))
        after = with_door(with_lane(state, HOME, row), number, door._replace(phase="UNKNOWN", seq=lane.seq + 1))
        yield Move(door.worker, LOST, HOME, "c1" if number == 0 else "c1 again"), after._replace(budget=budget)


def _landed(state: State, number: int, lane: Lane, job: Job) -> State:
    if job.inlet is Inlet.NONE:
        closed, _ = law.close_command(lane, job.start)
        return notified(with_lane(state, number, closed._replace(lock=NOBODY, doubt=None)), lane, closed)
    return with_lane(state, number, law.close(lane, job)._replace(lock=NOBODY, doubt=None))


def _skip(state: State, worker: int, number: int, mem: Mem, lane: Lane) -> Successors:
    """The client hands out a record that is not the next one."""
    if mem.role is not Role.SERVING or mem.tx is not Tx.IDLE or mem.next + 1 >= len(lane.log):
        return
    budget = spend(state.budget, "skip")
    if budget is not None:
        after = with_mem(state, worker, number, mem._replace(next=mem.next + 1))
        yield Move(worker, SKIP, number), after._replace(budget=budget)


def _failover(state: State) -> Successors:
    """A replica takes over that has not seen the newest claim; epochs go back, tokens do not."""
    for number, lane in enumerate(state.lanes):
        if lane.before < 0 or lane.lock != NOBODY or lane.claimer != NOBODY:
            continue
        budget = spend(state.budget, "failover")
        if budget is not None:
            row = lane._replace(epoch=lane.epoch - 1, token=lane.before, before=-1, owner=NOBODY)
            yield Move(-1, FAILOVER, number), with_lane(state, number, row)._replace(budget=budget)

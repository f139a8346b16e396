"""Transitions of the command inlet: any replica applies a command under its lane's lock; only the owner publishes (runtime.md)."""

from spine.steps import Step
from testkit.model import law
from testkit.model.moves import Move
from testkit.model.rules import Rules, Successors
from testkit.model.state import COMMAND, DOORS, NOBODY, WORKERS, Door, Lane, Role, State, spend, with_lane, with_mem
from testkit.wrong import Wrong

HOME = 0
"""The lane of the command."""


def commands(state: State, rules: Rules) -> Successors:
    """What may happen to the submissions of the command."""
    for number, door in enumerate(state.doors):
        if door.phase == "UNSENT":
            yield from _receive(state, number, door)
        elif door.phase == "COMMITTED":
            yield Move(door.worker, Step.COMMAND_COMMITTED, HOME, _name(number)), with_door(state, number, door._replace(phase="TOLD"))
        elif door.phase != "TOLD":
            yield from _apply(state, number, door, rules)


def with_door(state: State, number: int, door: Door) -> State:
    """The state with another submission."""
    doors = state.doors
    return state._replace(doors=(*doors[:number], door, *doors[number + 1 :]))


def notified(state: State, before: Lane, after: Lane) -> State:
    """The notification that rides on a command's commit: it reaches everyone who believes to own the lane."""
    if len(after.outbox) == len(before.outbox):
        return state
    for worker in WORKERS:
        mem = state.mems[worker][HOME]
        if mem.role >= Role.EMPTYING and not mem.awake:
            state = with_mem(state, worker, HOME, mem._replace(awake=True))
    return state


def _name(number: int) -> str:
    return "c1" if number == 0 else "c1 again"


def _receive(state: State, number: int, door: Door) -> Successors:
    budget = state.budget
    if number == 1 and door.submission == 0:
        # The caller's budget is spent while its first submission is still on its way: it sends the same command again.
        spent = spend(budget, "resend") if state.doors[0].phase in ("RECEIVED", "OPEN", "UNKNOWN", "COMMITTED") else None
        if spent is None:
            return
        budget = spent
    for worker in WORKERS:
        received = Door("RECEIVED", worker, door.submission + len(state.doors) + (number if not door.submission else 0))
        yield Move(worker, Step.COMMAND_RECEIVED, HOME, _name(number)), with_door(state, number, received)._replace(budget=budget)


def _apply(state: State, number: int, door: Door, rules: Rules) -> Successors:
    lane = state.lanes[HOME]
    free = lane.lock == NOBODY
    if door.phase == "RECEIVED" and free:
        after = with_lane(with_door(state, number, door._replace(phase="OPEN")), HOME, lane._replace(lock=DOORS + number))
        yield Move(door.worker, Step.LANE_LOCKED, HOME, _name(number)), after
    elif door.phase == "OPEN":
        closed, verdict = law.close_command(lane, door.submission)
        answer = law.NEW if door.sure else verdict
        after = with_lane(with_door(state, number, door._replace(phase="COMMITTED", answer=answer)), HOME, closed._replace(lock=NOBODY))
        yield Move(door.worker, Step.COMMITTED, HOME, _name(number)), notified(after, lane, closed)
    elif door.phase == "UNKNOWN" and (free or rules.wrong is Wrong.PLAIN_READ_AFTER_LOST_COMMIT):
        sure = door.sure or is_in(lane, door.seq, door.submission, any_verdict=rules.wrong is Wrong.LOST_COMMIT_IS_NEW)
        after = with_door(state, number, door._replace(phase="RECEIVED", seq=0, sure=sure))
        yield Move(door.worker, Step.COMMIT_SETTLED, HOME, _name(number)), after


def is_in(lane: Lane, seq: int, submission: int, *, any_verdict: bool) -> bool:
    """Whether the certificate of a lane_seq is the one in which this submission had its effect."""
    if len(lane.chain) < seq:
        return False
    _, _, inlet, start, _, verdicts = lane.chain[seq - 1]
    # A submission that was a duplicate stays one, also where its COMMIT was not answered.
    return (inlet, start) == (COMMAND, submission) and (any_verdict or verdicts == law.NEW)

"""Transitions of ownership: claim, empty, stand, notice a lost lease, drain, release (runtime.md, The lane)."""

from spine.steps import Step
from testkit.model.moves import Move
from testkit.model.rules import Successors
from testkit.model.state import NO_MEM, NOBODY, Lane, Mem, Role, State, Tx, spend, unpublished, with_both, with_mem


def claimed(lane: Lane, worker: int) -> Lane:
    """The lane row after a claim: a new epoch, a token that was never drawn before."""
    return lane._replace(
        epoch=lane.epoch + 1, token=lane.minted + 1, minted=lane.minted + 1, before=lane.token, owner=worker, claimer=NOBODY
    )


def dropped(lane: Lane, worker: int) -> Lane:
    """The lane row once a worker's connections for it are gone: what was open is rolled back."""
    return lane._replace(
        lock=NOBODY if lane.lock == worker else lane.lock,
        claimer=NOBODY if lane.claimer == worker else lane.claimer,
    )


def ownership(state: State, worker: int, number: int, mem: Mem, lane: Lane) -> Successors:
    """What a worker may do about owning a lane."""
    role = mem.role
    if role is Role.NONE:
        if lane.owner == NOBODY and lane.claimer == NOBODY:
            after = with_both(state, worker, number, mem._replace(role=Role.CLAIMING), lane._replace(claimer=worker))
            yield Move(worker, Step.LEASE_TAKEN, number), after
        return
    if role is Role.CLAIMING:
        # The row lock waits for a dead owner's open transaction: it is either in, and seen, or fenced.
        if lane.lock == NOBODY:
            mine = claimed(lane, worker)
            fresh = Mem(role=Role.EMPTYING, epoch=mine.epoch, token=mine.token, ack=mine.published)
            yield Move(worker, Step.CLAIMED, number), with_both(state, worker, number, fresh, mine)
        return
    if lane.owner != worker:
        # A renewal that keeps the lease changes nothing; this is the one that learns that it is gone.
        yield Move(worker, Step.RENEWED, number), with_both(state, worker, number, NO_MEM, dropped(lane, worker))
    if mem.tx is not Tx.IDLE:
        return
    published = mem.read == 0 and not unpublished(lane, mem.ack) and mem.ack <= lane.published
    if role is Role.EMPTYING and published:
        yield Move(worker, Step.POSITIONED, number), with_mem(state, worker, number, mem._replace(role=Role.SERVING, next=lane.position))
    elif role is Role.DRAINING and published and not mem.call:
        given = lane._replace(owner=NOBODY) if lane.owner == worker else lane
        yield Move(worker, Step.RELEASED, number), with_both(state, worker, number, NO_MEM, given)
    elif role is Role.SERVING and lane.owner == worker:
        budget = spend(state.budget, "handover")
        if budget is not None:
            after = with_mem(state, worker, number, mem._replace(role=Role.DRAINING))._replace(budget=budget)
            yield Move(worker, Step.DRAINING, number), after

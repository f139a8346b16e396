"""Transitions of a call to the outside: RESERVED -> EXECUTING -> settled, the call between two transactions (runtime.md, Four inlets)."""

from spine.steps import Step
from testkit.model.moves import Move
from testkit.model.rules import Rules, Successors
from testkit.model.state import NOBODY, Lane, Mem, Role, State, spend, with_both, with_lane, with_mem
from testkit.wrong import Wrong


def calls(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    """What the runner of one lane's calls may do next, and what the outside may say."""
    if mem.role < Role.SERVING:
        return
    if not mem.call:
        mine = (mem.epoch, mem.token) == (lane.epoch, lane.token)
        if mine and lane.call not in ("", "SETTLED") and lane.lock == NOBODY and mem.role is Role.SERVING:
            submit = lane.call == "RESERVED"
            row = lane._replace(call="EXECUTING" if submit else "ASKING", before=-1)
            after = with_both(state, worker, number, mem._replace(call="SUBMIT" if submit else "LOOKUP"), row)
            yield Move(worker, Step.TASK_RESERVED, number), after
    elif mem.call in ("SUBMIT", "LOOKUP"):
        yield from _spoken(state, worker, number, mem, lane)
    elif mem.call in ("UNKNOWN", "ABSENT"):
        yield Move(worker, Step.TASK_RESCHEDULED, number), _again(state, worker, number, mem, lane, rules)


def _spoken(state: State, worker: int, number: int, mem: Mem, lane: Lane) -> Successors:
    def said(word: str, at: State) -> State:
        return with_mem(at, worker, number, mem._replace(call=word))

    # One idempotency key: however often it is submitted, the outside does it once.
    done = with_lane(state, number, lane._replace(called=1)) if mem.call == "SUBMIT" else state
    if mem.call == "SUBMIT" or lane.called:
        yield Move(worker, Step.TASK_CALLED, number, "DONE"), said("DONE", done)
    else:
        yield Move(worker, Step.TASK_CALLED, number, "ABSENT"), said("ABSENT", state)
    budget = spend(state.budget, "outside")
    if budget is None:
        return
    yield Move(worker, Step.TASK_CALLED, number, "UNKNOWN"), said("UNKNOWN", state._replace(budget=budget))
    if mem.call == "SUBMIT" and not lane.called:
        yield Move(worker, Step.TASK_CALLED, number, "UNKNOWN done"), said("UNKNOWN", done._replace(budget=budget))
        yield Move(worker, Step.TASK_CALLED, number, "ABSENT"), said("ABSENT", state._replace(budget=budget))


def _again(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> State:
    after = mem._replace(call="")
    mine = (mem.epoch, mem.token) == (lane.epoch, lane.token)
    if lane.call == "SETTLED" or not (mine or rules.wrong is Wrong.TASK_WRITE_UNFENCED):
        return with_mem(state, worker, number, after)
    trespass = lane.trespass or ("" if mine else Step.TASK_RESCHEDULED.value)
    row = lane._replace(call="EXECUTING" if mem.call == "UNKNOWN" else "RESERVED", before=-1, trespass=trespass)
    return with_both(state, worker, number, after, row)

"""The protocol as a graph: from a state, every move and where it leads."""

from collections.abc import Iterator

from testkit.model.applier import applier
from testkit.model.calls import calls
from testkit.model.commands import commands
from testkit.model.faults import faults
from testkit.model.moves import FAULTS, Move
from testkit.model.ownership import ownership
from testkit.model.publisher import publisher
from testkit.model.rules import Rules
from testkit.model.state import WORKERS, State


def successors(state: State, rules: Rules) -> Iterator[tuple[Move, State]]:
    """Every move from a state."""
    for worker in WORKERS:
        for number, mem in enumerate(state.mems[worker]):
            lane = state.lanes[number]
            yield from ownership(state, worker, number, mem, lane)
            yield from publisher(state, worker, number, mem, lane, rules)
            yield from applier(state, worker, number, mem, lane, rules)
            if lane.call or mem.call:
                yield from calls(state, worker, number, mem, lane, rules)
    if state.doors:
        yield from commands(state, rules)
    yield from faults(state)


def canonical(state: State) -> tuple[State, bool]:
    """The state, or the same one with the workers' names exchanged; whether they were. Workers differ in nothing but their names."""
    first, second = state.mems
    if first > second or (first == second and _prefers_first(state)):
        return state, False
    return _exchanged(state), True


def _prefers_first(state: State) -> bool:
    return tuple(door.worker for door in state.doors) <= tuple(_other(door.worker) for door in state.doors)


def _other(worker: int) -> int:
    return 1 - worker if worker in WORKERS else worker


def _exchanged(state: State) -> State:
    first, second = state.mems
    return state._replace(
        mems=(second, first),
        lanes=tuple(lane._replace(owner=_other(lane.owner), claimer=_other(lane.claimer), lock=_other(lane.lock)) for lane in state.lanes),
        doors=tuple(door._replace(worker=_other(door.worker)) for door in state.doors),
    )


def is_fault(move: Move, before: State, after: State) -> bool:
    """Whether a move is one that need not happen: it spends the budget."""
    return move.act in FAULTS or (before.budget is not after.budget and before.budget != after.budget)

"""Breadth first over every state: the first violation found has the shortest script."""

import time
from collections import deque
from typing import NamedTuple

from testkit.model.configurations import Configuration
from testkit.model.invariants import Invariant, Violation, at_rest, of_doors, of_lane
from testkit.model.moves import Move, Script
from testkit.model.protocol import canonical, is_fault, successors
from testkit.model.rules import Rules
from testkit.model.state import State, initial
from testkit.wrong import Wrong


class CounterExample(NamedTuple):
    """How to get there, and what does not hold there."""

    script: Script
    violation: Violation


class Explored(NamedTuple):
    """What was looked at. It is everything within the bounds exactly when there is no counter-example."""

    states: int
    transitions: int
    depth: int
    rests: int
    """States in which only another fault can happen."""
    acts: frozenset[str]
    """What happened on the way: steps and faults."""
    seconds: float
    counter_example: CounterExample | None


_Parents = dict[State, tuple[State, Move, bool] | None]


def explore(configuration: Configuration, wrong: Wrong | None = None, only: Invariant | None = None) -> Explored:
    """Look at every state that can be reached; stop at the first that breaks an invariant (`only` that one, where given)."""
    started = time.perf_counter()
    rules = Rules(configuration.batch, wrong)
    roots = [canonical(initial(logs, configuration.budget, command=configuration.command))[0] for logs in configuration.logs]
    parents: _Parents = dict.fromkeys(roots)
    frontier: deque[tuple[State, int]] = deque((root, 0) for root in parents)
    transitions = depth = rests = 0
    while frontier:
        state, depth = frontier.popleft()
        rest = True
        broken: tuple[Violation, ...] = ()
        for lane in state.lanes:
            broken += of_lane(lane)
        if state.doors:
            broken += of_doors(state)
        for move, reached in successors(state, rules):
            transitions += 1
            rest = rest and is_fault(move, state, reached)
            after, exchanged = canonical(reached)
            if after not in parents:
                parents[after] = (state, move, exchanged)
                frontier.append((after, depth + 1))
        if rest:
            rests += 1
            broken += at_rest(state)
        for violation in broken:
            if only is None or violation.invariant is only:
                counter_example = CounterExample(_script(parents, state), violation)
                return Explored(len(parents), transitions, depth, rests, _acts(parents), time.perf_counter() - started, counter_example)
    return Explored(len(parents), transitions, depth, rests, _acts(parents), time.perf_counter() - started, None)


def _acts(parents: _Parents) -> frozenset[str]:
    return frozenset(parent[1].act for parent in parents.values() if parent is not None)


def _script(parents: _Parents, state: State) -> Script:
    steps: list[tuple[Move, bool]] = []
    at = state
    while (parent := parents[at]) is not None:
        at, move, exchanged = parent
        steps.append((move, exchanged))
    moves = []
    # Names were exchanged along the way; the script calls each worker by one name from its first line to its last.
    other = False
    for move, exchanged in reversed(steps):
        actor = 1 - move.actor if other and move.actor >= 0 else move.actor
        moves.append(move._replace(actor=actor))
        other = other != exchanged
    return Script(tuple(lane.log for lane in state.lanes), tuple(moves))

"""Breadth first over every state: the first violation found has the shortest script."""

import time
from collections import deque
from collections.abc import Iterator
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


class _Visit(NamedTuple):
    state: State
    depth: int
    moves: int
    rests: bool
    """Only another fault can happen."""


def explore(configuration: Configuration, wrong: Wrong | None = None, only: Invariant | None = None) -> Explored:
    """Look at every state that can be reached; stop at the first that breaks an invariant (`only` that one, where given)."""
    started = time.perf_counter()
    parents: _Parents = {}
    transitions = depth = rests = 0
    counter_example = None
    for visit in _walk(configuration, Rules(configuration.batch, wrong), parents):
        depth = visit.depth
        transitions += visit.moves
        rests += visit.rests
        for violation in _broken(visit):
            if counter_example is None and (only is None or violation.invariant is only):
                counter_example = CounterExample(_script(parents, visit.state), violation)
        if counter_example is not None:
            break
    acts = frozenset(parent[1].act for parent in parents.values() if parent is not None)
    return Explored(len(parents), transitions, depth, rests, acts, time.perf_counter() - started, counter_example)


def _walk(configuration: Configuration, rules: Rules, parents: _Parents) -> Iterator[_Visit]:
    """Every state, nearest first; `parents` says how each was reached."""
    roots = [canonical(initial(logs, configuration.budget, command=configuration.command))[0] for logs in configuration.logs]
    parents |= dict.fromkeys(roots)
    frontier: deque[tuple[State, int]] = deque((root, 0) for root in parents)
    while frontier:
        state, depth = frontier.popleft()
        moves = 0
        rests = True
        for move, reached in successors(state, rules):
            moves += 1
            rests = rests and is_fault(move, state, reached)
            after, exchanged = canonical(reached)
            if after not in parents:
                parents[after] = (state, move, exchanged)
                frontier.append((after, depth + 1))
        yield _Visit(state, depth, moves, rests)


def _broken(visit: _Visit) -> tuple[Violation, ...]:
    state = visit.state
    broken: tuple[Violation, ...] = ()
    for lane in state.lanes:
        broken += of_lane(lane)
    if state.doors:
        broken += of_doors(state)
    return broken + at_rest(state) if visit.rests else broken


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

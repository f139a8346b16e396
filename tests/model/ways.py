"""Ways through the model on which chosen things happen, for the stage to play."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from spine.steps import Step
from testkit.model.moves import APPEND, CRASH, LOST, PAUSE, SKIP, Move, Script
from testkit.model.protocol import is_fault, successors
from testkit.model.rules import Rules
from testkit.model.state import Budget, Lane, Role, State, Tx, initial

# What a worker with something in hand can do: the stage plays one thing at a time, where a real worker publishes while it applies.
_GOES_ON = frozenset({Step.CLAIMED, Step.COMMITTED, Step.COMMIT_SETTLED, Step.PUBLISHED, APPEND, LOST, CRASH})


class _Node(NamedTuple):
    state: State
    done: int
    due: bool
    """The move before was one of the acts, and a crash must follow it at once."""


def way(log: tuple[str, ...], acts: tuple[str, ...]) -> tuple[Script, Lane]:
    """The shortest way to an end on which `acts` (`w1 crash`, `w2 CLAIMED`, `lands`) happen in this order, and no other fault; a crash
    right after the act before it. The lane as the model leaves it."""
    kinds = {CRASH: "crash", PAUSE: "pause", LOST: "lost", SKIP: "skip", Step.DRAINING: "handover"}
    counts = {kind: sum(_act(wanted) == act for wanted in acts) for act, kind in kinds.items()}
    budget = Budget(sum(counts.values()), **counts)
    # The code begins the same batch again when its COMMIT died, where the model may take another: one record a batch leaves no choice.
    rules = Rules(batch=1 if counts["lost"] else 2)
    root = _Node(initial((log,), budget, command=False), 0, due=False)
    parents: dict[_Node, tuple[_Node, Move] | None] = {root: None}
    frontier = deque([root])
    while frontier:
        node = frontier.popleft()
        rests = True
        for move, state in successors(node.state, rules):
            rests = rests and is_fault(move, node.state, state)
            for after in _next(node, move, state, acts):
                if after not in parents:
                    parents[after] = (node, move)
                    frontier.append(after)
        if rests and node.done == len(acts):
            return Script((log,), tuple(_moves(parents, node))), node.state.lanes[0]
    raise AssertionError(f"no way has {acts}")


def _next(node: _Node, move: Move, state: State, acts: tuple[str, ...]) -> Iterator[_Node]:
    if _in_hand(node.state, move.actor) and move.act not in _GOES_ON:
        return
    is_due = node.done < len(acts) and acts[node.done] == " ".join(move.line().split()[: 2 if move.actor >= 0 else 1])
    if move.act == CRASH and not (is_due and node.due):
        return
    # Only a crash asks what was last: elsewhere the same state is the same node, whichever way led there.
    crash_next = is_due and node.done + 1 < len(acts) and _act(acts[node.done + 1]) == CRASH
    if is_due:
        yield _Node(state, node.done + 1, crash_next)
    if not is_due or crash_next:
        yield _Node(state, node.done, due=False)


def _act(wanted: str) -> str:
    return wanted.rsplit(maxsplit=1)[-1]


def _in_hand(state: State, worker: int) -> bool:
    if worker < 0:
        return False
    return any(mem.role is Role.CLAIMING or mem.tx is not Tx.IDLE or mem.read for mem in state.mems[worker])


def _moves(parents: dict[_Node, tuple[_Node, Move] | None], node: _Node) -> list[Move]:
    moves = []
    while (parent := parents[node]) is not None:
        node, move = parent
        moves.append(move)
    return moves[::-1]

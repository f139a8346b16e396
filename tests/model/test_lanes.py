"""Two lanes of one worker touch nothing of each other: why the bounds of one lane are worth looking at without the other."""

from collections import deque

from testkit.model.moves import Move
from testkit.model.protocol import successors
from testkit.model.rules import Rules
from testkit.model.state import Budget, State, initial

RULES = Rules()


def test_moves_of_two_lanes_lead_to_the_same_state_in_either_order() -> None:
    root = initial((("e1",), ()), Budget(1, pause=1), command=False)
    seen = {root}
    frontier = deque([root])
    diamonds = 0
    while frontier:
        state = frontier.popleft()
        moves = dict(successors(state, RULES))
        for after in moves.values():
            if after not in seen:
                seen.add(after)
                frontier.append(after)
        diamonds += _diamonds(moves)
    assert diamonds > 1_000


def _diamonds(moves: dict[Move, State]) -> int:
    """Checks every pair of moves, one on each lane; how many there were."""
    second = {move: dict(successors(after, RULES)) for move, after in moves.items() if move.lane >= 0}
    found = 0
    for one, after_one in second.items():
        for other, after_other in second.items():
            if (one.lane, other.lane) == (0, 1):
                assert after_one[other] == after_other[one], (one, other)
                found += 1
    return found

"""One seed, one schedule: what happens to workers, to the wire and to the engines, in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from spine.steps import Step
from testkit.chaos.commit_proxy import Cut
from testkit.chaos.reach import ONCE


class Kind(StrEnum):
    """What a move does. The first six are the life of one worker; the others happen beside the workers."""

    KILL_AT = "kill at a step"
    KILL = "kill at a moment"
    FREEZE_AT = "freeze at a step"
    FREEZE = "freeze at a moment"
    LEAVE = "leave"
    CLOCK = "clock jump"
    JOIN = "join"
    CUT = "cut at a commit"
    BROKER = "broker kill"
    STORE = "store kill"


KILLS = frozenset({Kind.KILL_AT, Kind.KILL})


@dataclass(frozen=True)
class Move:
    """One move; fields that its kind does not use are at their defaults."""

    kind: Kind
    step: Step | None = None
    nth: int = 1
    """At which passage of the step."""
    seconds: float = 0.0
    """How long the worker lives first."""
    wall: float = 0.0
    monotonic: float = 0.0
    cut: Cut = Cut.BEFORE


# One of these per so many kills, at least one; engines last, since a restart takes seconds.
_PER_KILLS = {
    Kind.FREEZE_AT: 12,
    Kind.FREEZE: 16,
    Kind.LEAVE: 10,
    Kind.CLOCK: 16,
    Kind.JOIN: 16,
    Kind.CUT: 4,
    Kind.BROKER: 200,
    Kind.STORE: 150,
}
# Of ten kills so many are at a named step, the others at a moment that no step names.
_AT_STEPS_OF_TEN = 7
_LONGEST_LIFE = 1.6
_CUTS = tuple(Cut)


def schedule(seed: int, kills: int, steps: Sequence[Step]) -> list[Move]:
    """The moves of a run: `kills` SIGKILLs, and the other kinds in proportion. Steps take turns, so that a long run covers all."""
    chance = random.Random(seed)  # noqa: S311  a repeatable draw, no secret
    turns = _Turns(steps, chance)
    at_steps = kills * _AT_STEPS_OF_TEN // 10
    counts = {Kind.KILL_AT: at_steps, Kind.KILL: kills - at_steps}
    counts |= {kind: max(3 if kind is Kind.CUT else 1, kills // per) for kind, per in _PER_KILLS.items()}
    moves = [_move(kind, number, turns, chance) for kind, count in counts.items() for number in range(count)]
    chance.shuffle(moves)
    return moves


def _move(kind: Kind, number: int, turns: _Turns, chance: random.Random) -> Move:
    seconds = round(chance.uniform(0.05, _LONGEST_LIFE), 3)
    if kind in (Kind.KILL_AT, Kind.FREEZE_AT):
        step, nth = turns.next(), chance.choice((1, 1, 2, 3))
        return Move(kind, step=step, nth=1 if step in ONCE else nth)
    if kind is Kind.CLOCK:
        # Back and forth by an hour, and a monotonic clock that skips less than, or more than, a lease.
        return Move(kind, seconds=seconds, wall=chance.choice((-3600.0, 3600.0)), monotonic=chance.choice((0.0, 0.7, 30.0)))
    if kind is Kind.CUT:
        return Move(kind, cut=_CUTS[number % len(_CUTS)])
    return Move(kind, seconds=seconds)


class _Turns:
    def __init__(self, steps: Sequence[Step], chance: random.Random) -> None:
        self._steps = sorted(steps)
        self._chance = chance
        self._left: list[Step] = []

    def next(self) -> Step:
        """The next step; every step comes once before any comes twice."""
        if not self._left:
            self._left = self._chance.sample(self._steps, len(self._steps))
        return self._left.pop()

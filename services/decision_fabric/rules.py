"""Evaluates a pack: which rules hold, with the values that made them hold (anchors.md: a rule trace with values)."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from decision_fabric.pack import Bounds, Fact, Pack, Rule
from laws.actions import ActionKind
from laws.contracts.decision import RuleHit

SEVERITY = {ActionKind.ALLOW: 0, ActionKind.STEP_UP: 1, ActionKind.QUEUE_REVIEW: 2, ActionKind.BLOCK: 3}

# Below every bound: what is not known holds no rule, whichever end the rule names.
UNKNOWN = -1

_SLOTS = {fact: slot for slot, fact in enumerate(Fact)}


class _FactIndex(NamedTuple):
    """Where the bounds of all rules on one fact cut its values, and which rules a value between two cuts leaves standing, as bits."""

    slot: int
    cuts: list[int]
    standing: list[int]


class _Trace(NamedTuple):
    """What a hit of one rule says."""

    rule_id: str
    action_kind: ActionKind
    values: tuple[tuple[str, int], ...]
    """(name, slot) of each fact that it names."""


class Guardrails:
    """A pack made ready: a fact is looked up once among the cuts of all rules, so that a hundred rules cost little more than ten."""

    def __init__(self, pack: Pack) -> None:
        self._traces = tuple(
            _Trace(rule.rule_id, rule.action_kind, tuple((fact.value, _SLOTS[fact]) for fact in rule.when)) for rule in pack.rules
        )
        self._all = (1 << len(pack.rules)) - 1
        self._facts = tuple(_index(fact, pack.rules) for fact in Fact if any(fact in rule.when for rule in pack.rules))

    def hits(self, facts: Sequence[int]) -> tuple[RuleHit, ...]:
        """The rules that hold, in pack order. `facts` has one number a member of Fact, in that order; UNKNOWN where there is none."""
        standing = self._all
        for slot, cuts, masks in self._facts:
            standing &= masks[bisect_right(cuts, facts[slot])]
            if not standing:
                return ()
        texts = [str(value) for value in facts]
        found = []
        while standing:
            lowest = standing & -standing
            standing ^= lowest
            rule_id, action_kind, values = self._traces[lowest.bit_length() - 1]
            found.append(RuleHit(rule_id, action_kind, {name: texts[slot] for name, slot in values}))
        return tuple(found)


def most_severe(found: tuple[RuleHit, ...], floor: ActionKind) -> ActionKind:
    """The most severe action among the hits, never below `floor`."""
    return max((floor, *(hit.action_kind for hit in found)), key=SEVERITY.__getitem__) if found else floor


def _index(fact: Fact, rules: Sequence[Rule]) -> _FactIndex:
    named = {number: rule.when[fact] for number, rule in enumerate(rules) if fact in rule.when}
    indifferent = sum(1 << number for number in range(len(rules)) if number not in named)
    cuts = sorted({cut for bounds in named.values() for cut in _cuts(bounds)})
    # One value of each stretch stands for all of it: no bound lies within.
    stretches = [UNKNOWN, *cuts]
    standing = [indifferent | sum(1 << number for number, bounds in named.items() if _within(bounds, value)) for value in stretches]
    return _FactIndex(_SLOTS[fact], cuts, standing)


def _cuts(bounds: Bounds) -> list[int]:
    """The values at which the answer to a rule's bounds may change; 0 is one, since below it nothing is known."""
    low = 0 if bounds.at_least is None else bounds.at_least
    return [low] if bounds.at_most is None else [low, bounds.at_most + 1]


def _within(bounds: Bounds, value: int) -> bool:
    low = 0 if bounds.at_least is None else bounds.at_least
    return low <= value and (bounds.at_most is None or value <= bounds.at_most)

"""Evaluates a pack: which rules hold, with the values that made them hold (anchors.md: a rule trace with values)."""

from collections.abc import Sequence

from decision_fabric.pack import Bounds, Fact, Pack, Rule
from laws.actions import ActionKind
from laws.contracts.decision import RuleHit

SEVERITY = {ActionKind.ALLOW: 0, ActionKind.STEP_UP: 1, ActionKind.QUEUE_REVIEW: 2, ActionKind.BLOCK: 3}

# Below every bound: what is not known holds no rule, whichever end the rule names.
UNKNOWN = -1
_NO_END = 2**63

_SLOTS = {fact: slot for slot, fact in enumerate(Fact)}

Limits = tuple[tuple[int, int, int], ...]


class Guardrails:
    """A pack made ready: a rule is a few comparisons of whole numbers by position."""

    def __init__(self, pack: Pack) -> None:
        self._rules: tuple[tuple[Limits, Rule], ...] = tuple((_limits(rule), rule) for rule in pack.rules)

    def hits(self, facts: Sequence[int]) -> tuple[RuleHit, ...]:
        """The rules that hold, in pack order. `facts` has one number a member of Fact, in that order; UNKNOWN where there is none."""
        found = []
        for limits, rule in self._rules:
            for slot, low, high in limits:
                if not low <= facts[slot] <= high:
                    break
            else:
                values = {fact.value: str(facts[_SLOTS[fact]]) for fact in rule.when}
                found.append(RuleHit(rule.rule_id, rule.action_kind, values))
        return tuple(found)


def most_severe(found: tuple[RuleHit, ...], floor: ActionKind) -> ActionKind:
    """The most severe action among the hits, never below `floor`."""
    return max((floor, *(hit.action_kind for hit in found)), key=SEVERITY.__getitem__)


def _limits(rule: Rule) -> Limits:
    return tuple((_SLOTS[fact], *_ends(bounds)) for fact, bounds in rule.when.items())


def _ends(bounds: Bounds) -> tuple[int, int]:
    low = 0 if bounds.at_least is None else bounds.at_least
    return low, _NO_END if bounds.at_most is None else bounds.at_most

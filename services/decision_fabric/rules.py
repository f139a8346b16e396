"""Evaluates a pack: which rules hold, with the values that made them hold (anchors.md: a rule trace with values)."""

from collections.abc import Mapping

from laws.actions import ActionKind
from laws.contracts.decision import RuleHit

from decision_fabric.pack import Dimension, Pack, Rule, Window
from decision_fabric.velocity import Total

SEVERITY = {ActionKind.ALLOW: 0, ActionKind.STEP_UP: 1, ActionKind.QUEUE_REVIEW: 2, ActionKind.BLOCK: 3}

Velocities = Mapping[tuple[Dimension, Window], Total]


def hits(pack: Pack, amount_minor: int, velocities: Velocities) -> tuple[RuleHit, ...]:
    """The rules that hold, in pack order. A velocity whose dimension is unknown holds no rule."""
    found = []
    for rule in pack.rules:
        values = _holds(rule, amount_minor, velocities)
        if values is not None:
            found.append(RuleHit(rule.rule_id, rule.action_kind, values))
    return tuple(found)


def most_severe(found: tuple[RuleHit, ...], floor: ActionKind) -> ActionKind:
    """The most severe action among the hits, never below `floor`."""
    return max((floor, *(hit.action_kind for hit in found)), key=SEVERITY.__getitem__)


def _holds(rule: Rule, amount_minor: int, velocities: Velocities) -> dict[str, str] | None:
    values: dict[str, str] = {}
    if rule.amount_at_least is not None:
        if amount_minor < rule.amount_at_least:
            return None
        values["amount_minor"] = str(amount_minor)
    condition = rule.velocity
    if condition is not None:
        total = velocities.get((condition.dimension, condition.window))
        if total is None:
            return None
        counted = condition.count_at_least is not None
        found = total.triggers if counted else total.amount
        wanted = condition.count_at_least if counted else condition.amount_at_least
        if wanted is None or found < wanted:
            return None
        values[f"{condition.dimension}_{condition.window}_{'count' if counted else 'amount'}"] = str(found)
    return values

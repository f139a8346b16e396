"""`fp bench rules`: what a pack of N rules costs an event, beside a plain evaluation rule by rule."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from decision_fabric.pack import Bounds, ContextBudget, Fact, Pack, Rule
from decision_fabric.rules import UNKNOWN, Guardrails
from laws.actions import DECISION_KINDS
from laws.contracts.decision import RuleHit

GOAL_US = 40.0
_EVENTS = 2000
_ROUNDS = 7
# Largest value of a fact: at 30 few of the rules hold, at 300 about one in ten, which is more than any pack in use has.
_SCALES = (30, 300)


class RulesCost(NamedTuple):
    """What evaluating costs."""

    rules: int
    hits: float
    """Rules that hold, an event."""
    us: float
    plain_us: float


def measure(sizes: Sequence[int]) -> list[RulesCost]:
    """The median of several rounds, for packs of each size and events with few and with many hits."""
    found = []
    for size in sizes:
        pack = _pack(size, random.Random(size))  # noqa: S311  the same packs every time, no secret
        guardrails = Guardrails(pack)
        for scale in _SCALES:
            events = _facts(scale, random.Random(scale))  # noqa: S311  reproducible, not secret
            hits = sum(len(guardrails.hits(facts)) for facts in events) / len(events)
            found.append(RulesCost(size, hits, _us(guardrails.hits, events), _us(partial(plain, pack), events)))
    return found


def plain(pack: Pack, facts: Sequence[int]) -> tuple[RuleHit, ...]:
    """Straight from the definition of a rule: what `Guardrails` must answer."""
    values = dict(zip(Fact, facts, strict=True))
    return tuple(
        RuleHit(rule.rule_id, rule.action_kind, {fact.value: str(values[fact]) for fact in rule.when})
        for rule in pack.rules
        if all(_within(bounds, values[fact]) for fact, bounds in rule.when.items())
    )


def _within(bounds: Bounds, value: int) -> bool:
    if value == UNKNOWN or (bounds.at_least is not None and value < bounds.at_least):
        return False
    return bounds.at_most is None or value <= bounds.at_most


def _us(evaluate: Callable[[Sequence[int]], object], events: Sequence[Sequence[int]]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for facts in events:
            evaluate(facts)
        rounds.append(time.process_time() - began)
    return 1e6 * sorted(rounds)[_ROUNDS // 2] / len(events)


def _pack(size: int, rng: random.Random) -> Pack:
    kinds = sorted(DECISION_KINDS)
    rules = []
    for number in range(size):
        when = {}
        for fact in rng.sample(list(Fact), rng.choice((1, 2, 2, 3))):
            low = rng.randrange(1000) if rng.random() < 0.8 else None
            when[fact] = Bounds(low, rng.randrange(1000, 5000) if low is None or rng.random() < 0.3 else None)
        rules.append(Rule(f"rule_{number}", rng.choice(kinds), when))
    return Pack("bench", f"of_{size}", ContextBudget(900, 20_000), tuple(rules))


def _facts(scale: int, rng: random.Random) -> list[list[int]]:
    return [[rng.randrange(scale) if rng.random() < 0.95 else UNKNOWN for _ in Fact] for _ in range(_EVENTS)]

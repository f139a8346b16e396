"""The guardrail pack: a YAML file, strictly typed, known by the digest of its content (domain.md 5.3, 5.7)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from laws.actions import DECISION_KINDS, ActionKind
from laws.fields import Label, MinorUnits
from msgspec import Meta


class Dimension(StrEnum):
    """Whose velocity is counted."""

    ACCOUNT = "account"
    INSTRUMENT = "instrument"
    DEVICE = "device"
    IP = "ip"
    MERCHANT = "merchant"


class Window(StrEnum):
    """Over how much event time."""

    HOUR = "1h"
    DAY = "24h"


AtLeast = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class VelocityCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of count and amount must be given."""

    dimension: Dimension
    window: Window
    count_at_least: AtLeast | None = None
    amount_at_least: AtLeast | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds when every condition that it gives holds."""

    rule_id: Label
    action_kind: ActionKind
    amount_at_least: MinorUnits | None = None
    velocity: VelocityCondition | None = None


class ContextBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a trigger waits for its anchor, in milliseconds."""

    join_wait_ms: Annotated[int, Meta(ge=1, le=60_000)]
    cap_ms: Annotated[int, Meta(ge=1, le=600_000)]


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the guardrails."""

    pack_id: Label
    version: Label
    context: ContextBudget
    rules: tuple[Rule, ...]


def load_pack(path: Path) -> tuple[Pack, dict[str, Any]]:
    """The pack and its content as JSON. Raises msgspec.ValidationError or ValueError, naming the field and the rule."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    pack = msgspec.convert(content, Pack)
    seen: set[str] = set()
    for rule in pack.rules:
        if rule.rule_id in seen:
            raise ValueError(f"rules: rule_id={rule.rule_id!r} stands twice; a decision must name one rule by it")
        seen.add(rule.rule_id)
        _check(rule)
    return pack, content


def _check(rule: Rule) -> None:
    if rule.action_kind not in DECISION_KINDS:
        raise ValueError(f"rule {rule.rule_id}: action_kind={rule.action_kind} is no decision; use one of {sorted(DECISION_KINDS)}")
    if rule.amount_at_least is None and rule.velocity is None:
        raise ValueError(f"rule {rule.rule_id} has no condition: it would hold always; give amount_at_least or velocity")
    velocity = rule.velocity
    if velocity is not None and (velocity.count_at_least is None) == (velocity.amount_at_least is None):
        raise ValueError(f"rule {rule.rule_id}: velocity wants exactly one of count_at_least and amount_at_least")

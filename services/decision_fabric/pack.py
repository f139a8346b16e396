"""The guardrail pack: a YAML file, strictly typed, known by the digest of its content (domain.md 5.3, 5.7)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from laws.actions import DECISION_KINDS, ActionKind
from laws.fields import Label


class Fact(StrEnum):
    """What a rule may ask about: whole numbers only, so that no rounding decides. Velocities are those before the trigger."""

    AMOUNT_MINOR = "amount_minor"
    CONTEXT_MISSING = "context_missing"
    """1 where the anchor did not come in time, else 0."""
    ACCOUNT_1H_COUNT = "account_1h_count"
    ACCOUNT_1H_AMOUNT = "account_1h_amount"
    ACCOUNT_24H_COUNT = "account_24h_count"
    ACCOUNT_24H_AMOUNT = "account_24h_amount"
    INSTRUMENT_1H_COUNT = "instrument_1h_count"
    INSTRUMENT_1H_AMOUNT = "instrument_1h_amount"
    INSTRUMENT_24H_COUNT = "instrument_24h_count"
    INSTRUMENT_24H_AMOUNT = "instrument_24h_amount"
    DEVICE_1H_COUNT = "device_1h_count"
    DEVICE_1H_AMOUNT = "device_1h_amount"
    DEVICE_24H_COUNT = "device_24h_count"
    DEVICE_24H_AMOUNT = "device_24h_amount"
    IP_1H_COUNT = "ip_1h_count"
    IP_1H_AMOUNT = "ip_1h_amount"
    IP_24H_COUNT = "ip_24h_count"
    IP_24H_AMOUNT = "ip_24h_amount"
    MERCHANT_1H_COUNT = "merchant_1h_count"
    MERCHANT_1H_AMOUNT = "merchant_1h_amount"
    MERCHANT_24H_COUNT = "merchant_24h_count"
    MERCHANT_24H_AMOUNT = "merchant_24h_amount"


# Up to here a number of the YAML file is the same number in the canonical JSON whose digest names the pack.
Bound = Annotated[int, Meta(ge=0, le=2**53)]


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both ends are inclusive; at least one is given."""

    at_least: Bound | None = None
    at_most: Bound | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds when every fact that it names is known and within its bounds."""

    rule_id: Label
    action_kind: ActionKind
    when: dict[Fact, Bounds]


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
    _check(pack)
    return pack, content


def _check(pack: Pack) -> None:
    if pack.context.cap_ms < pack.context.join_wait_ms:
        raise ValueError(
            f"context: cap_ms={pack.context.cap_ms} is below join_wait_ms={pack.context.join_wait_ms}: it would end every wait"
        )
    seen: set[str] = set()
    for rule in pack.rules:
        if rule.rule_id in seen:
            raise ValueError(f"rules: rule_id={rule.rule_id!r} stands twice; a decision must name one rule by it")
        seen.add(rule.rule_id)
        if rule.action_kind not in DECISION_KINDS:
            raise ValueError(f"rule {rule.rule_id}: action_kind={rule.action_kind} is no decision; use one of {sorted(DECISION_KINDS)}")
        if not rule.when:
            raise ValueError(f"rule {rule.rule_id}: when is empty, so it would always hold; name a fact")
        for fact, bounds in rule.when.items():
            _check_bounds(rule, fact, bounds)


def _check_bounds(rule: Rule, fact: Fact, bounds: Bounds) -> None:
    if bounds.at_least is None and bounds.at_most is None:
        raise ValueError(f"rule {rule.rule_id}: {fact} has no bound; give at_least or at_most")
    if bounds.at_least is not None and bounds.at_most is not None and bounds.at_least > bounds.at_most:
        raise ValueError(f"rule {rule.rule_id}: {fact} at_least={bounds.at_least} is above at_most={bounds.at_most}: it could never hold")

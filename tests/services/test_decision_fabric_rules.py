"""The pack is refused by name where it is not lawful; its rules bound whole numbers, and say with which values they held."""

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import decision_fabric
from decision_fabric.pack import Bounds, ContextBudget, Fact, Pack, Rule, load_pack
from decision_fabric.rules import SEVERITY, UNKNOWN, Guardrails, most_severe
from laws.actions import DECISION_KINDS, ActionKind
from laws.canonical import canonical_json
from laws.contracts.decision import RuleHit

FACTS = tuple(Fact)
PACK_FILE = Path(decision_fabric.__path__[0]) / "packs" / "guardrails_v1.yaml"


def pack_of(*rules: Rule) -> Pack:
    return Pack("test", "v1", ContextBudget(900, 20_000), rules)


numbers = st.integers(UNKNOWN, 40)
bounds = st.builds(Bounds, st.none() | st.integers(0, 40), st.none() | st.integers(0, 40))
rules = st.lists(
    st.builds(
        Rule,
        st.text("abc", min_size=1, max_size=3),
        st.sampled_from(sorted(DECISION_KINDS)),
        st.dictionaries(st.sampled_from(FACTS), bounds, min_size=1, max_size=3),
    ),
    max_size=40,
)


def holds(rule: Rule, facts: dict[Fact, int]) -> bool:
    """Straight from the definition: every fact is known and within its bounds."""
    for fact, limit in rule.when.items():
        value = facts[fact]
        if value == UNKNOWN:
            return False
        if limit.at_least is not None and value < limit.at_least:
            return False
        if limit.at_most is not None and value > limit.at_most:
            return False
    return True


@given(rules, st.lists(numbers, min_size=len(FACTS), max_size=len(FACTS)))
def test_a_rule_holds_exactly_when_all_its_facts_are_within_bounds(some: list[Rule], values: list[int]) -> None:
    facts = dict(zip(FACTS, values, strict=True))
    found = Guardrails(pack_of(*some)).hits(values)
    expected = [rule for rule in some if holds(rule, facts)]
    assert [(hit.rule_id, hit.action_kind) for hit in found] == [(rule.rule_id, rule.action_kind) for rule in expected]
    assert [hit.values for hit in found] == [{fact.value: str(facts[fact]) for fact in rule.when} for rule in expected]
    assert all(hit.values for hit in found), "each trace has its values"


@given(st.lists(st.sampled_from(sorted(DECISION_KINDS)), max_size=6), st.sampled_from(sorted(DECISION_KINDS)))
def test_the_most_severe_wins_and_never_less_than_the_floor(kinds: list[ActionKind], floor: ActionKind) -> None:
    chosen = most_severe(tuple(RuleHit(str(i), kind, {}) for i, kind in enumerate(kinds)), floor)
    assert SEVERITY[chosen] == max(SEVERITY[kind] for kind in [*kinds, floor])


def test_severity_orders_every_decision() -> None:
    assert sorted(SEVERITY, key=SEVERITY.__getitem__) == [ActionKind.ALLOW, ActionKind.STEP_UP, ActionKind.QUEUE_REVIEW, ActionKind.BLOCK]
    assert set(SEVERITY) == DECISION_KINDS


def test_what_is_unknown_holds_no_rule_at_either_end() -> None:
    rule = Rule("quiet", ActionKind.BLOCK, {Fact.DEVICE_1H_COUNT: Bounds(at_most=5)})
    assert Guardrails(pack_of(rule)).hits([UNKNOWN] * len(FACTS)) == ()
    assert len(Guardrails(pack_of(rule)).hits([0] * len(FACTS))) == 1


GOOD = {
    "pack_id": "p",
    "version": "v1",
    "context": {"join_wait_ms": 900, "cap_ms": 20_000},
    "rules": [{"rule_id": "r", "action_kind": "BLOCK", "when": {"amount_minor": {"at_least": 1}}}],
}


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        (("surprise",), 1, "surprise"),
        (("rules", 0, "weight"), 2, "weight"),
        (("rules", 0, "when"), {}, "rule r: when is empty"),
        (("rules", 0, "when"), {"device_1h_cuont": {"at_least": 1}}, "device_1h_cuont"),
        (("rules", 0, "when", "amount_minor"), {"above": 3}, "above"),
        (("rules", 0, "when", "amount_minor"), {}, "amount_minor has no bound"),
        (("rules", 0, "when", "amount_minor"), {"at_least": 3, "at_most": 2}, "could never hold"),
        (("rules", 0, "when", "amount_minor"), {"at_least": 1.5}, "at_least"),
        (("rules", 0, "when", "amount_minor"), {"at_least": "5"}, "at_least"),
        (("rules", 0, "when", "amount_minor"), {"at_least": -1}, "at_least"),
        (("rules", 0, "action_kind"), "BLOCK_ACCOUNT", "action_kind=BLOCK_ACCOUNT is no decision"),
        (("rules", 0, "action_kind"), "DECLINE", "DECLINE"),
        (("rules",), GOOD["rules"] * 2, "rule_id='r' stands twice"),  # type: ignore[operator]  # a list, in a dict of several types
        (("context", "cap_ms"), 100, "cap_ms=100"),
        (("context", "join_wait_ms"), 0, "join_wait_ms"),
    ],
)
def test_a_pack_that_is_not_lawful_is_refused_by_name(tmp_path: Path, where: tuple[str | int, ...], value: object, named: str) -> None:
    content = msgspec.json.decode(msgspec.json.encode(GOOD))
    place = content
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    path = tmp_path / "pack.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises((msgspec.ValidationError, ValueError)) as refused:
        load_pack(path)
    assert named in str(refused.value)


def test_the_pack_in_use_is_lawful_and_canonical() -> None:
    pack, content = load_pack(PACK_FILE)
    assert 10 <= len(pack.rules) <= 20
    assert canonical_json(content)
    assert {rule.action_kind for rule in pack.rules} == DECISION_KINDS - {ActionKind.ALLOW}


class _Counted(int):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        _Counted.compared += 1
        return int(self) < other


def test_a_fact_is_looked_up_once_for_all_rules() -> None:
    many = tuple(Rule(f"r{i}", ActionKind.STEP_UP, {Fact.AMOUNT_MINOR: Bounds(at_least=i * 10)}) for i in range(100))
    _Counted.compared = 0
    facts = [_Counted(555), *[_Counted(2)] * (len(FACTS) - 1)]
    assert len(Guardrails(pack_of(*many)).hits(facts)) == 56
    assert _Counted.compared <= 7, "halving a hundred cuts takes seven comparisons"

"""Labels, actions and degrade masks against the pinned catalogues (domain.md 4, 5.7, 8.4, 8.6, 8.7)."""

from itertools import pairwise

import pytest

from laws.actions import CASE_KINDS, DECISION_KINDS, PROVIDER_VERB, ActionKind
from laws.degrade import DegradeMode, mask_for
from laws.labels import SOURCE_PRECEDENCE, LabelType, SourceType, check_label

LABELS = {
    "fraud_disposition": {"FRAUD_CONFIRMED", "FRAUD_SUSPECTED", "LEGIT_CONFIRMED"},
    "chargeback_status": {"CHARGEBACK", "NO_CHARGEBACK", "PENDING"},
    "account_takeover": {"ATO_CONFIRMED", "ATO_SUSPECTED", "ATO_NOT_CONFIRMED"},
}
CORE, VELOCITY, GRAPH = "core_features", "velocity", "entity_graph"
MASKS = {
    "NORMAL": (True, (CORE, VELOCITY, GRAPH), True, True, True, "NORMAL"),
    "DEGRADED_1": (True, (CORE, VELOCITY), True, False, True, "STEP_UP_ONLY"),
    "DEGRADED_2": (False, (CORE,), True, False, True, "STEP_UP_ONLY"),
    "FAIL_CLOSED": (False, (), False, False, True, "STEP_UP_ONLY"),
}


def _mask(mode: str, *absent: str) -> tuple[object, ...]:
    mask = mask_for(DegradeMode(mode), frozenset(absent))
    return tuple(getattr(mask, name) for name in mask.__struct_fields__)


def test_the_modes_are_the_pinned_ones_in_order_of_severity() -> None:
    assert [mode.value for mode in DegradeMode] == list(MASKS)
    for better, worse in pairwise(MASKS.values()):
        assert set(worse[1]) <= set(better[1])


@pytest.mark.parametrize("mode", MASKS)
def test_a_mode_allows_what_the_table_says(mode: str) -> None:
    assert _mask(mode) == MASKS[mode]


def test_an_absent_capability_is_taken_out_and_no_other() -> None:
    assert _mask("NORMAL", "ieg", "entity_graph") == (False, (CORE, VELOCITY), True, True, True, "NORMAL")
    assert _mask("NORMAL", "model_stage2") == (True, (CORE, VELOCITY, GRAPH), True, False, True, "NORMAL")
    assert _mask("DEGRADED_1", "model_primary", VELOCITY) == (True, (CORE,), False, False, True, "STEP_UP_ONLY")
    assert _mask("FAIL_CLOSED", "ieg", "model_primary", "model_stage2", CORE) == MASKS["FAIL_CLOSED"]


def test_an_unknown_capability_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="model_tertiary"):
        mask_for(DegradeMode.NORMAL, frozenset({"ieg", "model_tertiary"}))


@pytest.mark.parametrize("label_type", LabelType)
def test_a_type_takes_its_own_values_only(label_type: LabelType) -> None:
    for owner, values in LABELS.items():
        for value in values:
            if owner == label_type.value:
                check_label(label_type, value)
            else:
                with pytest.raises(ValueError, match=f"label_value='{value}'"):
                    check_label(label_type, value)


def test_label_types_are_the_pinned_ones() -> None:
    assert {label_type.value for label_type in LabelType} == set(LABELS)


@pytest.mark.parametrize("value", ["", "fraud_confirmed", "FRAUD_CONFIRMED "])
def test_a_near_miss_is_no_label(value: str) -> None:
    with pytest.raises(ValueError, match="label_value"):
        check_label(LabelType.FRAUD_DISPOSITION, value)


def test_a_person_outranks_the_outside_and_the_outside_a_machine() -> None:
    rank = SOURCE_PRECEDENCE
    assert rank[SourceType.HUMAN] > rank[SourceType.EXTERNAL] > rank[SourceType.AUTO] == rank[SourceType.SYSTEM]


def test_every_kind_has_its_own_verb_and_one_asker() -> None:
    assert len(set(PROVIDER_VERB.values())) == len(ActionKind) == len(PROVIDER_VERB)
    assert {k.value for k in DECISION_KINDS} == {"ALLOW", "STEP_UP", "QUEUE_REVIEW", "BLOCK"}
    assert {k.value for k in CASE_KINDS} == {"BLOCK_ACCOUNT", "UNBLOCK_ACCOUNT", "NOTIFY_CUSTOMER", "FREEZE_CARD", "RELEASE_HOLD"}

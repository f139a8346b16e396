"""Degrade modes and what each allows (domain.md 4)."""

from enum import StrEnum

import msgspec

from laws.fields import Instant, Label, Name


class DegradeMode(StrEnum):
    """Modes in order of severity."""

    NORMAL = "NORMAL"
    DEGRADED_1 = "DEGRADED_1"
    DEGRADED_2 = "DEGRADED_2"
    FAIL_CLOSED = "FAIL_CLOSED"


class ActionPosture(StrEnum):
    """NORMAL lets every kind pass; STEP_UP_ONLY clamps ALLOW to STEP_UP."""

    NORMAL = "NORMAL"
    STEP_UP_ONLY = "STEP_UP_ONLY"


class CapabilityMask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a decision may use. A capability that does not exist is false here and named in `DegradePosture.absent`."""

    allow_ieg: bool
    allowed_feature_groups: tuple[Name, ...]
    allow_model_primary: bool
    allow_model_stage2: bool
    allow_fallback_heuristics: bool
    action_posture: ActionPosture


MASKS = {
    DegradeMode.NORMAL: CapabilityMask(True, ("core_features", "velocity", "entity_graph"), True, True, True, ActionPosture.NORMAL),
    DegradeMode.DEGRADED_1: CapabilityMask(True, ("core_features", "velocity"), True, False, True, ActionPosture.STEP_UP_ONLY),
    DegradeMode.DEGRADED_2: CapabilityMask(False, ("core_features",), True, False, True, ActionPosture.STEP_UP_ONLY),
    DegradeMode.FAIL_CLOSED: CapabilityMask(False, (), False, False, True, ActionPosture.STEP_UP_ONLY),
}


class DegradePosture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The posture that a decision was made under, embedded whole in it."""

    mode: DegradeMode
    capabilities_mask: CapabilityMask
    policy_rev: Label
    posture_seq: int
    reason: Name
    absent: tuple[Name, ...] = ()
    decided_at_utc: Instant | None = None


def mask_for(mode: DegradeMode, absent: frozenset[str]) -> CapabilityMask:
    """The mask of `mode` with every absent capability taken out: `ieg`, `model_primary`, `model_stage2`, or a feature group.

    Raises ValueError for a capability that the catalogue does not have.
    """
    base = MASKS[mode]
    known = {"ieg", "model_primary", "model_stage2", *MASKS[DegradeMode.NORMAL].allowed_feature_groups}
    if unknown := sorted(absent - known):
        raise ValueError(f"absent={unknown} names no capability: use some of {sorted(known)}")
    return CapabilityMask(
        allow_ieg=base.allow_ieg and "ieg" not in absent,
        allowed_feature_groups=tuple(group for group in base.allowed_feature_groups if group not in absent),
        allow_model_primary=base.allow_model_primary and "model_primary" not in absent,
        allow_model_stage2=base.allow_model_stage2 and "model_stage2" not in absent,
        allow_fallback_heuristics=base.allow_fallback_heuristics,
        action_posture=base.action_posture,
    )

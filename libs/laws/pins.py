"""Context pins: which world, which run, which scenario a fact belongs to (domain.md 1.5)."""

import msgspec

from laws.fields import Hex32, Hex64, Name, PlatformRunId, UInt64Text

PIN_FIELDS = ("platform_run_id", "scenario_run_id", "manifest_fingerprint", "parameter_hash", "seed", "scenario_id")


class ContextPins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The six pins that travel on every decision-plane payload."""

    platform_run_id: PlatformRunId
    scenario_run_id: Hex32
    manifest_fingerprint: Hex64
    parameter_hash: Hex64
    seed: UInt64Text
    scenario_id: Name

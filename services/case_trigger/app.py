"""CaseTrigger: the thin writer of case triggers (domain.md 8.1)."""

from pathlib import Path

from case_trigger import api, policy, store
from laws.catalogue import (
    ACTION_INTENT,
    ACTION_OUTCOME,
    AUDIT_POINTER,
    CORRIDOR_ANOMALY,
    DECISION_RESPONSE,
    EXTERNAL_SIGNAL,
    QUARANTINE_SPIKE,
)
from spine.service import Command, LaneGroup, On, Service
from spine.settings import Settings

_HERE = Path(__file__).parent

# Signals are rare; three lanes let three callers commit side by side. For ever: a signal's lane follows from this number.
SIGNAL_LANES = 3

# A case is worked on by people: a second does not matter to them, and nearly all that is read here opens none.
_REST = 1.0


def build(settings: Settings) -> Service:
    """The service."""
    return Service(
        name="case_trigger",
        runtime_lane="case_trigger",
        policy_rev=policy.POLICY_REV,
        policy_content=policy.CONTENT,
        groups=(
            LaneGroup(
                "decision",
                doors=(On(DECISION_RESPONSE, policy.on_decision), On(ACTION_OUTCOME, policy.on_outcome), On(ACTION_INTENT, None)),
                longest_rest=_REST,
            ),
            LaneGroup(
                "audit",
                doors=(On(CORRIDOR_ANOMALY, policy.on_anomaly), On(AUDIT_POINTER, None), On(QUARANTINE_SPIKE, None)),
                longest_rest=_REST,
            ),
            LaneGroup(
                "signal",
                commands=(Command(EXTERNAL_SIGNAL, policy.on_signal, lambda body: [body.case_subject_key.event_id]),),
                local_lanes=SIGNAL_LANES,
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
    )

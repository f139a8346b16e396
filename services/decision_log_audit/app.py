"""Decision log and audit: one record per decision, by reference (domain.md 7)."""

from pathlib import Path

from decision_log_audit import api, policy, store
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from spine.service import LaneGroup, On, Service
from spine.settings import Settings

_HERE = Path(__file__).parent


def build(settings: Settings) -> Service:
    """The service."""
    return Service(
        name="decision_log_audit",
        runtime_lane="dla",
        policy_rev=policy.POLICY_REV,
        policy_content=policy.CONTENT,
        groups=(
            LaneGroup(
                "decision",
                doors=(
                    On(DECISION_RESPONSE, policy.on_decision, policy.chain_reads),
                    On(ACTION_INTENT, policy.on_intent, policy.chain_reads),
                    On(ACTION_OUTCOME, policy.on_outcome, policy.chain_reads),
                ),
                # Nobody waits for an audit record: it is worth more that it costs little.
                longest_rest=1.0,
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
    )

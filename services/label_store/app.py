"""Label store: the only writer of labels (domain.md 8.6, 8.7)."""

from pathlib import Path

from label_store import api, policy, store
from laws.catalogue import LABEL_ASSERTION
from spine.service import Command, LaneGroup, Service
from spine.settings import Settings

_HERE = Path(__file__).parent

# For ever: a subject's lane follows from this number.
SUBJECT_LANES = 3


def build(settings: Settings) -> Service:
    """The service."""
    return Service(
        name="label_store",
        runtime_lane="ls",
        policy_rev=policy.POLICY_REV,
        policy_content=policy.CONTENT,
        groups=(
            LaneGroup(
                "subject",
                commands=(Command(LABEL_ASSERTION, policy.on_assertion, lambda body: [body.label_subject_key.event_id]),),
                local_lanes=SUBJECT_LANES,
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
    )

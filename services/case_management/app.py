"""Case management: cases, immutable timelines, labels handed to the label store (domain.md 8.4, 8.5)."""

from pathlib import Path

from case_management import api, policy, store
from case_management.label_client import LabelStoreClient
from laws.catalogue import CASE_ASSERTION, CASE_TRIGGER
from spine.service import Command, LaneGroup, On, Service, Task
from spine.settings import Settings

_HERE = Path(__file__).parent

# The label store settles a command within 10 s: a shorter budget here would ask about labels that are still on their way.
LABEL_CALL_SECONDS = 12.0
# Three tries with 5 s and 10 s between them outlast a restart of the label store; less would reject labels at every deployment.
LABEL_FIRST_BACKOFF = 5.0
LABEL_MAX_BACKOFF = 15.0


def build(settings: Settings) -> Service:
    """The service with its label store."""
    label_store = LabelStoreClient(settings.label_store_url, settings.token_secret.get_secret_value())
    return Service(
        name="case_management",
        runtime_lane="cm",
        policy_rev=policy.POLICY_REV,
        policy_content=policy.CONTENT,
        groups=(
            LaneGroup(
                "case",
                doors=(On(CASE_TRIGGER, policy.on_trigger, policy.trigger_reads),),
                # People open a case, seconds after it was made at the earliest.
                longest_rest=0.5,
                commands=(Command(CASE_ASSERTION, policy.on_assertion, lambda body: [body.case_id], policy.assertion_reads),),
                tasks=(
                    Task(
                        policy.LABEL_SUBMIT,
                        label_store.submit,
                        label_store.lookup,
                        policy.on_label_answer,
                        policy.label_answer_reads,
                        first_backoff=LABEL_FIRST_BACKOFF,
                        max_backoff=LABEL_MAX_BACKOFF,
                        call_seconds=LABEL_CALL_SECONDS,
                    ),
                ),
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
        cleanup=label_store.close,
    )

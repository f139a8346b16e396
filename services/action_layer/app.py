"""Action layer: the only executor of effects (domain.md 6)."""

from pathlib import Path

from action_layer import api, store
from action_layer.authz import load_authz
from action_layer.policy import Actions
from action_layer.provider_client import PROVIDER_EXECUTE, ProviderClient
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from spine.service import LaneGroup, On, Service, Task
from spine.settings import Settings

_HERE = Path(__file__).parent


def build(settings: Settings) -> Service:
    """The service with its authorisation policy and its provider."""
    authz, content = load_authz(_HERE / "packs" / "authz_v0.yaml")
    actions = Actions(authz)
    # As many connections as calls at a time: no call spends its budget waiting for one.
    provider = ProviderClient(settings.provider_url, settings.task_concurrency)
    return Service(
        name="action_layer",
        runtime_lane="al",
        policy_rev=authz.policy_rev,
        policy_content=content,
        groups=(
            LaneGroup(
                "decision",
                doors=(
                    On(ACTION_INTENT, actions.on_intent, actions.intent_reads),
                    On(DECISION_RESPONSE, None),
                    On(ACTION_OUTCOME, None),
                ),
                # On a full machine the calls and answers of half a second go together: an action asks for a decision that stands already.
                longest_rest=0.5,
                tasks=(
                    Task(
                        PROVIDER_EXECUTE,
                        provider.submit,
                        provider.lookup,
                        actions.on_answer,
                        actions.answer_reads,
                        submit_many=provider.submit_many,
                    ),
                ),
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
        dependencies=provider.reachable,
        cleanup=provider.close,
    )

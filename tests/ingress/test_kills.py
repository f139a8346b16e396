"""Every step of the edge and of its reconciler killed, handlers frozen and thawed, identities raced: a small campaign of each."""

from ingress.steps import Step
from tests.ingress.campaign import FROZEN, STEPS, run
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.rig import Site


async def test_whatever_step_an_edge_dies_at_each_event_is_admitted_once(site: Site, cloud: Cloud) -> None:
    counts = await run(site, seed=7, kills=len(STEPS), freezes=len(FROZEN), races=30, dlq_url=cloud.queue(), region=REGION)
    assert {step for step in STEPS if not counts[f"at {step}"]} == set()
    assert counts["killed"] >= len(STEPS)
    assert counts["frozen"] >= len(FROZEN) - 1
    assert counts["mismatches"] >= 30


def test_a_step_that_no_campaign_kills_at_has_its_reason() -> None:
    assert set(Step) - set(STEPS) == {Step.SECOND_COPY}

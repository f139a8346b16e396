"""The model is the code: along the model's own ways to an end, faults included, the real store and the real topic end as the model does."""

import pytest

from rig import Rig
from spine.steps import Step
from testkit.model.invariants import of_lane
from testkit.model.moves import APPEND, CRASH, DIES, LANDS, LOST, PAUSE, SKIP, parse
from testkit.model.state import Lane
from tests.model.stage import stage_for
from tests.model.ways import way

LOG = ("e1", "e2", "e1")

WAYS: dict[str, tuple[str, ...]] = {
    "nothing goes wrong": (),
    "a crash with a claim open": (Step.LEASE_TAKEN, CRASH),
    "a crash before COMMIT": (Step.LANE_LOCKED, CRASH),
    "a crash after COMMIT": (Step.COMMITTED, CRASH),
    "a crash before the broker has the rows": (Step.OUTBOX_READ, CRASH),
    "a crash while the broker takes the rows": (APPEND, CRASH),
    "a crash before the mark": (Step.PUBLISHED, CRASH),
    "two crashes": (Step.COMMITTED, CRASH, Step.PUBLISHED, CRASH),
    "a zombie learns from its lease": (Step.PUBLISHED, PAUSE, Step.RENEWED, Step.CLAIMED),
    "a zombie learns from the fence": (Step.PUBLISHED, PAUSE, Step.CLAIMED, Step.LANE_LOCKED, Step.POSITIONED),
    "a zombie publishes beside the new owner": (Step.COMMITTED, PAUSE, Step.CLAIMED, APPEND, Step.MARKED, APPEND),
    "a handover": (Step.COMMITTED, Step.DRAINING, Step.RELEASED, Step.CLAIMED),
    "a COMMIT without an answer that lands": (LOST, LANDS, Step.COMMIT_SETTLED),
    "a COMMIT without an answer that dies": (LOST, DIES, Step.COMMIT_SETTLED),
    "a COMMIT that lands after its worker has died": (LOST, CRASH, Step.LEASE_TAKEN, LANDS, Step.CLAIMED),
    "a COMMIT that dies after its worker has died": (LOST, CRASH, Step.LEASE_TAKEN, DIES, Step.CLAIMED),
    "a record that was not the next one": (SKIP, Step.LANE_LOCKED),
}


@pytest.mark.parametrize("name", WAYS)
async def test_the_real_lane_ends_as_the_model_does(rig: Rig, name: str) -> None:
    script, due = way(LOG, WAYS[name])
    async with stage_for(rig, parse(script.text())) as stage:
        await stage.play()
        await stage.rest()
        found = await stage.observe()
    assert of_lane(found) == ()
    assert _comparable(found) == _comparable(due), script.text()


def _comparable(lane: Lane) -> tuple[object, ...]:
    chain = tuple((epoch, inlet, start, stop, verdicts) for epoch, _, inlet, start, stop, verdicts in lane.chain)
    return (lane.epoch, lane.seq, lane.published, lane.position, lane.inbox, lane.state, lane.outbox, chain, lane.topic)

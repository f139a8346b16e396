"""The model is the code: along the model's own ways to an end, faults included, the real store and the real topic end as the model does."""

import pytest

from rig import Rig
from testkit.model.invariants import of_lane
from testkit.model.moves import parse
from testkit.model.state import Lane
from tests.model.stage import stage_for
from tests.model.ways import way

LOG = ("e1", "e2", "e1")

WAYS: dict[str, tuple[str, ...]] = {
    "nothing goes wrong": (),
    "a crash with a claim open": ("w1 LEASE_TAKEN", "w1 crash"),
    "a crash before COMMIT": ("w1 LANE_LOCKED", "w1 crash"),
    "a crash after COMMIT": ("w1 COMMITTED", "w1 crash", "w2 CLAIMED"),
    "a crash before the broker has the rows": ("w1 OUTBOX_READ", "w1 crash"),
    "a crash while the broker takes the rows": ("w1 append", "w1 crash"),
    "a crash before the mark": ("w1 PUBLISHED", "w1 crash", "w2 CLAIMED"),
    "two crashes": ("w1 COMMITTED", "w1 crash", "w2 PUBLISHED", "w2 crash"),
    "a zombie learns from its lease": ("w1 PUBLISHED", "w1 pause", "w2 CLAIMED", "w1 RENEWED"),
    "a zombie's batch meets the fence": ("w1 POSITIONED", "w1 pause", "w2 CLAIMED", "w1 LANE_LOCKED"),
    "a zombie's batch comes after the new owner's": ("w1 POSITIONED", "w1 pause", "w2 CLAIMED", "w2 COMMITTED", "w1 LANE_LOCKED"),
    "a zombie's mark meets the fence": ("w1 PUBLISHED", "w1 pause", "w2 CLAIMED", "w1 MARKED"),
    "a zombie publishes beside the new owner": (
        "w1 COMMITTED",
        "w1 pause",
        "w2 CLAIMED",
        "w1 OUTBOX_READ",
        "w2 OUTBOX_READ",
        "w1 append",
        "w2 PUBLISHED",
        "w1 PUBLISHED",
    ),
    "a handover": ("w1 COMMITTED", "w1 DRAINING", "w1 RELEASED", "w2 CLAIMED"),
    "a COMMIT without an answer that lands": ("w1 lost", "lands", "w1 COMMIT_SETTLED"),
    "a COMMIT without an answer that dies": ("w1 lost", "dies", "w1 COMMIT_SETTLED"),
    "a COMMIT that lands after its worker has died": ("w1 lost", "w1 crash", "w2 LEASE_TAKEN", "lands", "w2 CLAIMED"),
    "a COMMIT that dies after its worker has died": ("w1 lost", "w1 crash", "w2 LEASE_TAKEN", "dies", "w2 CLAIMED"),
    "a record that was not the next one": ("w1 skip", "w1 LANE_LOCKED"),
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

"""A worker dies at each step; the next one finishes what it left, once (runtime.md, How it is proved)."""

import pytest

from rig import Rig, entry
from spine.deadline import Deadline
from spine.steps import Step
from test_ownership import ACCOUNTS, exact
from testkit.harness import until

# Steps of records, publishing and ownership that a worker of the test service passes while it reads a topic.
ON_THE_WAY = [
    Step.FETCHED,
    Step.DECODED,
    Step.TX_BEGUN,
    Step.LANE_LOCKED,
    Step.DEDUPED,
    Step.STATE_READ,
    Step.EFFECTS_DECIDED,
    Step.EFFECTS_WRITTEN,
    Step.BEFORE_COMMIT,
    Step.COMMITTED,
    Step.OUTBOX_READ,
    Step.PUBLISHED,
    Step.MARKED,
    Step.CLAIMED,
    Step.RENEWED,
]


@pytest.mark.parametrize("step", ON_THE_WAY)
async def test_killed_at_any_step_nothing_is_lost_or_doubled(rig: Rig, step: Step) -> None:
    await rig.send(*(entry(f"{step}-{number}-{account}", account=account) for number in range(10) for account in ACCOUNTS))
    # The second time: the first pass has left something behind that the second must not lose.
    doomed = rig.process(FP_FAULTS=f"KILL {step} 2")
    doomed.start()
    await until(lambda: not doomed.alive, Deadline(30), f"the worker to die at {step}")
    heir = rig.process()
    heir.start()
    try:
        await rig.quiet(10 * len(ACCOUNTS))
    finally:
        heir.terminate()
        await heir.ended(Deadline(20))
    await exact(rig, 10 * len(ACCOUNTS))


async def test_faults_that_no_step_has_are_refused_by_name(rig: Rig) -> None:
    process = rig.process(FP_FAULTS="KILL NOWHERE 1")
    process.start()
    await until(lambda: not process.alive, Deadline(30), "the worker to refuse its faults")
    assert "FP_FAULTS='KILL NOWHERE 1'" in process.log.read_text()

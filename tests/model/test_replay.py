"""The model's counter-examples on the real code: kept with the rule, broken in the same way without it."""

import pytest

from rig import Rig
from testkit.model.explore import CounterExample, explore
from testkit.model.invariants import Invariant, Violation, at_rest, of_lane
from testkit.model.moves import parse
from testkit.model.state import Budget, Lane, State
from testkit.model.variants import CATCHES
from testkit.wrong import Wrong
from testkit.wrong.plants import PLANTED, plant
from tests.model.call_stage import Calls
from tests.model.command_stage import Commands
from tests.model.stage import stage_for


def counter_example(wrong: Wrong) -> CounterExample:
    catch = CATCHES[wrong]
    found = explore(catch.configuration, wrong, catch.invariant).counter_example
    assert found is not None
    # What is played is what is printed: the text, read back.
    return CounterExample(parse(found.script.text()), found.violation)


async def replay(rig: Rig, example: CounterExample) -> list[Violation]:
    """Plays the script; everything that does not hold at its end, and for a lane that got stuck, once nobody has anything left to do."""
    async with stage_for(rig, example.script) as stage:
        await stage.play()
        found = list(of_lane(await stage.observe()))
        if example.violation.invariant is Invariant.STUCK:
            await stage.rest()
            found += at_rest(_only(await stage.observe()))
    return found


def _only(lane: Lane) -> State:
    return State(mems=(), lanes=(lane,), doors=(), budget=Budget())


@pytest.mark.parametrize("wrong", sorted(PLANTED))
async def test_the_real_code_keeps_the_invariants_on_the_way_of_the_counter_example(rig: Rig, wrong: Wrong) -> None:
    assert await replay(rig, counter_example(wrong)) == []


@pytest.mark.parametrize("wrong", sorted(PLANTED))
async def test_without_the_rule_the_real_code_breaks_what_the_model_breaks(rig: Rig, wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(wrong, monkeypatch.setattr)
    example = counter_example(wrong)
    assert example.violation.invariant in {violation.invariant for violation in await replay(rig, example)}


@pytest.mark.xfail(strict=True, reason="CommandDoor takes a COMMIT that is in for a NEW verdict, also where it was a DUPLICATE")
async def test_a_duplicate_whose_commit_was_not_answered_stays_one(rig: Rig) -> None:
    example = counter_example(Wrong.LOST_COMMIT_IS_NEW)
    async with stage_for(rig, example.script) as stage:
        commands = Commands(stage)
        await stage.play()
        assert commands.broken == []


@pytest.mark.xfail(strict=True, reason="TaskRunner writes what a call said without showing the lane's epoch and token")
async def test_a_zombie_does_not_say_what_became_of_a_call(rig: Rig) -> None:
    example = counter_example(Wrong.TASK_WRITE_UNFENCED)
    async with stage_for(rig, example.script) as stage:
        calls = Calls(stage)
        await stage.play()
        assert calls.broken == []

"""The model's counter-examples on the real code: kept with the rule, broken in the same way without it."""

import pytest

from rig import Rig
from testkit.model.explore import CounterExample, explore
from testkit.model.invariants import Invariant, Violation, at_rest, of_lane
from testkit.model.moves import parse
from testkit.model.state import Budget, Lane, State
from testkit.model.variants import CATCHES
from testkit.wrong import Wrong
from testkit.wrong.plants import plant
from tests.model.call_stage import Calls
from tests.model.command_stage import Commands
from tests.model.stage import stage_for

# Variants that show in the lane as it stands in the end; the other two show in what a caller is told, and in one row's way.
IN_A_LANE = sorted(set(Wrong) - {Wrong.LOST_COMMIT_IS_NEW, Wrong.TASK_WRITE_UNFENCED})


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


@pytest.mark.parametrize("wrong", IN_A_LANE)
async def test_the_real_code_keeps_the_invariants_on_the_way_of_the_counter_example(rig: Rig, wrong: Wrong) -> None:
    assert await replay(rig, counter_example(wrong)) == []


@pytest.mark.parametrize("wrong", IN_A_LANE)
async def test_without_the_rule_the_real_code_breaks_what_the_model_breaks(rig: Rig, wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(wrong, monkeypatch.setattr)
    example = counter_example(wrong)
    assert example.violation.invariant in {violation.invariant for violation in await replay(rig, example)}


@pytest.mark.parametrize("planted", [False, True], ids=["with the rule", "without it"])
async def test_a_duplicate_whose_commit_was_not_answered_stays_one(rig: Rig, planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        plant(Wrong.LOST_COMMIT_IS_NEW, monkeypatch.setattr)
    async with stage_for(rig, counter_example(Wrong.LOST_COMMIT_IS_NEW).script) as stage:
        commands = Commands(stage)
        await stage.play()
        assert bool(commands.broken) is planted


@pytest.mark.parametrize("planted", [False, True], ids=["with the rule", "without it"])
async def test_a_zombie_does_not_say_what_became_of_a_call(rig: Rig, planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        plant(Wrong.TASK_WRITE_UNFENCED, monkeypatch.setattr)
    async with stage_for(rig, counter_example(Wrong.TASK_WRITE_UNFENCED).script) as stage:
        calls = Calls(stage)
        await stage.play()
        assert bool(calls.broken) is planted

"""Every durable effect of the spine has a kill point before the next one, and every kill point has a place in the code."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import spine
from ledger import service as ledger
from payee import payee_at
from recording import Recording, recorded
from rig import Rig, adjust, entry, key_given
from spine.commands import CommandDoor
from spine.deadline import Deadline
from spine.service import TaskResult
from spine.steps import Step


def places() -> Counter[Step]:
    """How often the code of the spine reports each step."""
    found: Counter[Step] = Counter()
    for path in sorted(Path(str(spine.__file__)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reached":
                (step,) = node.args
                assert isinstance(step, ast.Attribute) and isinstance(step.value, ast.Name) and step.value.id == "Step", ast.unparse(node)
                found[Step[step.attr]] += 1
    return found


def test_every_step_has_a_place_in_the_code() -> None:
    assert set(places()) == set(Step)


# Every kind of durable effect that the worker of the test service has. A new one is added here on purpose, or not at all.
EFFECTS = {
    "INSERT INTO provenance",
    "INSERT INTO worker",
    "DELETE FROM worker",
    "UPDATE lane_lease",
    "UPDATE lane",
    "UPDATE pending",
    "COMMIT",
    "acknowledged produces",
    "INSERT INTO handover",
    "call of submit",
}

# Steps that alone stand between two durable effects somewhere: without its report, the recording must have a finding.
ALONE = [
    Step.STARTED,
    Step.RENEWED,
    Step.CLAIMED,
    Step.POSITIONED,
    Step.TASK_RESERVED,
    Step.TASK_CALLED,
    Step.STOPPED,
    Step.RECORDED,
]


async def test_between_two_durable_effects_of_one_flow_there_is_a_step(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is added to the spine without a kill point of its own fails here, with its name."""
    recording = await every_door(rig, monkeypatch)
    assert recording.findings() == set()
    # Otherwise the sentence above would say less than it seems to.
    assert {found.step for found in recording.all if found.step is not None} == set(Step)
    assert recording.effects == EFFECTS
    # The check can fail: a step that is the only one between two effects is missed.
    blind = [step for step in ALONE if not recording.findings(without=step)]
    assert not blind, f"nothing is missed without {blind}"


async def every_door(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """One worker's life with every inlet, a lost answer to COMMIT, a release of a parked key, a stopped lane, and the way out."""
    rig.site.environment["FP_BREAKER_CONSECUTIVE"] = "2"
    async with payee_at(rig, "pay-0") as payee:
        with recorded(monkeypatch, "ledger", rig.producer) as recording:
            for name in ("submit", "lookup"):
                monkeypatch.setattr(ledger.Outside, name, observed_call(name, recording))
            async with rig.worker() as (_, door):
                await use(rig, door, recording)
    assert payee.effects == Counter({f"pay-{number}": 1 for number in range(3)})
    return recording


async def use(rig: Rig, door: CommandDoor, recording: Recording) -> None:
    await rig.send(*(entry(f"entry-{number}", account=f"account-{number}") for number in range(12)))
    await rig.send(*(entry(f"pay-{number}", account=f"paid-{number}", note="pay") for number in range(3)))
    await rig.send(entry("kept", account="kept", note="wait"), key_given("key", "kept"), entry("late", account="late", note="wait"))
    await rig.quiet(18)
    await rig.until("SELECT count(*)::int FROM pending", 0)
    recording.lose_next_commit = True
    await rig.send(entry("unanswered", account="a"))
    await rig.quiet(19)
    source, spec = adjust(door, "command", "a", 100)
    assert (await door.submit(source, spec, Deadline(20))).status == 201
    # One poison is parked, and released, and poison still; the second in a row opens the breaker.
    poison = entry("poison", account="poisoned", note="poison")
    await rig.send(poison)
    await rig.quiet(20)
    (row,) = await rig.rows("SELECT lane, key FROM parked")
    await door.release("account", row["lane"], bytes(row["key"]), Deadline(20))
    others = (entry(f"poison-{number}", account=f"poisoned-{number}", note="poison") for number in range(30))
    await rig.send(next(other for other in others if other.partition == poison.partition))
    await rig.until("SELECT count(*)::int FROM lane WHERE stopped_reason IS NOT NULL", 1)


def observed_call(name: str, recording: Recording) -> Callable[..., Awaitable[TaskResult]]:
    original = getattr(ledger.Outside, name)

    async def observed(outside: ledger.Outside, *arguments: Any) -> TaskResult:
        try:
            result: TaskResult = await original(outside, *arguments)
        finally:
            # Whatever was answered, the outside may have done it.
            recording.add(f"call of {name}")
        return result

    return observed

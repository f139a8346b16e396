"""Every state of the model within its bounds, and every step of the code in it."""

import pytest

from spine.steps import Step
from testkit.model.configurations import CONFIGURATIONS, Configuration
from testkit.model.coverage import COLLAPSED
from testkit.model.explore import Explored, explore
from testkit.model.moves import FAILOVER, FAULTS, RESEND
from testkit.model.report import counter_example, line


@pytest.fixture(scope="module")
def explored() -> dict[str, Explored]:
    """What has been explored so far, by configuration."""
    return {}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: configuration.name)
def test_every_state_keeps_every_invariant(configuration: Configuration, explored: dict[str, Explored]) -> None:
    found = explored[configuration.name] = explore(configuration)
    print(line(configuration, found))  # noqa: T201  what was explored is shown with -rP
    assert found.counter_example is None, counter_example(found)
    # An exploration in which nothing ever comes to its end has been cut off somewhere.
    assert found.rests > 0


def test_every_step_of_the_code_is_a_move_or_part_of_one(explored: dict[str, Explored]) -> None:
    for configuration in CONFIGURATIONS:
        explored.setdefault(
            configuration.name, explore(configuration) if configuration.name not in explored else explored[configuration.name]
        )
    acts = frozenset[str]().union(*(found.acts for found in explored.values()))
    moves = {step for step in Step if step.value in acts}
    assert moves & set(COLLAPSED) == set()
    assert moves | set(COLLAPSED) == set(Step)
    assert {part_of for part_of, _ in COLLAPSED.values()} <= moves
    assert all(why for _, why in COLLAPSED.values())
    # A fault that never happens proves nothing.
    assert FAULTS - {RESEND} <= acts
    assert FAILOVER in acts

"""The findings compare another tool with the spine on the same engines; the spine's part is the test service of its own tests."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rig import Rig, rig_on
from testkit.engines import EngineSet


@pytest.fixture
async def rig(engines: EngineSet, tmp_path: Path) -> AsyncIterator[Rig]:
    """The test service on real engines, isolated from every other test."""
    async with rig_on(engines, tmp_path) as found:
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Says in the run's own output how often a danger showed that does not always show."""

    def said(sentence: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{sentence}\n")

    return said

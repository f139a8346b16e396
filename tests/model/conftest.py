"""Replays run on the test service of the spine, on real engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rig import Rig, rig_on
from testkit.engines import EngineSet


@pytest.fixture
async def rig(engines: EngineSet, tmp_path: Path) -> AsyncIterator[Rig]:
    """The test service on real engines, isolated from every other test."""
    async with rig_on(engines, tmp_path) as found:
        yield found

"""The spine's tests run a small service that uses every door."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testkit.engines import EngineSet

# The test service is a package beside the tests, as a service is beside the libraries.
sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig, rig_on


@pytest.fixture
async def rig(engines: EngineSet, tmp_path: Path) -> AsyncIterator[Rig]:
    """The test service on real engines, isolated from every other test."""
    async with rig_on(engines, tmp_path) as found:
        yield found

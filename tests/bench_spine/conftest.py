"""Tests of what an operator does to a running service use the spine's test service: it has every door."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from laws.topics import AUDIT
from rig import Rig, rig_on
from testkit.engines import EngineSet


@pytest.fixture
async def rig(engines: EngineSet, tmp_path: Path) -> AsyncIterator[Rig]:
    """The test service on real engines, isolated from every other test."""
    async with rig_on(engines, tmp_path) as found:
        # Where the anomalies of a mismatch go.
        await found.site.topics([AUDIT])
        yield found

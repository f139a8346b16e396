"""A hundred kills over all services, with the negative controls, on engines of the test's own."""

from pathlib import Path

import pytest

from testkit.chaos.campaign import Options, campaign
from testkit.workloads import NAMES

KILLS = 100


@pytest.mark.timeout(900)
async def test_a_hundred_kills_over_all_services_leave_every_law_whole(tmp_path: Path) -> None:
    lines: list[str] = []
    well = await campaign(Options(NAMES, 42, -(-KILLS // len(NAMES)), 3, tmp_path), lines.append)
    assert well, "\n".join(lines)
    assert len(lines) == len(NAMES)

"""The search for the highest rate halves, waits for the platform between two rates, and believes no rate that leaves a backlog."""

from __future__ import annotations

from typing import Any

from testkit.bench.search import highest_rate
from testkit.bench.watch import Look


class FakePlatform:
    """Holds up to a rate; above it, what is beyond stays behind and is worked off later."""

    def __init__(self, holds: float) -> None:
        self._holds = holds
        self._warm = 3000 / 10
        self._behind = 0
        self.rates: list[float] = []
        self.told: list[dict[str, Any]] = [{"unanswered": 0}]

    async def phase(self, rate: float, seconds: float) -> None:
        assert self._behind == 0, "no rate is tried on the backlog of another"
        if rate != self._warm:
            self.rates.append(rate)
        self._behind = int(max(0.0, rate - self._holds) * seconds)

    async def look(self) -> Look:
        behind, self._behind = self._behind, max(0, self._behind - 60_000)
        return Look(0.0, {"decision_fabric": {0: behind}}, {}, {}, {}, {})


async def search(holds: float, ceiling: float) -> tuple[list[dict[str, Any]], float, FakePlatform]:
    platform = FakePlatform(holds)
    tried, found = await highest_rate(platform, platform, ceiling, 40.0, 0, lambda _: None)  # type: ignore[arg-type]  # both in one
    return tried, found, platform


async def test_a_platform_that_holds_the_ceiling_is_asked_once() -> None:
    tried, found, _ = await search(4000, 3000)
    assert found == 3000
    assert [step["held"] for step in tried] == [True]


async def test_the_rate_found_holds_and_is_near_the_highest() -> None:
    tried, found, platform = await search(1300, 3000)
    assert platform.rates[0] == 3000
    # A rate holds with less than two of its seconds behind, so that a little more than what holds for ever passes for forty seconds.
    assert 1300 - 3000 / 2**5 <= found <= 1300 * 1.06
    assert max(step["rate"] for step in tried if step["held"]) == round(found, 1)


async def test_a_platform_that_holds_nothing_has_no_rate() -> None:
    tried, found, _ = await search(0, 3000)
    assert found == 0
    assert not any(step["held"] for step in tried)

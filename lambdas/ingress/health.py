"""GREEN, AMBER or RED, and why (domain.md 2.15). Found out in the background by reads, never by a synthetic write (lesson L5)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum

# domain.md 2.15: a streak of this many failures is RED; a single failure may pass by itself.
RED_STREAK = 3

# What a call learns of a dependency and what a probe learns count as one.
STORE = "store"
BUS = "bus"
LETTERS = "letters"
"""The dead-letter queue. The reconciler's sweep finds what no letter told of, so the edge serves without it."""
OBJECTS = "objects"
"""S3. Only what is too large for a record needs it at once."""
CREDENTIALS = "credentials"
"""SSM. The edge goes on with the credentials that it knows, for a while."""
ANOMALIES = "anomalies"
"""Anomalies that are not on the bus yet. They are durable, so the edge serves while some are left."""
SCHEMAS = "schemas"
"""The schema registry. An edge that has never found its contracts there lets nothing in; one that has, does not ask again."""

# While something fails, recovery should be noticed in about the time after which a refused producer comes back.
_ANXIOUS_S = 1.0


Probes = Mapping[str, Callable[[], Awaitable[None]]]
"""How to ask each dependency whether it serves; raises if it does not."""


class HealthState(StrEnum):
    """GREEN serves, AMBER serves with a cause to look at, RED refuses (fails closed)."""

    GREEN = "GREEN"
    AMBER = "AMBER"
    RED = "RED"


class Health:
    """Failures in a row, by what failed."""

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}
        self._causes: dict[str, str] = {}
        self._worry = asyncio.Event()

    def ok(self, dependency: str) -> None:
        """It did what it was asked."""
        self._streaks.pop(dependency, None)
        self._causes.pop(dependency, None)

    def failed(self, dependency: str, cause: str) -> None:
        """It did not, because of `cause`. Wakes the watch: a RED edge refuses everything, so that only a probe can clear it."""
        self._streaks[dependency] = self._streaks.get(dependency, 0) + 1
        self._causes[dependency] = cause
        self._worry.set()

    @property
    def state(self) -> HealthState:
        """The worst of all dependencies."""
        if SCHEMAS in self._streaks or any(self._streaks.get(name, 0) >= RED_STREAK for name in (STORE, BUS)):
            return HealthState.RED
        return HealthState.AMBER if self._streaks else HealthState.GREEN

    @property
    def causes(self) -> list[dict[str, str | int]]:
        """What fails, since how many tries, and why."""
        return [{"dependency": name, "failures": self._streaks[name], "cause": cause} for name, cause in self._causes.items()]

    async def probe(self, probes: Probes) -> None:
        """Asks every dependency once. What a probe raises is its cause."""
        for name, ask in probes.items():
            try:
                await ask()
            except Exception as error:
                self.failed(name, f"{type(error).__name__}: {error}")
            else:
                self.ok(name)

    async def watch(self, probes: Probes, every_s: float, *, at_once: bool) -> None:
        """Probes for ever: the first time `at_once` or after a pause, then every `every_s` seconds; when something fails, at once and
        oftener until it does not."""
        if at_once:
            self._worry.set()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._worry.wait()
            while True:
                self._worry.clear()
                await self.probe(probes)
                if self.state is HealthState.GREEN:
                    break
                await asyncio.sleep(min(every_s, _ANXIOUS_S))

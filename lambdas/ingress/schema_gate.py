"""Whether the contracts of this release are released: an edge whose schemas the registry does not know lets nothing in (domain.md 2.13)."""

import asyncio
import time
from collections.abc import Callable

from ingress.aws_json import ServiceError
from ingress.glue import AVAILABLE, SchemaRegistry, definition_of, name_of
from ingress.policy import DOORS
from ingress.released import versions_of

# A failed look is not repeated for every request.
RETRY_S = 5.0


def contracts() -> list[tuple[str, str]]:
    """(event type, version) of everything that comes in."""
    return [(each.name, version) for each in DOORS.values() for version in versions_of(each)]


class SchemaGate:
    """Looks once: a definition that was released stays so, and a release has the same contracts for as long as it runs."""

    def __init__(self, registry: SchemaRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._open = False
        self._next_try = float("-inf")
        # The watch and the first request look at the same time: whoever comes second waits for what the first one finds.
        self._looking = asyncio.Lock()
        self.cause = "the schemas were not looked up yet"
        """Why nothing may come in; "" once it may."""

    async def ready(self) -> bool:
        """Whether every contract stands in the registry. Never raises."""
        if not self._open:
            async with self._looking:
                if not self._open and self._clock() >= self._next_try:
                    await self._look()
                    self._next_try = self._clock() + RETRY_S
        return self._open

    async def _look(self) -> None:
        try:
            unknown = [name for name in await asyncio.gather(*map(self._unknown, contracts())) if name]
        except (ServiceError, OSError) as error:
            self.cause = f"the registry can't be asked: {error}"
            return
        registry = self._registry.registry
        self.cause = f"registry {registry} has not released this edge's {', '.join(unknown)}: publish them first" if unknown else ""
        self._open = not unknown

    async def probe(self) -> None:
        """Raises ServiceError with the cause where it is not ready."""
        if not await self.ready():
            raise ServiceError(self.cause)

    async def _unknown(self, contract: tuple[str, str]) -> str:
        """The schema's name where it is not released, else ""."""
        name = name_of(*contract)
        found = await self._registry.find(name, definition_of(*contract))
        return "" if found is not None and found.status == AVAILABLE else name

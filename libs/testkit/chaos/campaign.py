"""Several services, one after the other, on one set of engines: what `fp chaos` runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from testkit.chaos.engine_room import EngineRoom
from testkit.chaos.figures import Figures
from testkit.chaos.run import run_service
from testkit.chaos.workers import ForkServer
from testkit.engines import Kind, start
from testkit.workloads import named

# What is printed of a failure; all of it stands in the folder.
_SHOWN = 8


async def campaign(services: Sequence[str], folder: Path, say: Callable[[str], None], *, seed: int, kills: int, slots: int) -> bool:
    """Run each service through `kills` kills; a line each; whether every law held everywhere."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells at length that the broker which was killed is down
    server = ForkServer()
    await server.start()
    # Data that lives as long as the campaign; no Valkey, since no service keeps anything there.
    engines = await asyncio.to_thread(start, {Kind.KAFKA, Kind.POSTGRES})
    well = True
    try:
        for service in services:
            figures, findings = await run_service(
                EngineRoom(engines), server, named(service), folder / service, seed=seed, kills=kills, slots=slots
            )
            say(figures.line(len(findings)))
            well = well and not findings
            if findings:
                _tell(findings, figures, folder / service, say, kills=kills, slots=slots)
    finally:
        await server.close()
        await asyncio.to_thread(engines.stop)
    return well


def _tell(findings: list[str], figures: Figures, folder: Path, say: Callable[[str], None], *, kills: int, slots: int) -> None:
    (folder / "findings.txt").write_text("\n".join(findings) + "\n")
    for finding in findings[:_SHOWN]:
        say(f"  {finding}")
    say(f"  {len(findings)} findings; findings and logs: {folder}")
    say(f"  again: fp chaos --service {figures.service} --seed {figures.seed} --kills {kills} --workers {slots}")

"""Several services, one after the other, on one set of engines: what `fp chaos` runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.chaos.controls import controls
from testkit.chaos.engine_room import EngineRoom
from testkit.chaos.run import run_service
from testkit.chaos.workers import ForkServer
from testkit.engines import Kind, start
from testkit.workloads import named

# What is printed of a failure; all of it stands in the folder.
_SHOWN = 8


@dataclass(frozen=True)
class Options:
    """What one campaign does."""

    services: Sequence[str]
    seed: int
    kills: int
    """Of each service."""
    slots: int
    folder: Path


async def campaign(options: Options, say: Callable[[str], None]) -> bool:
    """The negative controls, then each service through its kills; a line each; whether every law held and every control was caught."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells at length that the broker which was killed is down
    server = ForkServer()
    await server.start()
    # Data that lives as long as the campaign; no Valkey, since no service keeps anything there.
    engines = await asyncio.to_thread(start, {Kind.KAFKA, Kind.POSTGRES})
    try:
        room = EngineRoom(engines)
        caught = await controls(room, server, options.folder / "controls")
        missed = [name for name, finding in caught.items() if not finding]
        word = f"controls caught {len(caught) - len(missed)}/{len(caught)}"
        for name in missed:
            say(f"  {name} was not caught: the audit is blind to it, and what follows proves nothing")
        well = [await _service(options, name, word, room, server, say) for name in options.services]
        return not missed and all(well)
    finally:
        await server.close()
        await asyncio.to_thread(engines.stop)


async def _service(
    options: Options, name: str, controls_word: str, room: EngineRoom, server: ForkServer, say: Callable[[str], None]
) -> bool:
    folder = options.folder / name
    figures, findings = await run_service(room, server, named(name), folder, seed=options.seed, kills=options.kills, slots=options.slots)
    say(f"{figures.line(len(findings))} | {controls_word}")
    if findings:
        (folder / "findings.txt").write_text("\n".join(findings) + "\n")
        for finding in findings[:_SHOWN]:
            say(f"  {finding}")
        say(f"  {len(findings)} findings; they and the logs are in {folder}")
        say(f"  again: fp chaos --service {name} --seed {options.seed} --kills {options.kills} --workers {options.slots}")
    return not findings

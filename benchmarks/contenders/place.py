"""Where a contender's process works: told by its environment, the same for all that are not the spine."""

from __future__ import annotations

import asyncio
import os
import signal

import msgspec

VARIABLE = "BENCH_PLACE"


class Place(msgspec.Struct, frozen=True):
    """Endpoints and names of one measurement, and how far to read."""

    bootstrap: str
    dsn: str
    payments: str
    postings: str
    group: str
    stops: dict[int, int]
    """Partitions that this process reads, and where it stops in each: what comes after is not read, or ignored."""
    batch: int = 1000

    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def from_environment() -> Place:
    """The place of this process. Raises KeyError where it was not started by the benchmark."""
    return msgspec.json.decode(os.environ[VARIABLE], type=Place)


def told_to_end() -> asyncio.Event:
    """Set once the benchmark says that the measurement is over (SIGTERM)."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    return ended

"""CPU and memory of every process of a measurement, from /proc: ours, the store's backends by login, the engines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from testkit.engines import EngineSet, Kind

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

# The store's own processes that work for everybody: shown under these names (postgres: <name> ..).
_STORE_WORKERS = ("checkpointer", "background writer", "walwriter", "autovacuum", "logger", "stats")


class Spent(NamedTuple):
    """What a process, or a group of them, has used since it began, and holds now."""

    cpu_s: float
    own_bytes: int
    """Resident memory without what is shared: a backend touches more and more of the store's shared buffers, and holds none of them."""


class _Stat(NamedTuple):
    started: int
    cpu_s: float
    own_bytes: int


class Usage:
    """Adds up processes by name. What a process that ended had used stays counted."""

    def __init__(self, engines: EngineSet, database: str, processes: Mapping[str, list[int]]) -> None:
        """`processes`: pids by name; `database`: whose backends count (an engine may serve others too)."""
        self._processes = processes
        self._database = database
        # Not every set has all three.
        pids = {handle.kind: handle.pid for handle in engines.handles}
        self._kafka, self._postgres, self._dynamodb = pids.get(Kind.KAFKA), pids.get(Kind.POSTGRES), pids.get(Kind.DYNAMODB)
        self._seen: dict[tuple[int, int], tuple[str, float]] = {}

    def look(self) -> dict[str, Spent]:
        """CPU seconds so far and memory now, by name."""
        own: dict[str, int] = {}
        for name, pid in self._everybody():
            stat = _stat(pid)
            if stat is not None:
                self._seen[(pid, stat.started)] = (name, stat.cpu_s)
                own[name] = own.get(name, 0) + stat.own_bytes
        cpu: dict[str, float] = {}
        for name, seconds in self._seen.values():
            cpu[name] = cpu.get(name, 0.0) + seconds
        return {name: Spent(seconds, own.get(name, 0)) for name, seconds in sorted(cpu.items())}

    def _everybody(self) -> list[tuple[str, int]]:
        # An edge under Lambda's runtime client is a process with sandboxes below it.
        found = [(name, member) for name, pids in self._processes.items() for pid in pids for member in _family(pid)]
        if self._kafka is not None:
            found.append(("kafka", self._kafka))
        if self._dynamodb is not None:
            found.append(("dynamodb", self._dynamodb))
        if self._postgres is not None:
            found += [(name, pid) for pid in _children(self._postgres) if (name := self._store_name(pid)) is not None]
        return found

    def _store_name(self, pid: int) -> str | None:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            return None
        words = title.removeprefix("postgres: ")
        if any(words.startswith(worker) for worker in _STORE_WORKERS):
            return "postgres " + next(worker for worker in _STORE_WORKERS if words.startswith(worker))
        parts = words.split()
        if len(parts) >= 2 and parts[1] == self._database:
            return f"postgres for {parts[0]}"
        return None


def spent_between(before: Mapping[str, Spent], after: Mapping[str, Spent]) -> dict[str, float]:
    """CPU seconds by name between two looks; what used none is left out."""
    found = {name: spent.cpu_s - (before[name].cpu_s if name in before else 0.0) for name, spent in after.items()}
    return {name: seconds for name, seconds in found.items() if seconds > 0}


def _family(pid: int) -> list[int]:
    """A process and all that descends from it."""
    found = [pid]
    for member in found:
        found += _children(member)
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _stat(pid: int) -> _Stat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return _Stat(int(fields[19]), (int(fields[11]) + int(fields[12])) / _TICK, (int(resident) - int(shared)) * _PAGE)

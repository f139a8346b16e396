"""What the machine did meanwhile: CPU by process, what neighbours took, and how fast the disk made a small write durable."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from testkit.bench.usage import Usage, spent_between
from testkit.engines import EngineSet

_TICK = os.sysconf("SC_CLK_TCK")

# Enough for a 99th percentile that is more than its own largest value, and over in a second or two on a slow disk.
_PROBES = 200


class Spent(msgspec.Struct, frozen=True):
    """What was spent in a stretch of time."""

    seconds: float
    cpu_s: dict[str, float]
    """CPU seconds of the contender, the store's backends, its other processes, DynamoDB Local, the broker and the benchmark itself."""
    others: float
    """Cores that processes outside of the measurement kept busy, on average."""
    stolen: float
    """Cores that the hypervisor took, on average."""
    waiting: float
    """Cores that stood idle because of the disk, on average."""


class Meter:
    """CPU from its making on."""

    def __init__(self, engines: EngineSet, database: str, contender: list[int], helpers: Sequence[int] = ()) -> None:
        # The contender last: it descends from the benchmark, and a process counts where it is named last.
        self._usage = Usage(engines, database, {"benchmark": [os.getpid(), *helpers], "contender": contender})
        self._before = self._usage.look()
        self._machine = _machine()
        self._began = time.monotonic()

    def spent(self) -> Spent:
        """Until now."""
        seconds = time.monotonic() - self._began
        busy, stolen, waiting = (now - before for now, before in zip(_machine(), self._machine, strict=True))
        cpu: dict[str, float] = {}
        for name, used in spent_between(self._before, self._usage.look()).items():
            group = _group_of(name)
            cpu[group] = cpu.get(group, 0.0) + used
        others = max(0.0, busy - sum(cpu.values()))
        return Spent(seconds, cpu, others / seconds, stolen / seconds, waiting / seconds)


def _group_of(name: str) -> str:
    if name == "kafka":
        return "broker"
    if name.startswith("postgres for "):
        return "backends"
    return "store" if name.startswith("postgres ") else name


def _machine() -> tuple[float, float, float]:
    fields = [int(field) / _TICK for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, waiting, irq, softirq, stolen = fields[:8]
    return user + nice + system + irq + softirq, stolen, waiting


class Fsync(msgspec.Struct, frozen=True):
    """Milliseconds that a small write takes to become durable."""

    median_ms: float
    p99_ms: float


def probe_disk(folder: Path) -> Fsync:
    """Writes 4 KiB and waits for the disk, again and again, where the engines keep their data."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        number = file.fileno()
        for _ in range(_PROBES):
            started = time.perf_counter()
            os.pwrite(number, b"x" * 4096, 0)
            os.fdatasync(number)
            took.append((time.perf_counter() - started) * 1000)
    return Fsync(round(median(took), 3), round(sorted(took)[int(len(took) * 0.99)], 3))


def describe() -> dict[str, object]:
    """What kind of machine it is."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gb": round(memory / 2**30, 1), "kernel": os.uname().release}

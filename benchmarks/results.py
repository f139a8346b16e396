"""What a run found: one JSON file, from which its page can be made again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from benchmarks.drain import Drained
from benchmarks.edge.measure import Cost, Steps, Waited
from benchmarks.latency import Latencies
from benchmarks.machine import Fsync
from benchmarks.plan import Plan


class Probe(msgspec.Struct, frozen=True):
    """The disk at one moment of the run."""

    after: str
    minute: float
    fsync: Fsync


class Failure(msgspec.Struct, frozen=True):
    """A measurement that has no figure."""

    what: str
    why: str


class Fabric(msgspec.Struct, frozen=True):
    """The decision fabric on the world's traffic and anchors."""

    workers: int
    events: int
    events_per_s: float
    cpu_us: dict[str, float]


class Results(msgspec.Struct):
    """Everything of one run."""

    at: str
    """When it began, UTC."""
    revision: str
    machine: dict[str, object]
    plan: Plan
    minutes: float = 0.0
    disk: list[Probe] = []
    drains: list[Drained] = []
    latencies: list[Latencies] = []
    fabric: list[Fabric] = []
    edge_waits: list[Waited] = []
    edge_costs: list[Cost] = []
    edge_steps: list[Steps] = []
    failures: list[Failure] = []


def save(results: Results, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def load(path: Path) -> Results:
    """Read a file that `save` wrote. Raises msgspec.ValidationError for one of another shape."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def revision() -> str:
    """The commit that is measured, and whether there is more in the tree than it; empty outside of a repository."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)  # noqa: S607  no input of anybody's
    return told.stdout.strip()

"""What one run is told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """Options of `fp run`."""

    size: int = 20_000
    """Distinct valid events: what the edge must admit."""
    seed: int = 42
    rate: float = 0.0
    """Bodies a second towards the edge; 0 sends as fast as answers come."""
    kills: int = 1
    """SIGKILLs of a decision-fabric process, spread evenly over the stream."""
    workers: int = 2
    """Processes of the decision fabric."""
    replay_all: bool = False
    """Replay every lane of every service at the end, not one of each."""
    runs: Path = Path("runs")
    quiet: bool = False
    """One line now and then instead of a live table."""


# Bodies in one request: well below 1 MiB, and enough that HTTP costs little an event.
ARRAY = 100
# Requests under way at once: more than the edge works on at once only queue in front of it.
IN_FLIGHT = 4

"""What a run counted, in one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from spine.steps import Step
from testkit.harness import Site

_COUNTS = """
SELECT (SELECT count(*) FROM parked) AS parked,
       (SELECT count(*) FROM anomaly) AS anomalies,
       (SELECT count(*) FROM lane) AS lanes,
       (SELECT count(*) FROM certificate) AS certificates,
       (SELECT coalesce(sum(epoch), 0) FROM lane) AS epochs
"""


@dataclass
class Figures:
    """Counts of one service's run."""

    service: str
    seed: int
    steps: int = 0
    """Steps that a worker of the service can pass."""
    moves: Counter[str] = field(default_factory=Counter)
    kills_at: Counter[Step] = field(default_factory=Counter)
    """Kills that came at their step."""
    kills_elsewhere: int = 0
    """Kills at a moment, and those whose step did not come within the life's time."""
    zombies: int = 0
    handovers: int = 0
    cuts: int = 0
    crashes: int = 0
    """Workers that ended by themselves while an engine was down."""
    sent: Counter[str] = field(default_factory=Counter)
    records: int = 0
    commands: int = 0
    stored: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """SIGKILLs."""
        return self.kills_at.total() + self.kills_elsewhere

    def line(self, findings: int) -> str:
        """One line, the same fields for every service."""
        sent, stored = self.sent, self.stored
        parts = [
            f"{self.service:<18} seed {self.seed}",
            f"kills {self.kills} ({self.kills_at.total()} at {len(self.kills_at)} of {self.steps} steps)",
            f"zombies {self.zombies}",
            f"handovers {self.handovers}",
            f"cuts {self.cuts}",
            f"engines {self.moves['broker kill'] + self.moves['store kill']}",
            f"clocks {self.moves['clock jump']}",
            f"records {self.records}",
            f"commands {self.commands}",
            f"duplicates {sent['duplicate']}",
            f"mismatches {sent['mismatch'] + sent['mismatch on another lane']}",
            f"anomalies {stored.get('anomalies', 0)}",
            f"parked {stored.get('parked', 0)}",
            f"lanes {stored.get('lanes', 0)}",
            f"epochs {stored.get('epochs', 0)}",
            f"certificates {stored.get('certificates', 0)}",
            f"findings {findings}",
            f"{self.seconds:.0f} s",
        ]
        return " | ".join(parts)


async def stored_counts(site: Site, schema: str) -> dict[str, int]:
    """What stands in a service's tables."""
    async with site.store(schema) as store:
        row = await store.fetchrow(_COUNTS)
    return {name: int(value) for name, value in (row or {}).items()}

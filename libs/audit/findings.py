"""What an audit finds, and what it counted."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec

# A doctored table can differ in every row: the first ones say what is wrong, the count says how much.
KEPT = 100


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as the law says. `law` is I1 to I8 (runtime.md, How it is proved)."""

    law: str
    code: str
    lane: int | None
    lane_seq: int | None
    place: str
    """Where to look: a coordinate of the log, or a table with its key."""
    detail: str

    def __str__(self) -> str:
        where = f"lane {self.lane}" if self.lane is not None else "all lanes"
        if self.lane_seq is not None:
            where += f", lane_seq {self.lane_seq}"
        return f"{self.law} {self.code}: {where}, {self.place}: {self.detail}"


@dataclass
class Book:
    """Collects findings and figures while an audit runs."""

    kept: list[Finding] = field(default_factory=list)
    found: int = 0
    figures: Counter[str] = field(default_factory=Counter)

    def find(self, law: str, code: str, place: str, detail: str, lane: int | None = None, lane_seq: int | None = None) -> None:
        """Note a finding."""
        self.found += 1
        if len(self.kept) < KEPT:
            self.kept.append(Finding(law, code, lane, lane_seq, place, detail))

    def report(self) -> "Report":
        """What was found, in the order of the lanes' own histories."""
        ordered = sorted(self.kept, key=lambda f: (f.lane is None, f.lane or 0, f.lane_seq is None, f.lane_seq or 0, f.law))
        return Report(tuple(ordered), self.found, dict(self.figures))


class Report(msgspec.Struct, frozen=True):
    """The outcome of an audit or a replay."""

    findings: tuple[Finding, ...]
    """The first ones, oldest of each lane first."""
    found: int
    """How many there are in all."""
    figures: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether everything is as the law says."""
        return self.found == 0

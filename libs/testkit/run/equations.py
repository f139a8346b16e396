"""Equations over sets of ids, and how a difference is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from testkit.run.sides import Side, beyond, compare

# Ids that a difference prints; all of them stand in reconciliation.json.
_SHOWN = 10


@dataclass
class Check:
    """One equation. It holds when neither side has what the other lacks."""

    name: str
    left: str
    right: str
    count: int
    only_left: list[str]
    only_right: list[str]

    @property
    def holds(self) -> bool:
        """Whether both sides are the same set."""
        return not self.only_left and not self.only_right

    def lines(self) -> list[str]:
        """What to print: one line where it holds, and the ids where it does not."""
        if self.holds:
            return [f"  ok    {self.left} = {self.right}: {self.count:,}"]
        shown = [f"  FAIL  {self.left} = {self.right} ({self.name})"]
        for side, ids in ((self.left, self.only_left), (self.right, self.only_right)):
            if ids:
                more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
                shown.append(f"        only in {side}: {', '.join(ids[:_SHOWN])}{more}")
        return shown


@dataclass
class Reconciliation:
    """All equations of a run."""

    checks: list[Check] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every equation holds."""
        return all(check.holds for check in self.checks)

    def equal(self, name: str, left_name: str, left: Side | Iterable[str], right_name: str, right: Side | Iterable[str]) -> None:
        """Compare two sets."""
        both, only_left, only_right = compare(_side(left), _side(right))
        self.checks.append(Check(name, left_name, right_name, both, only_left, only_right))

    def same(self, name: str, left_name: str, left: int, right_name: str, right: int) -> None:
        """Compare two numbers."""
        self.equal(name, left_name, [str(left)], right_name, [str(right)])

    def none(self, name: str, what: str, found: Iterable[str]) -> None:
        """There must be nothing of this."""
        self.checks.append(Check(name, what, "none", 0, sorted(found), []))

    def as_dict(self) -> dict[str, Any]:
        """For reconciliation.json."""
        return {
            "holds": self.holds,
            "counts": self.counts,
            "checks": [
                {
                    "name": check.name,
                    "left": check.left,
                    "right": check.right,
                    "holds": check.holds,
                    "in_both": check.count,
                    "only_left": check.only_left,
                    "only_right": check.only_right,
                }
                for check in self.checks
            ],
        }


def lacking(left: Side | Iterable[str], right: Side) -> list[str]:
    """What the left side has and the right one lacks."""
    return beyond(_side(left), right)


def _side(given: Side | Iterable[str]) -> Side:
    return given if isinstance(given, Side) else Side.of(given)

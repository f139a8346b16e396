"""What happened in a run of the whole spine, before anything is computed from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from testkit.bench.bodies import Mix
from testkit.bench.plan import Phase, SpineOptions
from testkit.bench.watch import Look
from testkit.run.platform import Platform


class Played(NamedTuple):
    """A phase, and when it was (epoch seconds)."""

    phase: Phase
    begin: float
    end: float


@dataclass
class Course:
    """What happened, before anything is computed."""

    options: SpineOptions
    platform: Platform
    mix: Mix
    played: list[Played] = field(default_factory=list)
    searched: list[dict[str, Any]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    overloaded: bool = False
    """A phase was cut short, because what was behind could not be made up any more."""
    drain_seconds: float = 0.0
    reconcile_seconds: float = 0.0
    """Of reading every topic and every table back, and comparing them."""

    def of(self, name: str) -> Played | None:
        """A phase by its name."""
        return next((played for played in self.played if played.phase.name == name), None)

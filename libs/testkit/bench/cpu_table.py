"""CPU per event by service and step, as numbers and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class StepCost(NamedTuple):
    """What one step costs an event."""

    step: str
    us_per_event: float
    share: float


class ServiceCost(NamedTuple):
    """What a service's own processes cost an event, whole and by step (the import of the process left out)."""

    service: str
    events: int
    us_per_event: float
    samples: int
    steps: tuple[StepCost, ...]
    leaves: dict[str, list[tuple[str, float]]]
    """Of each step, the functions in which the CPU was, in microseconds an event."""


def service_cost(service: str, profiles: Sequence[Mapping[str, Any]], events: int, *, cpu_s: float) -> ServiceCost:
    """From the profiles of a service's processes and the CPU that they used on these events: samples only share it out."""
    samples: dict[str, float] = {}
    leaves: dict[str, dict[str, float]] = {}
    for profile in profiles:
        ms = profile["ms_per_sample"] or 0.0
        for step, count in profile["steps"].items():
            samples[step] = samples.get(step, 0.0) + count * ms
        for step, functions in profile["leaves"].items():
            for name, count in functions:
                held = leaves.setdefault(step, {})
                held[name] = held.get(name, 0.0) + count * ms
    # Importing is not part of an event's cost, and happened before the events.
    samples.pop("start", None)
    total = sum(samples.values())
    per_event = 1e6 * cpu_s / total / max(1, events) if total else 0.0
    steps = tuple(
        StepCost(step, ms * per_event, ms / total if total else 0.0) for step, ms in sorted(samples.items(), key=lambda entry: -entry[1])
    )
    return ServiceCost(
        service,
        events,
        total * per_event,
        sum(profile["samples"] for profile in profiles),
        steps,
        {
            step: sorted(((name, ms * per_event) for name, ms in held.items()), key=lambda entry: -entry[1])
            for step, held in leaves.items()
            if step != "start"
        },
    )


def read_profiles(folder: Path, service: str) -> list[dict[str, Any]]:
    """The profiles that a service's processes left in a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"profile-{service}-*.json"))]


def lines(costs: Sequence[ServiceCost], *, functions: int = 3) -> list[str]:
    """A table for the eye; under each step its `functions` dearest functions."""
    out = []
    for cost in costs:
        out.append(f"{cost.service}: {cost.us_per_event:.1f} us an event over {cost.events:,} events ({cost.samples:,} samples)")
        for step in cost.steps:
            out.append(f"  {step.step:<14}{step.us_per_event:8.1f} us  {100 * step.share:5.1f} %")
            out += [f"      {us:6.1f}  {name}" for name, us in cost.leaves.get(step.step, [])[:functions] if us >= 0.05]
    return out

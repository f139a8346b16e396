"""How much is measured."""

from __future__ import annotations

import msgspec

from benchmarks.roster import ALL, FASTSTREAM_BATCH, FASTSTREAM_ONE, FAUST_ONE, FAUST_TAKE, FLOOR, SERVICE, SERVICE_2, Contender, service

SECTIONS = ("drain", "latency", "sizes", "fabric")

# The spine's batches are bounded by FP_BATCH_MAX and shrink when a transaction takes longer than its target; without one they are fixed.
FIXED = {
    size: service(f"service_{size}", f"our service, fixed {size:,}", FP_BATCH_MAX=str(size), FP_BATCH_TARGET_MS="1000000")
    for size in (50, 500, 5000)
}


class Plan(msgspec.Struct, frozen=True):
    """Sizes of every section."""

    name: str
    sections: tuple[str, ...]
    rounds: int
    events: int
    """Drained by whoever is fast."""
    slow_events: int
    """Drained by whoever does one event at a time."""
    contenders: tuple[str, ...]
    """Names of those that drain."""
    rates: tuple[int, ...]
    """Offered, a second."""
    offered_seconds: float
    """Counted, of each contender at each rate."""
    at_rates: tuple[str, ...]
    """Names of those that are offered each rate, until they can't follow one."""
    fixed: tuple[int, ...]
    fixed_rounds: int
    fabric_size: int
    """Events of the world whose traffic and anchors the decision fabric drains."""


_AT_RATES = (FLOOR, SERVICE, SERVICE_2, FASTSTREAM_BATCH, FAUST_TAKE, FASTSTREAM_ONE, FAUST_ONE)

FULL = Plan(
    name="full",
    sections=SECTIONS,
    rounds=3,
    events=120_000,
    slow_events=5_000,
    contenders=tuple(contender.name for contender in ALL),
    rates=(1000, 3000, 6000),
    offered_seconds=12.0,
    at_rates=tuple(contender.name for contender in _AT_RATES),
    fixed=(50, 500, 5000),
    fixed_rounds=2,
    fabric_size=60_000,
)
QUICK = Plan(
    name="quick",
    sections=("drain", "latency"),
    rounds=1,
    events=30_000,
    slow_events=1_500,
    contenders=tuple(contender.name for contender in ALL),
    rates=(1000,),
    offered_seconds=4.0,
    at_rates=tuple(contender.name for contender in (FLOOR, SERVICE, FASTSTREAM_BATCH)),
    fixed=(),
    fixed_rounds=1,
    fabric_size=10_000,
)


def by_name(name: str) -> Contender:
    """A contender of the roster, or our service with batches of a fixed size."""
    return {contender.name: contender for contender in (*ALL, *FIXED.values())}[name]

"""How much is measured."""

from __future__ import annotations

import msgspec

from benchmarks.roster import (
    ALL,
    FASTSTREAM_BATCH,
    FASTSTREAM_ONE,
    FAUST_ONE,
    FAUST_TAKE,
    FIXED,
    FLOOR,
    FLOOR_2,
    SERVICE,
    SERVICE_2,
)

SECTIONS = ("drain", "latency", "fabric", "edge")


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
    """Names of those that drain, in the order in which they take turns."""
    rates: tuple[int, ...]
    """Offered, a second."""
    offered_seconds: float
    """Counted, of each contender at each rate."""
    at_rates: tuple[str, ...]
    """Names of those that are offered each rate, until they can't follow one."""
    fabric_size: int
    """Events of the world whose traffic and anchors the decision fabric drains."""
    edge_rates: tuple[int, ...]
    """Single requests a second that the edge is offered."""
    edge_seconds: float
    """Counted, at each of them."""
    edge_events: int
    """Whose cost is measured, of each form of request with rows in memory; a third of it with rows in DynamoDB Local."""
    minutes: float
    """No measurement begins later than this after the first: a run on a machine that is too busy ends all the same."""


_AT_RATES = (FLOOR, SERVICE, *FIXED.values(), SERVICE_2, FASTSTREAM_BATCH, FAUST_TAKE, FASTSTREAM_ONE, FAUST_ONE)
_DRAIN = (FLOOR, SERVICE, *FIXED.values(), FLOOR_2, SERVICE_2, FASTSTREAM_ONE, FASTSTREAM_BATCH, FAUST_ONE, FAUST_TAKE)

FULL = Plan(
    name="full",
    sections=SECTIONS,
    rounds=3,
    events=100_000,
    slow_events=4_000,
    contenders=tuple(contender.name for contender in _DRAIN),
    rates=(1000, 3000, 6000),
    offered_seconds=10.0,
    at_rates=tuple(contender.name for contender in _AT_RATES),
    fabric_size=60_000,
    edge_rates=(200, 400),
    edge_seconds=10.0,
    edge_events=9_000,
    minutes=24.0,
)
QUICK = Plan(
    name="quick",
    sections=("drain", "latency", "edge"),
    rounds=1,
    events=30_000,
    slow_events=1_500,
    contenders=tuple(contender.name for contender in ALL),
    rates=(1000,),
    offered_seconds=4.0,
    at_rates=tuple(contender.name for contender in (FLOOR, SERVICE, FASTSTREAM_BATCH)),
    fabric_size=10_000,
    edge_rates=(200, 400),
    edge_seconds=4.0,
    edge_events=4_000,
    minutes=4.5,
)

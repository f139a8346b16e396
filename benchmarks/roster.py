"""Who is measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    """One way to do the law (`benchmarks.law`), as one or more processes of one module."""

    name: str
    title: str
    module: str
    spine: bool = False
    """A service of the spine; the others do the law on `contenders.plain_store`."""
    workers: int = 1
    slow: bool = False
    """Drains fewer events than the others: with as many it would take minutes."""
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    """Of the module's command line."""


def service(name: str, title: str, workers: int = 1, **environment: str) -> Contender:
    """Our service under some settings."""
    return Contender(name, title, "benchmarks.posting", spine=True, workers=workers, environment=environment)


_FAUST = ("worker", "--loglevel=warn")

FLOOR = Contender("floor", "floor", "benchmarks.contenders.floor")
FLOOR_2 = Contender("floor_2", "floor, 2 processes", "benchmarks.contenders.floor", workers=2)
SERVICE = service("service", "our service, 1 worker")
SERVICE_2 = service("service_2", "our service, 2 workers", workers=2)
FASTSTREAM_ONE = Contender("faststream_one", "FastStream, one at a time", "benchmarks.contenders.faststream_one", slow=True)
FASTSTREAM_BATCH = Contender("faststream_batch", "FastStream, batches", "benchmarks.contenders.faststream_batch")
FAUST_ONE = Contender("faust_one", "faust agent, one at a time", "benchmarks.contenders.faust_one", slow=True, arguments=_FAUST)
FAUST_TAKE = Contender("faust_take", "faust agent, take()", "benchmarks.contenders.faust_take", arguments=_FAUST)


# The spine's batches are bounded by FP_BATCH_MAX and shrink when a transaction takes longer than its target; without one they are fixed.
FIXED = {
    size: service(f"service_{size}", f"our service, fixed {size:,}", FP_BATCH_MAX=str(size), FP_BATCH_TARGET_MS="1000000")
    for size in (50, 500, 5000)
}

ALL = (FLOOR, FLOOR_2, SERVICE, SERVICE_2, FASTSTREAM_ONE, FASTSTREAM_BATCH, FAUST_ONE, FAUST_TAKE)
"""Those that are held against each other."""

BY_NAME = {contender.name: contender for contender in (*ALL, *FIXED.values())}

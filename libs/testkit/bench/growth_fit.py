"""What an event costs apart from what a transaction costs: drains whose transactions are of different sizes made comparable."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

# Of a cost at one size over the cost at the smallest: within this it does not grow.
FLAT = 0.10
# Costs are compared at this many events a transaction: what full lanes take at once.
REFERENCE = 500


class Shape(NamedTuple):
    """What a point is: how much stands in the inbox, and by how many the work is shared."""

    rows: int
    partitions: int
    workers: int


class Sample(NamedTuple):
    """One drain."""

    shape: Shape
    chosen: bool
    """Whether the lanes chose how many events a transaction has; small ones are only there to tell what a transaction costs."""
    events: int
    transactions: int
    service_us: float
    """CPU of the workers, an event."""
    store_us: float
    """CPU of the store's backends that worked for them, an event."""

    @property
    def cpu_us(self) -> float:
        """Both."""
        return self.service_us + self.store_us

    @property
    def batch(self) -> float:
        """Events of one transaction."""
        return self.events / max(1, self.transactions)


class Point(NamedTuple):
    """What an event costs at one shape."""

    shape: Shape
    drains: int
    service_us: float
    store_us: float
    batch: float
    cpu_us: float
    """Median of what was measured, with as many events a transaction as the lanes chose."""
    least_us: float
    """The cheapest single drain, at REFERENCE events a transaction."""
    adjusted_us: float
    """The median, likewise."""
    most_us: float
    """The dearest, likewise."""


class Fit(NamedTuple):
    """Every point, and what a transaction costs by itself."""

    transaction_us: float
    points: list[Point]


def fit(samples: Sequence[Sample]) -> Fit:
    """Least squares of `cost = event at this shape + transaction / events of it`: an event's part for each shape, one part for all of
    a transaction. Shapes whose drains are all of one batch size take the transaction's part from the others.
    """
    shapes = sorted({sample.shape for sample in samples})
    matrix = np.zeros((len(samples), len(shapes) + 1))
    for row, sample in enumerate(samples):
        matrix[row, shapes.index(sample.shape)] = 1.0
        matrix[row, -1] = 1.0 / sample.batch
    solved, *_ = np.linalg.lstsq(matrix, np.array([sample.cpu_us for sample in samples]), rcond=None)
    transaction_us = max(0.0, float(solved[-1]))
    return Fit(transaction_us, [_point(shape, [sample for sample in samples if sample.shape == shape], transaction_us) for shape in shapes])


def _point(shape: Shape, samples: Sequence[Sample], transaction_us: float) -> Point:
    adjusted = [sample.cpu_us - transaction_us / sample.batch + transaction_us / REFERENCE for sample in samples]
    chosen = [sample for sample in samples if sample.chosen]
    return Point(
        shape,
        len(samples),
        median(sample.service_us for sample in chosen),
        median(sample.store_us for sample in chosen),
        median(sample.batch for sample in chosen),
        median(sample.cpu_us for sample in chosen),
        min(adjusted),
        median(adjusted),
        max(adjusted),
    )


def sample_line(sample: Sample) -> str:
    """One drain for the eye."""
    rows, partitions, workers = sample.shape
    return (
        f"{rows:>11,} rows, {partitions} partitions, {workers} workers: {sample.cpu_us:6.1f} us of CPU an event "
        f"({sample.service_us:.1f} service, {sample.store_us:.1f} store) at {sample.batch:.0f} events a transaction"
    )


def line_of(point: Point) -> str:
    """One point for the eye."""
    rows, partitions, workers = point.shape
    return (
        f"{rows:>11,} rows, {partitions} partitions, {workers} workers: {point.adjusted_us:6.1f} us of CPU an event at {REFERENCE} a "
        f"transaction ({point.least_us:.1f} to {point.most_us:.1f} in {point.drains} drains); measured {point.cpu_us:.1f} "
        f"({point.service_us:.1f} service, {point.store_us:.1f} store) at {point.batch:.0f} a transaction"
    )


def verdicts(found: Fit) -> list[str]:
    """For each axis, how far the dearest point is above the smallest one, as measured and with transactions of one size."""
    points = found.points
    largest = max((point.shape.rows for point in points), default=0)
    axes = {
        "inbox rows": [point for point in points if point.shape[1:] == (6, 1)],
        "partitions": [point for point in points if (point.shape.rows, point.shape.workers) == (largest, 1)],
        "workers": [point for point in points if (point.shape.rows, point.shape.partitions) == (largest, 6)],
    }
    return [_verdict(name, axis) for name, axis in axes.items() if len(axis) > 1]


def _verdict(name: str, axis: Sequence[Point]) -> str:
    base, *others = sorted(axis)
    measured = max(point.cpu_us for point in others) / base.cpu_us - 1
    adjusted = max(point.adjusted_us for point in others) / base.adjusted_us - 1
    if adjusted > FLAT:
        word = "GROWS"
    elif measured > FLAT:
        word = "flat, but for the size of its transactions"
    else:
        word = "flat"
    compared = f"{100 * measured:+.1f} % as measured, {100 * adjusted:+.1f} % at {REFERENCE} events a transaction"
    return f"{name}: {word}; CPU an event at most {compared}"


def as_dict(found: Fit) -> dict[str, Any]:
    """For growth.json."""
    points = [{**point._asdict(), "shape": point.shape._asdict()} for point in found.points]
    return {"transaction_us": found.transaction_us, "reference": REFERENCE, "points": points, "verdicts": verdicts(found)}

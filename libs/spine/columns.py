"""Rows as columns: what a set-based statement takes."""

from collections.abc import Callable, Iterable
from typing import Any


def shared_parts(parts: Iterable[tuple[Any, ...]]) -> tuple[list[int], Callable[[int], list[list[Any]]]]:
    """What rows have in common, each once: where each row points (from 1, as PostgreSQL counts), and the columns that they point into."""
    numbers: dict[tuple[Any, ...], int] = {}
    at = [numbers.setdefault(part, len(numbers) + 1) for part in parts]
    return at, lambda width: [[part[i] for part in numbers] for i in range(width)]

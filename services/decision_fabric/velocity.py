"""Velocity windows over event time, as buckets that lanes add up (runtime.md, State: aggregates over other keys)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from decision_fabric.pack import Window

# Ten minutes resolve the hour to a sixth; hours resolve the day to a twenty-fourth. A window holds the bucket of now and those before it.
_FINE_S = 600
_COARSE_S = 3600
_BUCKETS = {Window.HOUR: (_FINE_S, 6), Window.DAY: (_COARSE_S, 24)}

# {bucket size: {bucket number: [count, amount in minor units]}}
Buckets = dict[int, dict[int, tuple[int, int]]]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(dict[int, dict[int, tuple[int, int]]])


class Total(NamedTuple):
    """What a window holds."""

    triggers: int
    amount: int


def seconds_of(ts_utc: str) -> int:
    """Event time in whole seconds."""
    return int(datetime.fromisoformat(ts_utc).astimezone(UTC).timestamp())


def total(rows: Iterable[bytes], window: Window, now_s: int) -> Total:
    """The sum over lanes of a window that ends with the bucket of `now_s`."""
    size, length = _BUCKETS[window]
    last = now_s // size
    count = amount = 0
    for row in rows:
        for number, (n, minor) in _DECODER.decode(row).get(size, {}).items():
            if last - length < number <= last:
                count += n
                amount += minor
    return Total(count, amount)


def added(row: bytes | None, now_s: int, amount_minor: int) -> bytes:
    """A lane's buckets with one trigger more; what no window can hold any more is dropped."""
    buckets: Buckets = _DECODER.decode(row) if row else {}
    for size, length in _BUCKETS.values():
        held = buckets.setdefault(size, {})
        number = now_s // size
        n, minor = held.get(number, (0, 0))
        held[number] = (n + 1, minor + amount_minor)
        newest = max(held)
        for old in [key for key in held if key <= newest - 2 * length]:
            del held[old]
    return _ENCODER.encode({size: dict(sorted(held.items())) for size, held in sorted(buckets.items())})

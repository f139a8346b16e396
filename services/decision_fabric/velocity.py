"""Velocity windows over event time, as buckets that lanes add up (runtime.md, State: aggregates over other keys)."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Dimension(StrEnum):
    """Whose velocity is counted (domain.md 3.5: keyed by flow, every count would be 1)."""

    ACCOUNT = "account"
    INSTRUMENT = "instrument"
    DEVICE = "device"
    IP = "ip"
    MERCHANT = "merchant"


# Ten minutes resolve the hour to a sixth, hours the day to a twenty-fourth. A window holds the bucket of now and those before it.
_FINE_S, _FINE_LENGTH = 600, 6
_COARSE_S, _COARSE_LENGTH = 3600, 24

# {bucket number: (count, amount in minor units)}
Buckets = dict[int, tuple[int, int]]


class _Windows(msgspec.Struct, array_like=True):
    """The row's bytes: the newest fine and coarse buckets of one lane."""

    fine: Buckets
    coarse: Buckets


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Windows)


class Totals(NamedTuple):
    """What the windows of one value hold, in the order of the pack's facts."""

    hour_count: int
    hour_amount: int
    day_count: int
    day_amount: int


def seconds_of(ts_utc: str) -> int:
    """Event time in whole seconds."""
    return int(datetime.fromisoformat(ts_utc).timestamp())


def totals(rows: Iterable[bytes], now_s: int) -> Totals:
    """The sums over lanes of the windows that end with the buckets of `now_s`. What is later than those does not count."""
    fine_last, coarse_last = now_s // _FINE_S, now_s // _COARSE_S
    fine_first, coarse_first = fine_last - _FINE_LENGTH + 1, coarse_last - _COARSE_LENGTH + 1
    hour_count = hour_amount = day_count = day_amount = 0
    for row in rows:
        windows = _DECODER.decode(row)
        for number, (count, amount) in windows.fine.items():
            if fine_first <= number <= fine_last:
                hour_count += count
                hour_amount += amount
        for number, (count, amount) in windows.coarse.items():
            if coarse_first <= number <= coarse_last:
                day_count += count
                day_amount += amount
    return Totals(hour_count, hour_amount, day_count, day_amount)


def added(row: bytes | None, now_s: int, amount_minor: int) -> bytes:
    """A lane's row with one trigger more.

    Kept are two lengths of each window before its newest bucket, so that a trigger which comes up to one window late still finds all of
    its own window. The bytes depend on the counts alone, not on the order in which they came.
    """
    windows = _DECODER.decode(row) if row else _Windows({}, {})
    return _ENCODER.encode(
        _Windows(
            _grown(windows.fine, now_s // _FINE_S, amount_minor, 2 * _FINE_LENGTH),
            _grown(windows.coarse, now_s // _COARSE_S, amount_minor, 2 * _COARSE_LENGTH),
        )
    )


def _grown(buckets: Buckets, number: int, amount_minor: int, kept: int) -> Buckets:
    found = buckets.get(number)
    if found is not None:
        buckets[number] = (found[0] + 1, found[1] + amount_minor)
        return buckets
    in_order = not buckets or number > next(reversed(buckets))
    buckets[number] = (1, amount_minor)
    oldest = max(buckets) - kept
    if in_order and next(iter(buckets)) > oldest:
        # As nearly always: the newest bucket comes last, and none is too old.
        return buckets
    return {key: buckets[key] for key in sorted(buckets) if key > oldest}

"""Velocity windows over event time, as buckets that lanes add up (runtime.md, State: aggregates over other keys)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

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
_FINE_IN_COARSE, _COARSE_LENGTH = 6, 24


_Window: TypeAlias = tuple[int, list[int], list[int], list[int]]
"""Buckets of one length of one lane: the number of the newest one (event time over its length); then of each bucket, newest first, by how
much it is older than the newest, its count and its amount in minor units.

An age takes a byte where a number takes five: a decision keeps every row that it read, and a busy value has sixty buckets in each of its
rows.
"""

_encode = msgspec.msgpack.Encoder().encode
# A row's bytes: the newest fine and coarse buckets of one lane.
_decode = msgspec.msgpack.Decoder(tuple[_Window, _Window]).decode
# What every row begins with: an array of two, then an array of four, whose first item is the number of the newest fine bucket.
_ROW = b"\x92\x94"


def seconds_of(ts_utc: str) -> int:
    """Event time in whole seconds."""
    return int(datetime.fromisoformat(ts_utc).timestamp())


def totals(rows: Iterable[bytes], now_s: int) -> tuple[int, int, int, int]:
    """The sums over lanes of the windows that end with the buckets of `now_s`: count and amount of the hour, then of the day, as the pack's
    facts are ordered. What is later than those buckets does not count."""
    fine_first, fine_last, coarse_first, coarse_last, oldest = _windows_at(now_s // _FINE_S)
    hour_count = hour_amount = day_count = day_amount = 0
    for row in rows:
        if row < oldest:
            continue
        (newest, ages, counts, amounts), coarse = _decode(row)
        if newest >= fine_first:
            if newest > fine_last or newest - ages[-1] < fine_first:
                counts, amounts = _between(newest, ages, counts, amounts, fine_first, fine_last)
            hour_count += sum(counts)
            hour_amount += sum(amounts)
        newest, ages, counts, amounts = coarse
        if newest > coarse_last or newest - ages[-1] < coarse_first:
            counts, amounts = _between(newest, ages, counts, amounts, coarse_first, coarse_last)
        day_count += sum(counts)
        day_amount += sum(amounts)
    return hour_count, hour_amount, day_count, day_amount


@lru_cache(maxsize=64)
def _windows_at(fine_last: int) -> tuple[int, int, int, int, bytes]:
    """The first and last bucket of either window, and the least bytes of a row that has a bucket in the longer one.

    Half of the rows that a decision reads were last written before its day, and their first bytes say so: whole numbers of msgpack
    from zero on sort as what they say. A negative one sorts behind them: such a row is read as any other.
    """
    coarse_last = fine_last // _FINE_IN_COARSE
    fine_first, coarse_first = fine_last - _FINE_LENGTH + 1, coarse_last - _COARSE_LENGTH + 1
    return fine_first, fine_last, coarse_first, coarse_last, _ROW + _encode(max(0, coarse_first * _FINE_IN_COARSE))


def _between(newest: int, ages: list[int], counts: list[int], amounts: list[int], first: int, last: int) -> tuple[list[int], list[int]]:
    """Counts and amounts of the buckets with these numbers and those between them."""
    begin, end = bisect_left(ages, newest - last), bisect_right(ages, newest - first)
    return counts[begin:end], amounts[begin:end]


def added(row: bytes | None, now_s: int, amount_minor: int) -> bytes:
    """A lane's row with one trigger more.

    Kept are two lengths of each window before its newest bucket, so that a trigger which comes up to one window late still finds all of
    its own window. The bytes depend on the counts alone, not on the order in which they came.
    """
    number = now_s // _FINE_S
    if row is None:
        return _encode(((number, (0,), (1,), (amount_minor,)), (number // _FINE_IN_COARSE, (0,), (1,), (amount_minor,))))
    fine, coarse = _decode(row)
    return _encode(
        (
            _with_one_more(fine, number, amount_minor, 2 * _FINE_LENGTH),
            _with_one_more(coarse, number // _FINE_IN_COARSE, amount_minor, 2 * _COARSE_LENGTH),
        )
    )


def _with_one_more(window: _Window, number: int, amount_minor: int, kept: int) -> _Window:
    """The window with one trigger more in a bucket. Buckets that are `kept` or more older than the newest one go, this one included."""
    newest, ages, counts, amounts = window
    age = newest - number
    if age <= -kept:
        return number, [0], [1], [amount_minor]
    if age < 0:
        newest, ages, age = number, [older - age for older in ages], 0
    place = bisect_left(ages, age)
    if place < len(ages) and ages[place] == age:
        counts[place] += 1
        amounts[place] += amount_minor
    else:
        ages.insert(place, age)
        counts.insert(place, 1)
        amounts.insert(place, amount_minor)
    while ages[-1] >= kept:
        del ages[-1], counts[-1], amounts[-1]
    return newest, ages, counts, amounts

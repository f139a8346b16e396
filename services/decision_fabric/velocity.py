"""Velocity windows over event time, as buckets that lanes add up (runtime.md, State: aggregates over other keys)."""

from bisect import bisect_left, bisect_right
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


class _Window(msgspec.Struct, array_like=True, gc=False):
    """Buckets of one length of one lane, newest first.

    How much older than the newest one a bucket is takes a byte where its number takes five: a decision keeps every row that it read, and a
    busy value has sixty buckets in each of its rows.
    """

    newest: int
    """Number of the newest bucket: event time over its length."""
    ages: list[int]
    counts: list[int]
    amounts: list[int]
    """In minor units."""

    def between(self, first: int, last: int) -> tuple[int, int]:
        """Count and amount of the buckets with these numbers and those between them."""
        ages = self.ages
        begin, end = bisect_left(ages, self.newest - last), bisect_right(ages, self.newest - first)
        return sum(self.counts[begin:end]), sum(self.amounts[begin:end])

    def add(self, number: int, amount_minor: int, kept: int) -> None:
        """One trigger more in a bucket. Buckets that are `kept` or more older than the newest one are dropped, this one included."""
        if number > self.newest:
            later = number - self.newest
            self.newest = number
            self.ages = [age + later for age in self.ages]
        age = self.newest - number
        place = bisect_left(self.ages, age)
        if place < len(self.ages) and self.ages[place] == age:
            self.counts[place] += 1
            self.amounts[place] += amount_minor
        else:
            self.ages.insert(place, age)
            self.counts.insert(place, 1)
            self.amounts.insert(place, amount_minor)
        while self.ages[-1] >= kept:
            del self.ages[-1], self.counts[-1], self.amounts[-1]


class _Windows(msgspec.Struct, array_like=True, gc=False):
    """The row's bytes: the newest fine and coarse buckets of one lane."""

    fine: _Window
    coarse: _Window


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
        count, amount = windows.fine.between(fine_first, fine_last)
        hour_count += count
        hour_amount += amount
        count, amount = windows.coarse.between(coarse_first, coarse_last)
        day_count += count
        day_amount += amount
    return Totals(hour_count, hour_amount, day_count, day_amount)


def added(row: bytes | None, now_s: int, amount_minor: int) -> bytes:
    """A lane's row with one trigger more.

    Kept are two lengths of each window before its newest bucket, so that a trigger which comes up to one window late still finds all of
    its own window. The bytes depend on the counts alone, not on the order in which they came.
    """
    fine, coarse = now_s // _FINE_S, now_s // _COARSE_S
    windows = _DECODER.decode(row) if row else _Windows(_Window(fine, [], [], []), _Window(coarse, [], [], []))
    windows.fine.add(fine, amount_minor, 2 * _FINE_LENGTH)
    windows.coarse.add(coarse, amount_minor, 2 * _COARSE_LENGTH)
    return _ENCODER.encode(windows)

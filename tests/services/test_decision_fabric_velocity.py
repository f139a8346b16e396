"""Velocity windows equal a count by hand, over lanes and out of order (runtime.md, State)."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from decision_fabric.velocity import added, seconds_of, totals

HOUR, DAY = 3_600, 86_400
START = seconds_of("2026-01-05T00:00:00.000000Z")

Seen = tuple[int, int]
"""Event time in seconds, amount."""

seen = st.lists(st.tuples(st.integers(START, START + 3 * DAY), st.integers(0, 10**12)), max_size=60)


def in_window(events: list[Seen], now_s: int, bucket_s: int, length: int) -> tuple[int, int]:
    """Count and amount in the bucket of now and the length - 1 before it."""
    end = (now_s // bucket_s + 1) * bucket_s
    held = [amount for at_s, amount in events if end - length * bucket_s <= at_s < end]
    return len(held), sum(held)


def by_hand(events: list[Seen], now_s: int) -> tuple[int, int, int, int]:
    return (*in_window(events, now_s, 600, 6), *in_window(events, now_s, HOUR, 24))


@given(seen, st.integers(1, 6))
def test_in_order_every_reading_is_the_count_by_hand(events: list[Seen], lanes: int) -> None:
    rows: list[bytes | None] = [None] * lanes
    for index, (at_s, amount) in enumerate(sorted(events)):
        before = sorted(events)[:index]
        assert totals([row for row in rows if row], at_s) == by_hand(before, at_s)
        rows[index % lanes] = added(rows[index % lanes], at_s, amount)


@given(seen)
def test_out_of_order_a_trigger_up_to_a_window_late_finds_all_of_its_window(events: list[Seen]) -> None:
    row: bytes | None = None
    newest = 0
    for index, (at_s, amount) in enumerate(events):
        if row is not None:
            hour, day = by_hand(events[:index], at_s)[:2], by_hand(events[:index], at_s)[2:]
            found = totals([row], at_s)
            if at_s > newest - HOUR + 600:
                assert found[:2] == hour
            if at_s > newest - DAY + HOUR:
                assert found[2:] == day
        row = added(row, at_s, amount)
        newest = max(newest, at_s)


@given(st.lists(st.tuples(st.integers(START, START + HOUR), st.integers(0, 10**6)), min_size=1, max_size=12))
def test_the_bytes_do_not_depend_on_the_order_within_a_window(events: list[Seen]) -> None:
    def fold(order: list[Seen]) -> bytes | None:
        row: bytes | None = None
        for at_s, amount in order:
            row = added(row, at_s, amount)
        return row

    assert fold(events) == fold(sorted(events)) == fold(sorted(events, reverse=True))


def row_by_hand(events: list[Seen]) -> bytes:
    """The bytes of a row that saw these in their order: what came a window's two lengths too late was never in it."""
    windows = []
    for bucket_s, kept in ((600, 12), (HOUR, 48)):
        held: dict[int, list[int]] = {}
        for at_s, amount in events:
            held.setdefault(at_s // bucket_s, []).append(amount)
            held = {number: amounts for number, amounts in held.items() if number > max(held) - kept}
        newest = max(held)
        numbers = sorted(held, reverse=True)
        windows.append(
            [
                newest,
                [newest - number for number in numbers],
                [len(held[number]) for number in numbers],
                [sum(held[number]) for number in numbers],
            ]
        )
    return msgspec.msgpack.encode(windows)


# Around the epoch, where the numbers of buckets have all lengths that msgpack knows, and at the time of a world.
AT = st.integers(-3 * DAY, 4 * DAY) | st.integers(0, 10**9) | st.integers(START, START + 5 * DAY)


@given(st.lists(st.tuples(AT, st.integers(0, 10**12)), min_size=1, max_size=30))
@example([(0, 1), (-1, 2), (DAY, 3)])
def test_a_row_is_its_buckets_newest_first_whenever_it_was_written(events: list[Seen]) -> None:
    row: bytes | None = None
    for number, (at_s, amount) in enumerate(events, 1):
        row = added(row, at_s, amount)
        assert row == row_by_hand(events[:number])


@given(st.lists(st.tuples(AT, st.integers(0, 10**12)), min_size=1, max_size=12), AT)
def test_rows_of_any_age_add_up_to_the_count_by_hand(events: list[Seen], now_s: int) -> None:
    rows = [added(None, at_s, amount) for at_s, amount in events]
    assert totals(rows, now_s) == by_hand(events, now_s)
    assert [totals([row], now_s) for row in rows] == [by_hand([event], now_s) for event in events]


def test_a_row_stays_small_however_long_the_run() -> None:
    row: bytes | None = None
    for number in range(2_000):
        row = added(row, START + number * 300, 999)
    assert row is not None and len(row) < 1_200


def test_what_is_later_than_now_does_not_count() -> None:
    row = added(added(None, START, 5), START + 2 * DAY, 7)
    assert totals([row], START) == (0, 0, 0, 0), "two days on, the first bucket is gone and the second is not yet"
    assert totals([row], START + 2 * DAY) == (1, 7, 1, 7)


def test_no_row_is_nothing() -> None:
    assert totals([], START) == (0, 0, 0, 0)

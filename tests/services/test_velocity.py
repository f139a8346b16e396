"""Lanes that run at different speeds, each pruning by its own newest trigger, lose nothing of the newest window (runtime.md, State)."""

from hypothesis import given
from hypothesis import strategies as st

from decision_fabric.velocity import added, seconds_of, totals

START = seconds_of("2026-01-05T00:00:00.000000Z")

# (lane, seconds after START, amount)
SEEN = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4 * 86_400), st.integers(0, 10**12)), min_size=1, max_size=40)


@given(SEEN)
def test_the_newest_windows_are_whole_over_lanes_in_any_order(seen: list[tuple[int, int, int]]) -> None:
    rows: dict[int, bytes] = {}
    for lane, after_s, amount in seen:
        rows[lane] = added(rows.get(lane), START + after_s, amount)
    newest = START + max(after_s for _, after_s, _ in seen)
    expected: list[int] = []
    for bucket_s, length in ((600, 6), (3_600, 24)):
        held = [amount for _, after_s, amount in seen if (START + after_s) // bucket_s > newest // bucket_s - length]
        expected += [len(held), sum(held)]
    assert list(totals(rows.values(), newest)) == expected

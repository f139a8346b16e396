"""When a lane stops because too much of what it reads is poison."""

from laws.verdicts import Verdict
from spine.breaker import Breaker

NEW, POISON, DUPLICATE, MISMATCH = Verdict.NEW, Verdict.POISON, Verdict.DUPLICATE, Verdict.MISMATCH


def test_poisons_in_a_row_stop_the_lane_across_transactions() -> None:
    breaker = Breaker(consecutive=3, ratio=1.0, window=100)
    assert breaker.count([POISON]) is None
    assert breaker.count([POISON]) is None
    reason = breaker.count([POISON])
    assert reason is not None
    assert "3 inputs in a row" in reason


def test_one_good_input_breaks_the_row() -> None:
    breaker = Breaker(consecutive=3, ratio=1.0, window=100)
    assert breaker.count([POISON, POISON, NEW, POISON, POISON]) is None


def test_duplicates_and_mismatches_neither_break_the_row_nor_fill_the_window() -> None:
    breaker = Breaker(consecutive=3, ratio=1.0, window=100)
    assert breaker.count([POISON, DUPLICATE, POISON, MISMATCH]) is None
    assert breaker.count([POISON]) is not None
    patient = Breaker(consecutive=100, ratio=0.5, window=10)
    assert patient.count([NEW, POISON] * 2 + [POISON] * 4 + [DUPLICATE] * 50) is None


def test_the_share_of_a_full_window_stops_the_lane() -> None:
    breaker = Breaker(consecutive=100, ratio=0.5, window=10)
    assert breaker.count([POISON] * 6 + [NEW] * 3) is None
    reason = breaker.count([NEW])
    assert reason is not None
    assert "6 of the last 10" in reason


def test_exactly_the_share_is_allowed_and_old_inputs_are_forgotten() -> None:
    breaker = Breaker(consecutive=100, ratio=0.5, window=10)
    assert breaker.count([POISON] * 5 + [NEW] * 5) is None
    assert breaker.count([NEW] * 5) is None
    assert breaker.count([POISON] * 5) is None
    assert breaker.count([POISON]) is not None

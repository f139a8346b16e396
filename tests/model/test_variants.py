"""A model that can't fail proves nothing: each rule that is left out is missed, by the shortest script there is."""

import pytest

from testkit.model.explore import explore
from testkit.model.moves import parse
from testkit.model.variants import CATCHES
from testkit.wrong import Wrong

# Moves of the shortest script: a change of the model that makes one longer or shorter is looked at, not waved through.
MOVES = {
    Wrong.DEDUPE_OUTSIDE_TRANSACTION: 12,
    Wrong.GAPS_ALLOWED: 6,
    Wrong.MARK_WITHOUT_EPOCH: 12,
    Wrong.MARK_PAST_UNACKNOWLEDGED: 7,
    Wrong.PLAIN_READ_AFTER_LOST_COMMIT: 8,
    Wrong.PUBLISH_BEFORE_COMMIT: 5,
    Wrong.LEASE_TRUSTED: 8,
    Wrong.TASK_WRITE_UNFENCED: 11,
    Wrong.LOST_COMMIT_IS_NEW: 12,
}


@pytest.mark.parametrize("wrong", Wrong)
def test_a_missing_rule_is_caught_by_the_shortest_script(wrong: Wrong) -> None:
    catch = CATCHES[wrong]
    found = explore(catch.configuration, wrong, catch.invariant).counter_example
    assert found is not None
    assert found.violation.invariant is catch.invariant
    assert len(found.script.moves) == MOVES[wrong]
    assert parse(found.script.text()) == found.script


@pytest.mark.parametrize("wrong", Wrong)
def test_with_the_rule_the_same_bounds_keep_every_invariant(wrong: Wrong) -> None:
    assert explore(CATCHES[wrong].configuration).counter_example is None


def test_a_line_that_is_no_move_is_refused_by_its_number() -> None:
    with pytest.raises(ValueError, match="line 2: 'w1 JUMPED lane0' is no move"):
        parse("produce e1 lane0\nw1 JUMPED lane0")

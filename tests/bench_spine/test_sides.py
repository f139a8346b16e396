"""A side of sixteen bytes an id says the same as a set of texts, and names what differs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from testkit.run.equations import Reconciliation
from testkit.run.sides import Side, beyond, compare

texts = st.lists(st.text("abc/ é☃", max_size=6))


@given(texts, texts)
def test_two_sides_compare_as_two_sets(left: list[str], right: list[str]) -> None:
    ours, theirs = set(left), set(right)
    assert compare(Side.of(left), Side.of(right)) == (len(ours & theirs), sorted(ours - theirs), sorted(theirs - ours))
    assert beyond(Side.of(left), Side.of(right)) == sorted(ours - theirs)


def test_a_side_that_another_process_kept_is_the_same(tmp_path: Path) -> None:
    kept = Side(tmp_path / "side.txt")
    for number in range(1000):
        kept.add(f"id {number % 700}")
    kept.flush()
    loaded = Side.load(tmp_path / "side.txt")
    assert (len(loaded), len(loaded.distinct())) == (1000, 700)
    assert compare(kept, loaded) == (700, [], [])
    loaded.add("one more")
    assert beyond(loaded, kept) == ["one more"]


def test_one_lost_and_one_invented_among_many_are_named() -> None:
    result = Reconciliation()
    many = [f"{number:064x}" for number in range(20_000)]
    result.equal("ids", "sent", many, "there", [*many[1:], "invented"])
    (check,) = result.checks
    assert not check.holds
    assert (check.count, check.only_left, check.only_right) == (19_999, [many[0]], ["invented"])
    assert many[0] in "\n".join(check.lines())

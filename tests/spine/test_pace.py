"""How many records at once, and how long a rest: by what the lane's own transactions take, and by how busy the machine is."""

import time
from pathlib import Path

import pytest

from felt import Felt
from spine.contention import Contention
from spine.pace import Pace

LONGEST = 0.1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def paced(share: float, batch_max: int = 1000) -> Pace:
    return Pace(batch_max, 0.3, LONGEST, Felt(share))


def test_where_more_waits_a_lane_does_not_rest(clock: list[float]) -> None:
    lane = paced(share=1.0)
    lane.applied(500, 0.05, more=True)
    assert lane.rest == 0


def test_a_lane_rests_less_where_nobody_else_wants_the_core(clock: list[float]) -> None:
    rests = []
    for share in (0.0, 0.1, 0.2, 0.4, 1.0):
        lane = paced(share)
        lane.applied(20, 0.01, more=False)
        rests.append(round(lane.rest, 3))
    assert rests == [0.02, 0.04, 0.06, 0.1, 0.1]


def test_a_lane_rests_as_long_as_its_transaction_took_and_never_longer_than_its_group_allows(clock: list[float]) -> None:
    lane = paced(share=0.0)
    lane.applied(20, 0.05, more=False)
    assert lane.rest == pytest.approx(0.05)
    lane.applied(20, 5.0, more=False)
    assert lane.rest == pytest.approx(LONGEST)
    clock[0] += LONGEST
    assert lane.rest == 0


def test_batches_grow_while_they_are_full_and_shrink_when_a_transaction_takes_too_long() -> None:
    lane = paced(share=0.0)
    sizes = [lane.size]
    for _ in range(3):
        lane.applied(lane.size, 0.1, more=True)
        sizes.append(lane.size)
    lane.applied(30, 0.1, more=False)
    assert lane.size == sizes[-1]
    lane.applied(lane.size, 0.4, more=True)
    sizes.append(lane.size)
    for _ in range(10):
        lane.applied(lane.size, 3.0, more=True)
    sizes.append(lane.size)
    assert sizes == [500, 1000, 1000, 1000, 750, 100]
    small = paced(share=0.0, batch_max=50)
    small.applied(50, 3.0, more=True)
    assert small.size == 50


def test_batches_do_not_shrink_for_what_others_do_to_a_busy_machine_up_to_three_times_the_target() -> None:
    lane = paced(share=0.6)
    lane.applied(lane.size, 0.7, more=True)
    assert lane.size == 1000
    lane.applied(lane.size, 0.8, more=True)
    assert lane.size == 937
    crowded = paced(share=1.0)
    crowded.applied(crowded.size, 0.9, more=True)
    assert crowded.size == 1000
    crowded.applied(crowded.size, 1.0, more=True)
    assert crowded.size == 909


def test_contention_is_the_share_for_which_the_process_waited_for_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stat = tmp_path / "schedstat"
    stat.write_text("0 0 0\n")
    felt = Contention(stat)
    assert felt.share == 1.0
    for second in range(1, 41):
        stat.write_text(f"{second * 750} {second * 250} {second}\n")
        now[0] += 0.25
        last = felt.share
    assert last == pytest.approx(0.25, abs=0.001)
    stat.write_text("40000 250000 41\n")
    assert felt.share == last
    now[0] += 0.25
    assert felt.share > last
    stat.unlink()
    now[0] += 0.25
    assert felt.share == 1.0

"""What is made of the measurements: medians, ratios within a round, goals, and a page that works offline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.drain import Drained
from benchmarks.latency import SHARES, Latencies
from benchmarks.machine import Fsync, Spent
from benchmarks.plan import FULL
from benchmarks.report.figures import RATIOS, goals, line, ratio, summary
from benchmarks.report.page import write_page
from benchmarks.results import Probe, Results, load, save
from benchmarks.roster import ALL, FIXED

_SPENT = Spent(10.0, {"contender": 5.0, "backends": 2.0, "broker": 1.0}, 0.02, 0.0, 0.1)


def _drained(name: str, number: int, rate: float, wrong: list[str] | None = None) -> Drained:
    return Drained(name, number, 1000, rate, {"contender": 100.0, "backends": 40.0}, _SPENT, wrong or [])


def _offered(name: str, rate: float, *, followed: bool = True) -> Latencies:
    shares = dict.fromkeys(SHARES, 12.0) if followed else {}
    return Latencies(
        name, rate, 4.0, followed, 0 if followed else 9000, shares, [12.0] * 102 if followed else [], {"contender": 50.0}, _SPENT, 5.0, []
    )


def _results() -> Results:
    """Three rounds; the whole of the second was slow."""
    results = Results("2026-11-24T00-00-00Z", "abc", {"cores": 2, "cpu": "cpu", "memory_gb": 1.0, "kernel": "k"}, FULL)
    for number, pace in enumerate((1.0, 0.5, 1.1)):
        results.drains += [
            _drained("floor", number, 20_000 * pace),
            _drained("service", number, 14_000 * pace),
            _drained("faststream_one", number, 500 * pace),
        ]
    results.disk.append(Probe("the start", 0.1, Fsync(0.2, 1.0)))
    return results


def test_a_ratio_is_taken_within_a_round() -> None:
    """What slows a whole round down changes no ratio."""
    of_floor = next(of for of in RATIOS if of.theirs == "floor")
    results = _results()
    assert ratio(results, of_floor) == pytest.approx(0.7)
    # In the second round the floor alone had been slow: the median does not follow it.
    results.drains[3] = _drained("floor", 1, 1_000)
    assert ratio(results, of_floor) == pytest.approx(0.7)


def test_a_drain_that_is_not_exact_has_no_figure() -> None:
    """However fast it was."""
    results = _results()
    results.drains.append(_drained("faust_one", 0, 1e9, ["rows of the inbox: 1 instead of 2"]))
    assert summary(results, "faust_one") is None
    assert all("faust" not in goal.text for goal in goals(results))


def test_goals_say_what_was_measured_and_whether_that_is_enough() -> None:
    """Only those of which something was measured."""
    found = {goal.text: (goal.measured, goal.reached) for goal in goals(_results())}
    assert found == {
        "our service drains at least 10,000 events/s": ("14,000/s", True),
        "our service / floor, one process each: at least 0.65": ("0.70", True),
        "our service, best / FastStream, one at a time: at least 20": ("28.00", True),
    }


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    """The page can be made again from it."""
    results = _results()
    results.latencies.append(_offered("service", 1000))
    save(results, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == results


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """It has every part, and no address that a browser would ask."""
    results = _results()
    results.drains += [_drained(contender.name, 0, 5_000) for contender in FIXED.values()]
    results.latencies += [_offered(contender.name, rate) for contender in (*ALL, *FIXED.values()) for rate in (1000, 3000)]
    results.latencies.append(_offered("faust_take", 6000, followed=False))
    write_page(tmp_path / "page.html", results, [line(results), line(results)])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    parts = re.findall(r"<h2>(.*?)</h2>", page)
    assert parts == [
        "Goals",
        "Ratios",
        "Rates",
        "Cost of an event",
        "Latency under offered load",
        "Adaptive batch size",
        "Disturbance",
        "History",
    ]
    assert "could not follow" in page and "9,000 behind" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert "@import" not in page and "url(http" not in page


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    """A run that failed at once leaves one all the same."""
    write_page(tmp_path / "page.html", Results("now", "abc", _results().machine, FULL), [])
    assert "<h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")

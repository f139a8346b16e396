"""The edge's section: its goals, its tables, and a request that a producer builds."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from benchmarks.edge.events import events
from benchmarks.edge.measure import ARRAY, Cost, Steps, Waited
from benchmarks.edge.producer import Form
from benchmarks.latency import SHARES
from benchmarks.machine import Spent
from benchmarks.plan import FULL
from benchmarks.report.figures import edge_share, goals, line
from benchmarks.report.markdown import markdown
from benchmarks.report.page import write_page
from benchmarks.results import Results, load, save
from ingress.inspection import Candidate, inspect_typed
from testkit.edge_site import RUN

_SPENT = Spent(10.0, {"contender": 2.0, "dynamodb": 4.0, "broker": 1.0, "benchmark": 1.0}, 0.0, 0.0, 0.0)
_MACHINE = {"cores": 2, "cpu": "cpu", "memory_gb": 1.0, "kernel": "k"}


def _waited(table: str, rate: float, p99: float, wrong: list[str] | None = None) -> Waited:
    return Waited(table, rate, 2000, dict.fromkeys(SHARES, 5.0) | {"p99": p99}, {"contender": 900.0}, 3.0, 8, _SPENT, wrong or [])


def _cost(table: str, form: Form, edge: float, emulator: float) -> Cost:
    size = 1 if form is Form.SINGLE else ARRAY
    return Cost(table, form, size, 4000, 900.0, {"contender": edge, "dynamodb": emulator, "benchmark": 50.0}, _SPENT, [])


def _results() -> Results:
    results = Results("2026-11-24T00-00-00Z", "abc", _MACHINE, FULL)
    results.edge_waits += [_waited("dynamodb", 200, 49.0), _waited("dynamodb", 400, 61.0), _waited("memory", 400, 9.0)]
    results.edge_costs += [_cost("dynamodb", Form.SINGLE, 1000.0, 2000.0), _cost("dynamodb", Form.ARRAY, 140.0, 1600.0)]
    results.edge_steps.append(Steps("dynamodb", Form.SINGLE, 4000, 900, {"http": 250.0, "admit": 130.0}))
    return results


def test_goals_say_what_was_measured_and_whether_that_is_enough() -> None:
    found = {goal.text: (goal.measured, goal.reached) for goal in goals(_results())}
    assert found == {
        "edge, rows in dynamodb, 200 single requests/s: p99 at most 50 ms": ("49.0 ms", True),
        "edge, rows in dynamodb, 400 single requests/s: p99 at most 60 ms": ("61.0 ms", False),
        "edge, rows in memory, 400 single requests/s: p99 at most 60 ms": ("9.0 ms", True),
        "edge, rows in dynamodb: an event of an array of 500 costs the edge less than a fifth of a single request": ("0.140", True),
    }


def test_the_producer_is_in_no_share() -> None:
    assert edge_share(_results(), "dynamodb", Form.ARRAY) == 0.14
    assert edge_share(_results(), "dynamodb", Form.ARRAY, backends=True) == 1740 / 3000
    assert edge_share(_results(), "memory", Form.ARRAY) is None


def test_what_is_not_exact_is_no_figure() -> None:
    results = Results("now", "abc", _MACHINE, FULL)
    results.edge_waits.append(_waited("dynamodb", 200, 1.0, ["events admitted: 1 instead of 2"]))
    assert not goals(results)


def test_page_and_tables_come_from_the_file(tmp_path: Path) -> None:
    results = _results()
    save(results, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == results
    write_page(tmp_path / "page.html", results, [line(results)])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(The edge.*?)</h2>", page) == ["The edge at a rate", "The edge: cost of an event", "The edge: CPU by step"]
    assert "| DynamoDB Local | arrays of 500 | 4,000 | 900 | 140 | 1,600 | 0 | 50 | 1,740 | 0.140 | 0.580 |" in markdown(results)


def test_a_run_that_failed_at_once_has_tables_all_the_same() -> None:
    """They are printed at the end of every run; an error there would hide the run's own."""
    assert markdown(Results("now", "abc", _MACHINE, FULL)).startswith("Commit abc")


def test_the_events_are_lawful_and_each_is_one_of_its_own() -> None:
    """A refusal or a duplicate would be another price."""
    made = [inspect_typed(raw, RUN) for raw in events(50)]
    assert all(isinstance(candidate, Candidate) for candidate in made)
    assert len({candidate.dedupe_key for candidate in made if candidate is not None}) == 50
    assert len({msgspec.json.decode(raw)["traceparent"] for raw in events(50)}) == 50

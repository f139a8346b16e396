"""`python -m benchmarks`: measure, write runs/bench/<time>.json and .html, and add a line to runs/bench/history.jsonl."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import msgspec

from benchmarks.machine import describe
from benchmarks.plan import FULL, QUICK, SECTIONS
from benchmarks.report.figures import goals, line
from benchmarks.report.markdown import markdown
from benchmarks.report.page import write_page
from benchmarks.results import Results, load, revision
from benchmarks.roster import BY_NAME
from benchmarks.run import run, say


def main() -> None:
    """Exit code 1 when a measurement has no figure."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, one offered rate, less of the edge")
    parser.add_argument("--sections", help=f"with commas, of {', '.join(SECTIONS)}")
    parser.add_argument("--contenders", help="with commas, those that drain")
    parser.add_argument("--at-rates", help="with commas, those that are offered rates")
    parser.add_argument("--rounds", type=int, help="of drains; medians count")
    parser.add_argument("--events", type=int, help="drained by whoever is fast")
    parser.add_argument("--slow-events", type=int, help="drained by whoever does one event at a time")
    parser.add_argument("--rates", help="offered a second, with commas")
    parser.add_argument("--seconds", type=float, help="counted at each offered rate")
    parser.add_argument("--fabric-size", type=int, help="events of the decision fabric's world")
    parser.add_argument("--edge-rates", help="single requests a second at the edge, with commas")
    parser.add_argument("--edge-seconds", type=float, help="counted at each of them")
    parser.add_argument("--minutes", type=float, help="no measurement begins later than this after the first")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--page-of", type=Path, help="measure nothing: make the page of this JSON file again")
    parser.add_argument("--tables-of", type=Path, help="measure nothing: print the tables of docs/performance.md from this JSON file")
    options = parser.parse_args()
    history = options.out / "history.jsonl"
    if options.page_of is not None:
        write_page(options.page_of.with_suffix(".html"), load(options.page_of), _past(history))
        return
    if options.tables_of is not None:
        say(markdown(load(options.tables_of)))
        return
    changes = {
        "sections": options.sections and tuple(options.sections.split(",")),
        "contenders": options.contenders and tuple(options.contenders.split(",")),
        "at_rates": options.at_rates and tuple(options.at_rates.split(",")),
        "rounds": options.rounds,
        "events": options.events,
        "slow_events": options.slow_events,
        "rates": options.rates and tuple(int(rate) for rate in options.rates.split(",")),
        "offered_seconds": options.seconds,
        "fabric_size": options.fabric_size,
        "edge_rates": options.edge_rates and tuple(int(rate) for rate in options.edge_rates.split(",")),
        "edge_seconds": options.edge_seconds,
        "minutes": options.minutes,
    }
    changed = {name: value for name, value in changes.items() if value}
    plan = msgspec.structs.replace(QUICK if options.quick else FULL, **changed)
    if changed:
        plan = msgspec.structs.replace(plan, name=f"{plan.name}, changed")
    if unknown := {*plan.contenders, *plan.at_rates} - BY_NAME.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    at = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    path = options.out / f"{at}.json"
    results = Results(at, revision(), describe(), plan)
    try:
        run(results, path)
    finally:
        with history.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line(results)) + "\n")
        write_page(path.with_suffix(".html"), results, _past(history))
        say(markdown(results))
        for goal in goals(results):
            say(f"{'reached    ' if goal.reached else 'NOT reached'}  {goal.text}: {goal.measured}")
        if results.failures:
            say(f"{len(results.failures)} measurements have no figure; the page says why")
        say(f"{path.with_suffix('.html')}, {path}, {history}")
    if results.failures:
        raise SystemExit(1)


def _past(history: Path) -> list[dict[str, object]]:
    if not history.exists():
        return []
    return [json.loads(text) for text in history.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()

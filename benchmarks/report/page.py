"""The page of a run, which works offline: ratios first, then rates, cost, latency, batch sizes, the machine, and how it was before."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import edge_parts, load_parts, machine_parts, plots
from benchmarks.report.figures import RATIOS, best_of_ours, goals, ratio, summary
from benchmarks.report.markup import note, section, table
from benchmarks.results import Results
from benchmarks.roster import ALL, BY_NAME

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; color: #1c2430; background: #fcfcfa; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.4rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #dde2e8; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } .pass { color: #1a7f37; } .fail { color: #b42318; }
svg { max-width: 100%; height: auto; } code { font-size: .85em; } p.note { color: #55606e; } pre { white-space: pre-wrap; font-size: .8em; }
"""


def write_page(path: Path, results: Results, past: Sequence[dict[str, Any]]) -> None:
    """Write the page of `results`, with the runs before it."""
    parts = [
        f"<h1>Benchmarks, {html.escape(results.at)}</h1>",
        _head(results),
        _goals(results),
        _failures(results),
        _ratios(results),
        _rates(results),
        _cost(results),
        load_parts.latency(results),
        load_parts.sizes(results),
        machine_parts.fabric(results),
        edge_parts.edge(results),
        machine_parts.disturbance(results),
        machine_parts.history(past, results.plan.name),
    ]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Benchmarks {html.escape(results.at)}</title>"
    path.write_text(f"{page}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n", encoding="utf-8")


def _head(results: Results) -> str:
    machine, plan = results.machine, results.plan
    return (
        f"<p>Commit <code>{html.escape(results.revision)}</code>, plan <code>{html.escape(plan.name)}</code>, {results.minutes:g} minutes "
        f"on {machine['cores']} cores ({html.escape(str(machine['cpu']))}), {machine['memory_gb']} GB. Broker, database and everything "
        "that is measured share these cores. Trust the ratios: they are taken within a round. The law that everybody does, and the "
        "workload, are in <code>benchmarks/law.py</code> and <code>benchmarks/workload.py</code>.</p>"
    )


def _goals(results: Results) -> str:
    rows = [
        [
            f"<span class='{'pass' if goal.reached else 'fail'}'>{'reached' if goal.reached else 'NOT reached'}</span>",
            html.escape(goal.text),
            goal.measured,
        ]
        for goal in goals(results)
    ]
    return section("Goals", table(["", "goal", "measured"], rows, text_columns=2))


def _failures(results: Results) -> str:
    rows = [[html.escape(failure.what), f"<pre>{html.escape(failure.why[-1500:])}</pre>"] for failure in results.failures]
    return section("Measurements without a figure", table(["what", "why"], rows, text_columns=2))


def _ratios(results: Results) -> str:
    found = [(of.title, value, of.goal) for of in RATIOS if (value := ratio(results, of)) is not None]
    best = best_of_ours(results)
    if not found:
        return ""
    said = (
        "Median over the rounds of the ratio within a round. "
        + (f"Our service at its best here: {html.escape(BY_NAME[best].title)}. " if best else "")
        + "faust stands in two rows: the goal is held against an agent that does one event at a time, as faust's documentation writes "
        "agents; take() with a transaction for a thousand events is the faster way to write it, and no goal."
    )
    return section("Ratios", note(said), plots.ratios(found))


def _rates(results: Results) -> str:
    rows, bars = [], []
    for contender in ALL:
        found = summary(results, contender.name)
        if found is None:
            continue
        bars.append((contender.title, found.rates))
        rows.append(
            [
                html.escape(contender.title),
                f"{found.events_per_s:,.0f}",
                f"{100 * found.spread:.0f} %",
                str(len(found.rates)),
                f"{found.events:,}",
            ]
        )
    said = (
        "Events per second from the instant at which the warm-up's last output (15 %) stood on the topic to the last of all. Each drain "
        "that counts was exact: inbox, accounts, mismatches and outputs by id were what the workload says. Who does one event at a time "
        "drains fewer. Spread: largest less smallest of the rounds, as a share of the median."
    )
    head = ["contender", "events/s, median", "spread", "rounds", "events"]
    return section("Rates", note(said), plots.rates(bars), table(head, rows)) if rows else ""


_GROUPS = ("contender", "backends", "store", "broker", "benchmark")


def _cost(results: Results) -> str:
    found = [(contender.title, one.cpu_us) for contender in ALL if (one := summary(results, contender.name)) is not None]
    rows = [
        [html.escape(title), *(f"{cpu.get(group, 0.0):,.1f}" for group in _GROUPS), f"{sum(cpu.values()):,.1f}"] for title, cpu in found
    ]
    said = (
        "CPU microseconds per event after the warm-up, from <code>/proc/&lt;pid&gt;/stat</code>. Backends: PostgreSQL's processes that "
        "work for the contender; store: its checkpointer, writers and the like. Two cores have 2,000,000 to spend each second."
    )
    if not found:
        return ""
    return section("Cost of an event", note(said), plots.cost(found, _GROUPS), table(["contender", *_GROUPS, "all"], rows))

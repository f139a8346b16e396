"""The page of a run, which works offline: ratios first, then rates, cost, latency, batch sizes, the machine, and how it was before."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import plots
from benchmarks.figures import RATIOS, best_of_ours, disturbance, goals, ratio, summary
from benchmarks.latency import SHARES
from benchmarks.plan import FIXED, by_name
from benchmarks.results import Results
from benchmarks.roster import ALL

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
        _latency(results),
        _sizes(results),
        _fabric(results),
        _machine(results),
        _past(past),
    ]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Benchmarks {html.escape(results.at)}</title>"
    path.write_text(f"{page}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n", encoding="utf-8")


def _head(results: Results) -> str:
    machine, plan = results.machine, results.plan
    return (
        f"<p>Commit <code>{html.escape(results.revision)}</code>, plan <code>{html.escape(plan.name)}</code>, {results.minutes:g} "
        f"minutes on "
        f"{machine['cores']} cores ({html.escape(str(machine['cpu']))}), {machine['memory_gb']} GB. Broker, database and everything "
        f"that is "
        "measured share these cores. Trust the ratios: they are taken within a round. The law that everybody does, and the workload, "
        "are in "
        "<code>benchmarks/law.py</code> and <code>benchmarks/workload.py</code>.</p>"
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
    return _section("Goals", _table(["", "goal", "measured"], rows, numbers=(2,)) if rows else "")


def _failures(results: Results) -> str:
    rows = [[html.escape(failure.what), f"<pre>{html.escape(failure.why[-1500:])}</pre>"] for failure in results.failures]
    return _section("Measurements without a figure", _table(["what", "why"], rows) if rows else "")


def _ratios(results: Results) -> str:
    found = [(of, value) for of in RATIOS if (value := ratio(results, of)) is not None]
    if not found:
        return ""
    best = best_of_ours(results)
    note = (
        "Median over the rounds of the ratio within a round. "
        + (f"Our service at its best here: {html.escape(by_name(best).title)}. " if best else "")
        + "faust stands in two rows: the goal is held against an agent that does one event at a time, as faust's documentation writes "
        "agents; "
        "take() with a transaction for a thousand events is the faster way to write it, and no goal."
    )
    return _section("Ratios", f"<p class='note'>{note}</p>" + plots.ratios([(of.title, value, of.goal) for of, value in found]))


def _rates(results: Results) -> str:
    rows, bars = [], []
    for contender in (*ALL, *FIXED.values()):
        found = summary(results, contender.name)
        if found is None:
            continue
        events = next(drained.events for drained in results.drains if drained.contender == contender.name)
        rates = [drained.events_per_s for drained in results.drains if drained.contender == contender.name and not drained.wrong]
        bars.append((contender.title, rates))
        rows.append(
            [
                html.escape(contender.title),
                f"{found.events_per_s:,.0f}",
                f"{100 * found.spread:.0f} %",
                str(found.rounds),
                f"{events:,}",
            ]
        )
    note = (
        "Events per second from the instant at which the first outputs stood on the topic (the first 15 % are warm-up) to the last. "
        "Each drain "
        "that is listed was exact: inbox, accounts, mismatches and outputs by id were what the workload says. Who does one event at a time "
        "drains fewer. Spread: largest less smallest of the rounds, as a share of the median."
    )
    head = ["contender", "events/s, median", "spread", "rounds", "events"]
    return _section("Rates", f"<p class='note'>{note}</p>" + plots.rates(bars) + _table(head, rows, numbers=(1, 2, 3, 4)) if rows else "")


def _cost(results: Results) -> str:
    found = [(contender.title, one.cpu_us) for contender in ALL if (one := summary(results, contender.name)) is not None]
    if not found:
        return ""
    groups = ("contender", "backends", "store", "broker", "benchmark")
    rows = [[html.escape(title), *(f"{cpu.get(group, 0.0):,.1f}" for group in groups), f"{sum(cpu.values()):,.1f}"] for title, cpu in found]
    note = (
        "CPU microseconds per event after the warm-up, from <code>/proc/&lt;pid&gt;/stat</code>. Backends: PostgreSQL's processes that "
        "work for the contender; store: its checkpointer, writers and the like. Two cores have 2,000,000 to spend each second."
    )
    return _section(
        "Cost of an event",
        f"<p class='note'>{note}</p>" + plots.cost(found, groups) + _table(["contender", *groups, "all"], rows, numbers=tuple(range(1, 7))),
    )


def _latency(results: Results) -> str:
    names = [contender.name for contender in ALL]
    return (
        _section("Latency under offered load", _latencies(results, names, "latency"))
        if any(found.contender in names for found in results.latencies)
        else ""
    )


def _latencies(results: Results, names: Sequence[str], _: str) -> str:
    note = (
        "Milliseconds from the instant at which an event was due, by a schedule that waits for nobody, to the instant at which its output "
        "stood on the topic by the broker's clock. The producer's own delay is in it; its latest record was that late. Who could not "
        "follow a "
        "rate has no figures there, and is not offered a higher one."
    )
    rows = []
    for found in results.latencies:
        if found.contender not in names:
            continue
        shares = (
            [f"{found.shares_ms[name]:,.0f}" for name in SHARES]
            if found.followed
            else [f"could not follow: {found.behind_events:,} behind after {found.seconds:g} s", "", "", ""]
        )
        cpu = sum(used for group, used in found.cpu_us.items() if group != "benchmark")
        rows.append(
            [
                f"{found.offered_per_s:,.0f}",
                html.escape(by_name(found.contender).title),
                *shares,
                f"{cpu:,.0f}",
                f"{found.producer_latest_ms:,.0f}",
                f"{found.spent.others:.2f}",
            ]
        )
    head = ["offered/s", "contender", *SHARES, "CPU us", "producer late, ms", "others, cores"]
    curves = [found for found in results.latencies if found.contender in names and found.followed]
    return f"<p class='note'>{note}</p>" + plots.latencies(curves) + _table(head, rows, numbers=(0, 2, 3, 4, 5, 6, 7, 8))


def _sizes(results: Results) -> str:
    fixed = [contender.name for contender in FIXED.values()]
    if not any(drained.contender in fixed for drained in results.drains):
        return ""
    names = ["service", *fixed]
    rows = [
        [html.escape(by_name(name).title), f"{found.events_per_s:,.0f}", f"{sum(found.cpu_us.values()):,.0f}"]
        for name in names
        if (found := summary(results, name)) is not None
    ]
    note = (
        "The spine's batch grows while its transactions stay under a target and shrinks above it. Beside it the same service with a "
        "bound of "
        "50, 500 and 5,000 and no target. A batch never waits to fill: it is what the log holds when the lane comes back, up to the bound."
    )
    return _section(
        "Adaptive batch size",
        f"<p class='note'>{note}</p>"
        + _table(["batches", "events/s", "CPU us an event"], rows, numbers=(1, 2))
        + _latencies(results, names, "sizes"),
    )


def _fabric(results: Results) -> str:
    rows = [
        [str(fabric.workers), f"{fabric.events:,}", f"{fabric.events_per_s:,.0f}", f"{sum(fabric.cpu_us.values()):,.0f}"]
        for fabric in results.fabric
    ]
    note = (
        "The world's traffic and anchors as they stand on the topics, drained by the decision fabric: rules, velocities of four keys, "
        "a wait "
        "for the anchor, decision and intent for each trigger. Includes the start of its first batches."
    )
    return _section(
        "Decision fabric",
        f"<p class='note'>{note}</p>" + _table(["workers", "events", "events/s", "CPU us an event"], rows, numbers=(0, 1, 2, 3))
        if rows
        else "",
    )


def _machine(results: Results) -> str:
    if not results.disk:
        return ""
    others = disturbance(results, lambda others, _, __: others)
    stolen = disturbance(results, lambda _, stolen, __: stolen)
    waiting = disturbance(results, lambda _, __, waiting: waiting)
    spreads = [found.spread for contender in ALL if (found := summary(results, contender.name)) is not None and found.rounds > 1]
    medians = [probe.fsync.median_ms for probe in results.disk]
    said = [
        f"A small write became durable in {min(medians):.2f} to {max(medians):.2f} ms (medians of {len(medians)} probes; the worst "
        f"99th percentile "
        f"was {max(probe.fsync.p99_ms for probe in results.disk):.2f} ms)."
    ]
    if others:
        said.append(
            f"Neighbours kept {median(others):.2f} cores busy in the median measurement and {max(others):.2f} in the worst; the "
            f"hypervisor took "
            f"{max(stolen):.2f} at the most; {median(waiting):.2f} cores stood idle for the disk."
        )
    if spreads:
        said.append(
            f"The rounds of one contender differ by {100 * median(spreads):.0f} % in the median and {100 * max(spreads):.0f} % in the "
            f"worst case."
        )
    if others and median(others) > _NOISY:
        said.append("<b class='fail'>The machine was not quiet: take the rates for a lower bound.</b>")
    rows = [
        [f"{probe.minute:g}", html.escape(probe.after), f"{probe.fsync.median_ms:.2f}", f"{probe.fsync.p99_ms:.2f}"]
        for probe in results.disk
    ]
    return _section(
        "Disturbance",
        f"<p>{' '.join(said)}</p>"
        + plots.disturbance(results.disk, others, stolen, waiting)
        + _table(["minute", "after", "fsync median, ms", "p99, ms"], rows, numbers=(0, 2, 3)),
    )


# Cores. Above it a contender on two cores lacks a twentieth of the machine.
_NOISY = 0.1


def _past(past: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            html.escape(str(line["at"])),
            f"<code>{html.escape(str(line['revision']))}</code>",
            html.escape(str(line["plan"])),
            _number(line["events_per_s"], ",.0f"),
            _number(line["ratios"].get(RATIOS[0].title), ".2f"),
            _number(line["ratios"].get(RATIOS[1].title), ".2f"),
            _number(line["fsync_median_ms"], ".2f"),
            _number(line["others_cores"], ".2f"),
        ]
        for line in list(past)[-25:]
    ]
    head = ["run", "commit", "plan", "events/s, best", "of the floor, 1", "of the floor, 2", "fsync, ms", "others, cores"]
    return _section("History", plots.past(past) + _table(head, rows, numbers=(3, 4, 5, 6, 7)) if rows else "")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}" if body else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        return f"<{tag}{' class=n' if i in numbers else ''}>{text}</{tag}>"

    first = "".join(cell("th", i, text) for i, text in enumerate(head))
    rest = "".join(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><tr>{first}</tr>{rest}</table>"

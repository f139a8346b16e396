"""The tables of docs/performance.md, so that nobody copies a figure by hand."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.latency import SHARES
from benchmarks.report import edge_parts
from benchmarks.report.figures import RATIOS, goals, ratio, spents, summary
from benchmarks.results import Results
from benchmarks.roster import ALL, BY_NAME, FIXED, SERVICE


def markdown(results: Results) -> str:
    """Goals, ratios, rates and cost, latency, batch sizes and the machine of one run."""
    others = [spent.others for spent in spents(results)]
    fsync = [probe.fsync.median_ms for probe in results.disk]
    said = f"Commit {results.revision}, {results.at}, plan {results.plan.name}, {results.plan.rounds} rounds, {results.minutes:g} minutes."
    if others:
        said += f" Neighbours kept {median(others):.2f} cores busy in the median measurement and {max(others):.2f} at the worst."
    if fsync:
        said += f" A small write became durable in {min(fsync):.2f} to {max(fsync):.2f} ms."
    parts = [said, _goals(results), _ratios(results), _rates(results), _latencies(results), _sizes(results), _fabric(results)]
    parts += [_table(made.head, made.rows) for made in (edge_parts.waits(results), edge_parts.costs(results), edge_parts.by_step(results))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goals(results: Results) -> str:
    rows = [[goal.text, goal.measured, "yes" if goal.reached else "**no**"] for goal in goals(results)]
    return _table(["goal", "measured", "reached"], rows)


def _ratios(results: Results) -> str:
    rows = [[of.title, f"{value:.2f}"] for of in RATIOS if (value := ratio(results, of)) is not None]
    return _table(["ratio", "median"], rows)


def _rates(results: Results) -> str:
    groups = ("contender", "backends", "store", "broker")
    rows = [
        [
            contender.title,
            f"{found.events_per_s:,.0f}",
            f"{100 * found.spread:.0f} %",
            *(f"{found.cpu_us.get(group, 0.0):,.1f}" for group in groups),
            f"{sum(found.cpu_us.get(group, 0.0) for group in groups):,.0f}",
        ]
        for contender in ALL
        if (found := summary(results, contender.name)) is not None
    ]
    return _table(["contender", "events/s", "spread", *(f"CPU us: {group}" for group in groups), "together"], rows)


def _latencies(results: Results) -> str:
    rates = sorted({found.offered_per_s for found in results.latencies})
    by_cell = {(found.contender, found.offered_per_s): found for found in results.latencies if not found.wrong}
    rows = []
    for contender in ALL:
        cells = []
        for rate in rates:
            found = by_cell.get((contender.name, rate))
            if found is None:
                cells.append("")
            else:
                cells.append(" / ".join(f"{found.shares_ms[name]:,.0f}" for name in SHARES) if found.followed else "could not follow")
        if any(cells):
            rows.append([contender.title, *cells])
    return _table([f"{' / '.join(SHARES)}, ms", *(f"{rate:,.0f}/s" for rate in rates)], rows)


def _sizes(results: Results) -> str:
    rates = sorted({found.offered_per_s for found in results.latencies})
    by_cell = {(found.contender, found.offered_per_s): found for found in results.latencies if not found.wrong}
    rows = []
    for name in (SERVICE.name, *(contender.name for contender in FIXED.values())):
        drained = summary(results, name)
        cells = []
        for rate in rates:
            found = by_cell.get((name, rate))
            if found is None:
                cells.append("")
            else:
                cells.append(f"{found.shares_ms['p50']:,.0f} / {found.shares_ms['p99']:,.0f}" if found.followed else "behind")
        batches = "adaptive" if name == SERVICE.name else f"fixed, {BY_NAME[name].environment['FP_BATCH_MAX']}"
        if drained is not None or any(cells):
            rows.append([batches, "" if drained is None else f"{drained.events_per_s:,.0f}", *cells])
    return _table(["batches, 1 worker", "drain, events/s", *(f"{rate:,.0f}/s: p50 / p99, ms" for rate in rates)], rows)


def _fabric(results: Results) -> str:
    rows = [[str(one.workers), f"{one.events:,}", f"{one.events_per_s:,.0f}", f"{sum(one.cpu_us.values()):,.0f}"] for one in results.fabric]
    return _table(["decision fabric, workers", "events", "events/s", "CPU us an event"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))

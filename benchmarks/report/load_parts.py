"""The page's parts about offered load: latencies of everybody, and our batches beside fixed ones."""

from __future__ import annotations

import html
from collections.abc import Sequence

from benchmarks.latency import SHARES, Latencies
from benchmarks.report import plots
from benchmarks.report.figures import summary
from benchmarks.report.markup import note, section, table
from benchmarks.results import Results
from benchmarks.roster import ALL, BY_NAME, FIXED, SERVICE


def latency(results: Results) -> str:
    """A curve and a row for each contender at each rate."""
    found = _of(results, [contender.name for contender in ALL])
    if not found:
        return ""
    said = (
        "Milliseconds from the instant at which an event was due, by a schedule that waits for nobody, to the instant at which its output "
        "stood on the topic by the broker's clock. The producer's own delay is in it; the column says how late it was at the worst. Who "
        "could not follow a rate has no figures there, and is not offered a higher one. CPU: microseconds per event of contender, store "
        "and broker."
    )
    head = ["offered/s", "contender", *SHARES, "CPU", "producer late", "others, cores"]
    rows = [
        [
            f"{one.offered_per_s:,.0f}",
            html.escape(BY_NAME[one.contender].title),
            *_shares(one),
            f"{_cpu(one):,.0f}",
            f"{one.producer_latest_ms:,.0f} ms" if one.followed else "",
            f"{one.spent.others:.2f}",
        ]
        for one in found
    ]
    return section(
        "Latency under offered load", note(said), plots.latencies([one for one in found if one.followed]), table(head, rows, text_columns=2)
    )


def sizes(results: Results) -> str:
    """Adaptive and fixed batches: rates of drains and latencies at each rate."""
    names = [SERVICE.name, *(contender.name for contender in FIXED.values())]
    rates = sorted({one.offered_per_s for one in results.latencies})
    found = {(one.contender, one.offered_per_s): one for one in _of(results, names)}
    rows = []
    for name in names:
        drained = summary(results, name)
        cells = [f"{drained.events_per_s:,.0f}", f"{sum(drained.cpu_us.values()):,.0f}"] if drained else ["", ""]
        for rate in rates:
            one = found.get((name, rate))
            cells.append("" if one is None else " / ".join(_shares(one)[:3]) if one.followed else "behind")
        rows.append([html.escape("adaptive" if name == SERVICE.name else f"fixed, {BY_NAME[name].environment['FP_BATCH_MAX']}"), *cells])
    if not any(summary(results, name) or any(one.contender == name for one in found.values()) for name in names[1:]):
        return ""
    said = (
        "The spine's batch grows while its transactions stay under a target of time and shrinks above it. Beside it the same service, "
        "one worker, with a bound of 50, 500 and 5,000 and no target, in the same rounds. A batch never waits to fill: it is what the log "
        "holds when the lane comes back, up to the bound. Latencies are p50 / p95 / p99 in milliseconds; behind: could not follow."
    )
    head = ["batches", "drain, events/s", "drain, CPU us", *(f"at {rate:,.0f}/s" for rate in rates)]
    return section("Adaptive batch size", note(said), table(head, rows))


def _of(results: Results, names: Sequence[str]) -> list[Latencies]:
    return [found for found in results.latencies if found.contender in names and not found.wrong]


def _shares(found: Latencies) -> list[str]:
    if found.followed:
        return [f"{found.shares_ms[name]:,.0f}" for name in SHARES]
    return ["could not follow", f"{found.behind_events:,} behind", *[""] * (len(SHARES) - 2)]


def _cpu(found: Latencies) -> float:
    return sum(used for group, used in found.cpu_us.items() if group != "benchmark")

"""The page's parts about the decision fabric, the machine, and earlier runs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.report import plots
from benchmarks.report.figures import RATIOS, spents, summary
from benchmarks.report.markup import note, section, table
from benchmarks.results import Results
from benchmarks.roster import ALL

# Cores. Above it a contender on two cores lacks a twentieth of the machine.
_NOISY = 0.1
_RUNS_SHOWN = 25


def fabric(results: Results) -> str:
    """The decision fabric on the world's traffic."""
    rows = [[str(one.workers), f"{one.events:,}", f"{one.events_per_s:,.0f}", f"{sum(one.cpu_us.values()):,.0f}"] for one in results.fabric]
    said = (
        "The world's traffic and anchors as they stand on the topics, drained by the decision fabric: rules, velocities of four keys, a "
        "wait for the anchor, decision and intent for each trigger. Its first batches are in the figure."
    )
    return section("Decision fabric", note(said), table(["workers", "events", "events/s", "CPU us an event"], rows)) if rows else ""


def disturbance(results: Results) -> str:
    """What the figures may have lost to the disk and to neighbours."""
    if not results.disk:
        return ""
    spent = spents(results)
    others = [one.others for one in spent]
    spreads = [found.spread for contender in ALL if (found := summary(results, contender.name)) is not None and len(found.rates) > 1]
    medians = [probe.fsync.median_ms for probe in results.disk]
    said = [
        f"A small write became durable in {min(medians):.2f} to {max(medians):.2f} ms (medians of {len(medians)} probes; the worst 99th "
        f"percentile was {max(probe.fsync.p99_ms for probe in results.disk):.2f} ms)."
    ]
    if spent:
        said.append(
            f"Neighbours kept {median(others):.2f} cores busy in the median measurement and {max(others):.2f} in the worst; the hypervisor "
            f"took {max(one.stolen for one in spent):.2f} at the most; {median([one.waiting for one in spent]):.2f} cores stood idle for "
            "the disk."
        )
    if spreads:
        said.append(
            f"The rounds of one contender differ by {100 * median(spreads):.0f} % in the median, {100 * max(spreads):.0f} % at the worst."
        )
    if others and median(others) > _NOISY:
        said.append("<b class='fail'>The machine was not quiet: take the rates for a lower bound, and the latencies for an upper one.</b>")
    rows = [
        [html.escape(probe.after), f"{probe.minute:g}", f"{probe.fsync.median_ms:.2f}", f"{probe.fsync.p99_ms:.2f}"]
        for probe in results.disk
    ]
    return section(
        "Disturbance",
        f"<p>{' '.join(said)}</p>",
        plots.disturbance(results.disk, spent),
        table(["disk, after", "minute", "fsync median, ms", "p99, ms"], rows),
    )


def history(past: Sequence[dict[str, Any]], plan: str) -> str:
    """Earlier runs; those of the same plan as a curve."""
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
        for line in list(past)[-_RUNS_SHOWN:]
    ]
    head = ["run", "commit", "plan", "events/s, best", "of the floor, 1", "of the floor, 2", "fsync, ms", "others, cores"]
    return section("History", plots.past([line for line in past if line["plan"] == plan]), table(head, rows, text_columns=3))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)

"""report.html: one page that works offline, plots inside it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from testkit.run.bus_facts import Bus
from testkit.run.equations import Reconciliation
from testkit.run.figures import Latency, throughput
from testkit.run.page import checks_table, latency_table, svg, table, write_page

# Points of a curve: more are not seen, and would make the page large.
_POINTS = 500


def write_report(path: Path, run: dict[str, Any], reconciliation: Reconciliation, bus: Bus, latencies: list[Latency]) -> None:
    """Write the page."""
    verdict = run["verdict"]
    parts = [
        f"<h1>{html.escape(run['platform_run_id'])}: <span class='{verdict.lower()}'>{verdict}</span></h1>",
        f"<p>seed {run['seed']}, {run['counts']['admitted']:,} admitted of {run['counts']['sent']:,} sent "
        f"in {run['stream_seconds']:.1f} s, "
        f"{run['counts']['decided']:,} decisions, {len(run['kills'])} kills; release <code>{html.escape(run['release_id'])}</code>, "
        f"{run['total_seconds']:.0f} s in all.</p>",
        "<h2>Flow per plane, and the kill</h2>",
        _throughput_plot(bus, run["kills"]),
        "<h2>Latency</h2>",
        latency_table(latencies),
        latency_plot(latencies),
        "<h2>Reconciliation</h2>",
        checks_table(reconciliation),
        "<h2>Counts</h2>",
        table(("", ""), [(name, f"{value:,}") for name, value in run["counts"].items()]),
    ]
    write_page(path, run["platform_run_id"], parts)


def _throughput_plot(bus: Bus, kills: list[dict[str, Any]]) -> str:
    first, planes = throughput(bus)
    figure, axes = plt.subplots(len(planes), 1, sharex=True, figsize=(10, 1.5 * len(planes)))
    for axis, (plane, counts) in zip(axes, planes.items(), strict=True):
        axis.fill_between(range(len(counts)), counts, step="mid", color="#3b6ea5", alpha=0.35)
        axis.step(range(len(counts)), counts, where="mid", color="#3b6ea5", linewidth=1)
        axis.set_ylabel(plane, rotation=0, ha="right", va="center")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        for kill in kills:
            axis.axvline(kill["at_epoch"] - first, color="#b42318", linewidth=1)
            if kill["recovered_epoch"] is not None:
                axis.axvspan(kill["at_epoch"] - first, kill["recovered_epoch"] - first, color="#b42318", alpha=0.08)
    axes[-1].set_xlabel("seconds; records per second on the bus. Red: SIGKILL, shaded until every lane has an owner again")
    return svg(figure)


def latency_plot(latencies: list[Latency]) -> str:
    """Share of events over milliseconds, a curve a hop."""
    figure, axis = plt.subplots(figsize=(10, 3))
    for latency in latencies:
        count = len(latency.sorted_ms)
        if count:
            places = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(int))
            axis.plot(np.maximum(1, latency.sorted_ms[places]), (places + 1) / count, label=latency.name, linewidth=1.5)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds")
    axis.set_ylabel("share of events")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return svg(figure)

"""spine.html: the page of a run of the whole spine; offline, plots inside it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from testkit.run.equations import Reconciliation
from testkit.run.figures import Latency
from testkit.run.page import checks_table, latency_table, svg, table, write_page
from testkit.run.report import latency_plot

_SHOWN_MB = 20.0


def write_spine_page(path: Path, summary: dict[str, Any], result: Reconciliation, latencies: list[Latency]) -> None:
    """Write the page."""
    steady, mix = summary["steady"], summary["mix"]
    verdict = summary["verdict"]
    parts = [
        f"<h1>The whole spine at {steady['admitted_per_s']:,.0f} admitted/s: <span class='{verdict.lower()}'>{verdict}</span></h1>",
        f"<p>{html.escape(summary['run'])}, release <code>{html.escape(summary['release_id'])}</code>. "
        f"Admission rows: {_TABLE[summary['edge_table']]}. The mix is the world's own: {mix['triggers_per_100']:.2f} triggers in 100 valid "
        f"events. {summary['counts']['admitted']:,} admitted, {summary['counts']['decided']:,} decided, drained "
        f"{summary['drain_seconds']:.0f} s after the last body."
        f"{' The platform was overloaded: the steady part ended early.' if summary['overloaded'] else ''}</p>",
        "<h2>Goals</h2>",
        table(
            ("", "what", "goal", "measured"),
            [("met" if goal["met"] else "MISSED", goal["what"], f"{goal['goal']:g}", str(goal["measured"])) for goal in summary["goals"]],
            text_columns=2,
        ),
        "<h2>Over time</h2>",
        _over_time(summary),
        "<h2>From the later admission of trigger and anchor to the decision on the topic</h2>",
        "<p>Times are the records' own; context waits that ended without an anchor are apart. Ten seconds a row.</p>",
        latency_table(latencies),
        latency_plot(latencies),
        _windows(summary),
        "<h2>CPU, microseconds an admitted event</h2>",
        _cpu(summary),
        _steps(summary["steps"]),
        "<h2>Memory over the steady part</h2>",
        table(
            ("process", "", "mean MB", "growth MB", "in the later half", "bytes an event"),
            [
                (
                    m["name"],
                    "flat" if m["flat"] else f"keeps {m['keeps']}" if m["keeps"] else "GROWS",
                    f"{m['mean_mb']:,.1f}",
                    f"{m['growth_mb']:,.2f}",
                    f"{m['late_mb']:,.2f}",
                    f"{m['bytes_per_event']:,}",
                )
                for m in summary["memory"]
            ],
            text_columns=2,
        ),
        _searched(summary["searched"]),
        "<h2>Reconciliation</h2>",
        checks_table(result),
        "<h2>Mix</h2>",
        table(("", ""), [(name, f"{count:,}") for name, count in {**mix["event_types"], **mix["kinds"]}.items()]),
    ]
    write_page(path, f"The whole spine: {summary['run']}", parts)


_TABLE = {
    "memory": "in the edge's own process, its refusals in a file (the emulator of DynamoDB can't do this rate on these cores)",
    "dynamodb": "DynamoDB Local",
}


def _over_time(summary: dict[str, Any]) -> str:
    phases = summary["phases"]
    zero = phases[0]["begin"] if phases else 0.0
    figure, axes = plt.subplots(5, 1, sharex=True, figsize=(10, 11))
    rate, latency, backlog, pending, memory = axes
    rate.plot([point["at"] - zero for point in summary["admitted"]], [point["per_s"] for point in summary["admitted"]], linewidth=1)
    rate.set_ylabel("admitted/s")
    at = [window["at"] + 5 - zero for window in summary["windows"]]
    for share in ("p50", "p95", "p99", "max"):
        latency.plot(at, [max(1, window[share]) for window in summary["windows"]], label=share, linewidth=1)
    latency.set_yscale("log")
    latency.set_ylabel("ms to decision")
    latency.legend(frameon=False, ncols=4, loc="upper left")
    _per_service(backlog, summary["backlog"], zero, "behind")
    backlog.set_ylabel("records behind")
    _per_service(pending, summary["backlog"], zero, "pending")
    pending.set_ylabel("waits and calls open")
    names = sorted({name for point in summary["own_bytes"] for name in point if name != "at"})
    for name in names:
        line = [(point["at"] - zero, point[name] / 1e6) for point in summary["own_bytes"] if name in point]
        if max(held for _, held in line) >= _SHOWN_MB:
            memory.plot([point[0] for point in line], [point[1] for point in line], label=name, linewidth=1)
    memory.set_ylabel("own memory, MB")
    memory.legend(frameon=False, fontsize=7, ncols=4, loc="upper left")
    memory.set_xlabel("seconds")
    for axis in axes:
        axis.set_ylim(bottom=1 if axis is latency else 0)
        axis.spines[["top", "right"]].set_visible(False)
        for phase in phases:
            axis.axvline(phase["begin"] - zero, color="#9aa5b1", linewidth=0.8)
    for phase in phases:
        rate.text(phase["begin"] - zero, rate.get_ylim()[1], f" {phase['name']} {phase['rate']:,.0f}/s", va="bottom", fontsize=8)
    return svg(figure)


def _per_service(axis: Axes, looks: Sequence[dict[str, Any]], zero: float, what: str) -> None:
    names = sorted({name for look in looks for name in look[what]})
    for name in names:
        values = [sum(look[what][name]) if what == "behind" else look[what][name] for look in looks if name in look[what]]
        axis.plot([look["at"] - zero for look in looks if name in look[what]], values, label=name, linewidth=1)
    axis.legend(frameon=False, fontsize=7, ncols=3, loc="upper left")


def _windows(summary: dict[str, Any]) -> str:
    phases = summary["phases"]

    def phase_of(at: float) -> str:
        return next((phase["name"] for phase in phases if phase["begin"] <= at < phase["end"]), "")

    zero = phases[0]["begin"]
    return table(
        ("second", "phase", "decisions", "p50", "p95", "p99", "max"),
        [
            (
                f"{window['at'] - zero:.0f}",
                phase_of(window["at"]),
                f"{window['events']:,}",
                *(f"{window[share]:,} ms" for share in ("p50", "p95", "p99", "max")),
            )
            for window in summary["windows"]
        ],
        text_columns=2,
    )


def _cpu(summary: dict[str, Any]) -> str:
    costs = summary["cpu_us_per_event"]
    whole = sum(costs.values())
    rows = [(name, f"{us:,.1f}", f"{100 * us / whole:.1f} %") for name, us in costs.items() if us >= 0.05]
    paces = [
        (pace["service"], f"{pace['transactions_per_s']:,.1f}", f"{pace['records_per_transaction']:,.0f}") for pace in summary["paces"]
    ]
    return table(("process", "us", "share"), [*rows, ("all", f"{whole:,.1f}", "")]) + table(
        ("service", "transactions/s", "records in one"), paces
    )


def _steps(costs: list[dict[str, Any]]) -> str:
    if not costs:
        return ""
    steps = sorted({step for cost in costs for step in cost["steps"]}, key=lambda step: -sum(cost["steps"].get(step, 0) for cost in costs))
    head = ("step", *(cost["service"] for cost in costs))
    rows = [(step, *(f"{cost['steps'][step]:.1f}" if step in cost["steps"] else "" for cost in costs)) for step in steps]
    return "<h2>CPU by service and step, microseconds an admitted event</h2>" + table(
        head, [*rows, ("all", *(f"{cost['us_per_event']:.1f}" for cost in costs))]
    )


def _searched(tried: list[dict[str, Any]]) -> str:
    if not tried:
        return ""
    rows = [(f"{t['rate']:,.0f}", f"{t['backlog']:,}", f"{t['unanswered']:,}", "holds" if t["held"] else "does not") for t in tried]
    return "<h2>Rates tried</h2>" + table(("admitted/s offered", "behind at the end", "unanswered", ""), rows)

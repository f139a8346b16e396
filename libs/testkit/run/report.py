"""report.html: one page that works offline, plots inside it."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

from testkit.run.figures import Latency, throughput
from testkit.run.reconcile import Bus, Reconciliation

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #1c2430; background: #fcfcfa; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #dde2e8; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } .pass { color: #1a7f37; } .fail { color: #b42318; }
svg { max-width: 100%; height: auto; } code { font-size: .85em; }
"""


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
        _latency_table(latencies),
        _latency_plot(latencies),
        "<h2>Reconciliation</h2>",
        _checks(reconciliation),
        "<h2>Counts</h2>",
        _table([(name, f"{value:,}") for name, value in run["counts"].items()]),
    ]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(run['platform_run_id'])}</title>"
    path.write_text(f"{page}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>", encoding="utf-8")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


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
    return _svg(figure)


def _latency_plot(latencies: list[Latency]) -> str:
    figure, axis = plt.subplots(figsize=(10, 3))
    for latency in latencies:
        if latency.sorted_ms:
            shares = [(index + 1) / len(latency.sorted_ms) for index in range(len(latency.sorted_ms))]
            axis.plot([max(1, ms) for ms in latency.sorted_ms], shares, label=latency.name, linewidth=1.5)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds")
    axis.set_ylabel("share of events")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _latency_table(latencies: list[Latency]) -> str:
    columns = ("events", "p50", "p95", "p99", "max")
    head = "<tr><th>hop</th>" + "".join(f"<th class='n'>{column}</th>" for column in columns) + "</tr>"
    rows = "".join(
        f"<tr><td>{html.escape(latency.name)}</td><td class='n'>{len(latency.sorted_ms):,}</td>"
        + "".join(f"<td class='n'>{latency.at(share):,} ms</td>" for share in (0.5, 0.95, 0.99, 1.0))
        + "</tr>"
        for latency in latencies
    )
    return f"<table>{head}{rows}</table>"


def _checks(reconciliation: Reconciliation) -> str:
    rows = "".join(
        f"<tr><td class='{'pass' if check.holds else 'fail'}'>{'holds' if check.holds else 'FAILS'}</td>"
        f"<td>{html.escape(check.left)}</td><td>{html.escape(check.right)}</td><td class='n'>{check.count:,}</td>"
        f"<td><code>{html.escape(', '.join((check.only_left + check.only_right)[:5]))}</code></td></tr>"
        for check in reconciliation.checks
    )
    return f"<table><tr><th></th><th>left</th><th>right</th><th class='n'>in both</th><th>difference</th></tr>{rows}</table>"


def _table(rows: list[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{html.escape(name)}</td><td class='n'>{value}</td></tr>" for name, value in rows) + "</table>"

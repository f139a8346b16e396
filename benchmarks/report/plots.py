"""The page's plots, as SVG that stands inside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

from benchmarks.latency import Latencies
from benchmarks.machine import Spent
from benchmarks.report.figures import RATIOS
from benchmarks.results import Probe
from benchmarks.roster import BY_NAME

_OURS, _OTHERS, _GOAL, _BLUE, _AMBER = "#1f6f54", "#7f8b99", "#b42318", "#3b6ea5", "#c98a2b"
_GROUPS = {"contender": _OURS, "backends": _BLUE, "store": "#9db8d6", "broker": _AMBER, "benchmark": "#c9cfd6"}


def ratios(found: Sequence[tuple[str, float, float]]) -> str:
    """Bars of (title, value, goal or 0) on a logarithmic axis, since 0.65 and 20 are goals alike."""
    figure, axis = plt.subplots(figsize=(10, 0.55 * len(found) + 0.9))
    for place, (_, value, goal) in enumerate(found):
        axis.barh(place, value, color=_OURS if not goal or value >= goal else _OTHERS, height=0.6)
        text = (f"{value:.2f}" if value < 10 else f"{value:.1f}") + (f"  (goal {goal:g})" if goal else "")
        # On white, since a goal's mark may stand behind it.
        axis.text(value * 1.06, place, text, va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        if goal:
            axis.plot([goal, goal], [place - 0.42, place + 0.42], color=_GOAL, linewidth=2)
    axis.set_yticks(range(len(found)), [title for title, _, _ in found])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(left=0.1, right=max(60.0, *(3 * value for _, value, _ in found)))
    axis.axvline(1, color="#1c2430", linewidth=0.8)
    axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("times as fast (logarithmic); red: the goal")
    return _svg(figure, axis)


def rates(found: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar at the median of each, a dot for every round."""
    figure, axis = plt.subplots(figsize=(10, 0.42 * len(found) + 0.9))
    for place, (title, values) in enumerate(found):
        middle = sorted(values)[len(values) // 2]
        axis.barh(place, middle, color=_OURS if title.startswith("our") else _OTHERS, height=0.6, alpha=0.8)
        axis.plot(values, [place] * len(values), "o", color="#1c2430", markersize=3)
        axis.text(max(values), place, f"  {middle:,.0f}", va="center")
    axis.set_yticks(range(len(found)), [title for title, _ in found])
    axis.invert_yaxis()
    axis.set_xlim(left=0, right=1.12 * max(max(values) for _, values in found))
    axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_xlabel("events per second; bar: median, dots: rounds")
    return _svg(figure, axis)


def cost(found: Sequence[tuple[str, Mapping[str, float]]], groups: Sequence[str]) -> str:
    """Stacked bars of CPU per event. Those that cost many times the others are cut at the edge, and say what they cost."""
    totals = [sum(cpu.values()) for _, cpu in found]
    edge = 1.1 * max(total for total in totals if total <= _CUT * min(totals))
    figure, axis = plt.subplots(figsize=(10, 0.42 * len(found) + 1.2))
    for place, (_, cpu) in enumerate(found):
        left = 0.0
        for group in groups:
            width = min(cpu.get(group, 0.0), edge - left)
            axis.barh(place, width, left=left, color=_GROUPS[group], height=0.6, label=group if place == 0 else None)
            left += width
        axis.text(left + edge * 0.01, place, f"{totals[place]:,.0f}" + (", cut" if totals[place] > edge else ""), va="center")
    axis.set_yticks(range(len(found)), [title for title, _ in found])
    axis.invert_yaxis()
    axis.set_xlim(0, edge * 1.12)
    axis.set_xlabel("CPU microseconds per event")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(groups), frameon=False)
    return _svg(figure, axis)


# One event at a time costs more than ten times what a batch does; beside it the others could not be told apart.
_CUT = 8


def latencies(found: Sequence[Latencies]) -> str:
    """A plot for each offered rate: how many milliseconds each share of the events waited at the most."""
    offered = sorted({one.offered_per_s for one in found})
    if not offered:
        return ""
    figure, axes = plt.subplots(1, len(offered), figsize=(10, 3.2), sharey=True, squeeze=False)
    names = list(dict.fromkeys(one.contender for one in found))
    for axis, rate in zip(axes[0], offered, strict=True):
        for one in found:
            if one.offered_per_s != rate:
                continue
            ours = one.contender.startswith("service")
            colour = mpl.colormaps["tab10"](names.index(one.contender) % 10)
            # The last but one is the 100th percentile, of which one event decides; the curve ends at the 99.9th.
            curve = [max(1.0, ms) for ms in (*one.curve_ms[:100], one.curve_ms[-1])]
            shares = [1 - share / 100 for share in range(100)] + [0.001]
            axis.plot(shares, curve, label=BY_NAME[one.contender].title, color=colour, linewidth=2.2 if ours else 1.3)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.invert_xaxis()
        axis.set_xticks([0.5, 0.05, 0.01, 0.001], ["p50", "p95", "p99", "p99.9"])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_title(f"{rate:,.0f}/s offered", fontsize=10)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("milliseconds")
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False)
    return _svg(figure)


def disturbance(disk: Sequence[Probe], spent: Sequence[Spent]) -> str:
    """The disk over the run's minutes, and the cores that the measurements did not have, one after the other."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.4))
    minutes = [probe.minute for probe in disk]
    left.plot(minutes, [probe.fsync.median_ms for probe in disk], "o-", color=_OURS, label="median")
    left.plot(minutes, [probe.fsync.p99_ms for probe in disk], "o-", color=_OTHERS, label="p99")
    left.set_xlabel("minute of the run")
    left.set_ylabel("fsync, ms")
    places = range(1, len(spent) + 1)
    right.plot(places, [one.others for one in spent], label="neighbours", color=_GOAL)
    right.plot(places, [one.stolen for one in spent], label="stolen", color=_AMBER)
    right.plot(places, [one.waiting for one in spent], label="idle for the disk", color=_BLUE)
    right.set_xlabel("measurement")
    right.set_ylabel("cores")
    for axis in (left, right):
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _svg(figure)


def past(lines: Sequence[Mapping[str, Any]]) -> str:
    """Rate and ratio to the floor of the runs until now, as many as there are."""
    shown = [line for line in lines if line["events_per_s"] is not None][-40:]
    if len(shown) < 2:
        return ""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.4))
    places = range(1, len(shown) + 1)
    left.plot(places, [line["events_per_s"] for line in shown], "o-", color=_OURS)
    left.set_ylabel("events/s, best of ours")
    for of, colour in zip(RATIOS[:2], (_OURS, _BLUE), strict=True):
        right.plot(places, [line["ratios"].get(of.title) for line in shown], "o-", color=colour, label=of.title)
    right.axhline(RATIOS[0].goal, color=_GOAL, linewidth=1)
    right.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        axis.set_ylim(bottom=0)
        axis.set_xlabel("run")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _svg(figure)


def _svg(figure: Any, axis: Any = None) -> str:
    if axis is not None:
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]

"""The edge's figures as tables, for the page and for docs/performance.md alike."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.edge.measure import TABLES
from benchmarks.edge.producer import Form
from benchmarks.latency import SHARES
from benchmarks.report.figures import edge_all, edge_cost, edge_share
from benchmarks.report.markup import note, section, table
from benchmarks.results import Results

_GROUPS = {"contender": "edge", "dynamodb": "DynamoDB Local", "broker": "broker", "benchmark": "producer"}
_ROWS = {"dynamodb": "DynamoDB Local", "memory": "memory"}


class Table(NamedTuple):
    """Head and rows of plain text."""

    said: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int


def waits(results: Results) -> Table:
    """Single requests at each rate, the emulator beside the edge's own memory."""
    rows = []
    for waited in results.edge_waits:
        if waited.wrong:
            continue
        shares = [f"{waited.shares_ms[name]:,.1f}" for name in SHARES]
        cpu = [f"{waited.cpu_us.get(group, 0.0):,.0f}" for group in _GROUPS]
        rows.append(
            [
                _ROWS[waited.table],
                f"{waited.offered_per_s:g}/s",
                *shares,
                *cpu,
                f"{waited.producer_latest_ms:,.0f} ms",
                f"{waited.spent.others:.2f}",
            ]
        )
    said = (
        "Single requests to the edge as a process of its own, by a schedule that waits for nobody: milliseconds from the instant at which "
        "a request was due to its answer. CPU: microseconds an event. With rows in the edge's memory there is no store; the difference "
        "between the two is the emulator, its protocol and the CPU that it takes from the same two cores."
    )
    head = ["rows in", "offered", *(f"{name}, ms" for name in SHARES), *(f"CPU: {group}" for group in _GROUPS.values())]
    return Table(said, [*head, "producer late", "others, cores"], rows, 2)


def costs(results: Results) -> Table:
    """What an event costs by the form of its request."""
    rows = []
    for where in TABLES:
        for form in Form:
            if (cost := edge_cost(results, where, form)) is None:
                continue
            name = "single requests" if form is Form.SINGLE else f"{'arrays' if form is Form.ARRAY else 'NDJSON'} of {cost.size}"
            cpu = [f"{cost.cpu_us.get(group, 0.0):,.0f}" for group in _GROUPS]
            shares = [edge_share(results, where, form), edge_share(results, where, form, backends=True)]
            shown = ["" if share is None else f"{share:.3f}" for share in shares]
            rows.append(
                [_ROWS[where], name, f"{cost.events:,}", f"{cost.events_per_s:,.0f}", *cpu, f"{edge_all(cost.cpu_us):,.0f}", *shown]
            )
    said = (
        "CPU microseconds an event of requests that follow each other on kept connections, several at once, to one process of the edge. "
        "The shares are of a single request with the same rows: of the edge's own CPU, and with broker and emulator in it. Every event was "
        "admitted and stands on the topic."
    )
    head = ["rows in", "requests", "events", "events/s", *_GROUPS.values(), "all but producer", "share, edge", "share, all"]
    return Table(said, head, rows, 2)


def by_step(results: Results) -> Table:
    """What an event's CPU is spent on."""
    names = sorted({step for found in results.edge_steps for step in found.us}, key=lambda step: -max(_us(results, step)))
    rows = [[name, *(f"{us:,.1f}" for us in _us(results, name))] for name in names]
    if rows:
        rows.append(["all", *(f"{sum(found.us.values()):,.0f}" for found in results.edge_steps)])
    said = (
        "The edge's process under the profiler: the kernel counts its CPU, samples share it out to the steps of "
        "libs/testkit/bench/step_map.py, by the innermost known function. Microseconds an event."
    )
    return Table(said, ["step", *(f"{found.form}, rows in {_ROWS[found.table]}" for found in results.edge_steps)], rows, 1)


def _us(results: Results, step: str) -> list[float]:
    return [found.us.get(step, 0.0) for found in results.edge_steps]


def edge(results: Results) -> str:
    """All of it, for the page."""
    parts = []
    for title, made in (("The edge at a rate", waits), ("The edge: cost of an event", costs), ("The edge: CPU by step", by_step)):
        found = made(results)
        if found.rows:
            rows = [[html.escape(cell) for cell in row] for row in found.rows]
            parts.append(section(title, note(html.escape(found.said)), table(found.head, rows, found.text_columns)))
    return "".join(parts)

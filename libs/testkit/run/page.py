"""Parts of the pages that runs leave: they work offline, with their plots inside."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from testkit.run.equations import Reconciliation
from testkit.run.figures import Latency

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #1c2430; background: #fcfcfa; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #dde2e8; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } .pass { color: #1a7f37; } .fail { color: #b42318; }
svg { max-width: 100%; height: auto; } code { font-size: .85em; }
"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """One file, nothing beside it."""
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
    path.write_text(f"{page}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>", encoding="utf-8")


def svg(figure: Figure) -> str:
    """The figure, to be put into a page; it is closed."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """Rows of text; columns after the first `text_columns` hold numbers."""

    def line(row: Sequence[str], tag: str) -> str:
        kinds = ["" if place < text_columns else " class='n'" for place in range(len(row))]
        return f"<tr>{''.join(f'<{tag}{kind}>{html.escape(cell)}</{tag}>' for cell, kind in zip(row, kinds, strict=True))}</tr>"

    return f"<table>{line(columns, 'th') if any(columns) else ''}{''.join(line(row, 'td') for row in rows)}</table>"


def latency_table(latencies: Iterable[Latency]) -> str:
    """Percentiles of each hop."""
    rows = [
        (latency.name, f"{len(latency.sorted_ms):,}", *(f"{latency.at(share):,} ms" for share in (0.5, 0.95, 0.99, 1.0)))
        for latency in latencies
    ]
    return table(("hop", "events", "p50", "p95", "p99", "max"), rows)


def checks_table(reconciliation: Reconciliation) -> str:
    """Every equation, and what it lacks."""
    rows = "".join(
        f"<tr><td class='{'pass' if check.holds else 'fail'}'>{'holds' if check.holds else 'FAILS'}</td>"
        f"<td>{html.escape(check.left)}</td><td>{html.escape(check.right)}</td><td class='n'>{check.count:,}</td>"
        f"<td><code>{html.escape(', '.join((check.only_left + check.only_right)[:5]))}</code></td></tr>"
        for check in reconciliation.checks
    )
    return f"<table><tr><th></th><th>left</th><th>right</th><th class='n'>in both</th><th>difference</th></tr>{rows}</table>"

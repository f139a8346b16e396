"""The live table of a run: a row per plane, with rates, lag and time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from testkit.run.observe import Sample, done_word
from testkit.run.platform import SERVICES

# Rates are over this many samples: long enough to read, short enough to show a kill.
_WINDOW = 5
# Without a terminal a line this often says that the run goes on.
_LINE_EVERY = 10.0


class Screen:
    """Shows samples; without a terminal, a line now and then."""

    def __init__(self, size: int, *, quiet: bool) -> None:
        self._size = size
        self._console = Console()
        self._live = None if quiet or not self._console.is_terminal else Live(console=self._console, refresh_per_second=4)
        self._samples: list[Sample] = []
        self._said_at = -_LINE_EVERY

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._live is not None:
            self._live.console.print(text)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def show(self, sample: Sample) -> None:
        """The newest sample."""
        self._samples = [*self._samples[-_WINDOW:], sample]
        if self._live is not None:
            self._live.update(self._table(sample))
        elif sample.at - self._said_at >= _LINE_EVERY:
            self._said_at = sample.at
            done = ", ".join(f"{done_word(name)} {standing.done:,}" for name, standing in sample.services.items())
            self.say(f"  {sample.at:5.0f} s  answered {sample.answered:,}, {done}{self._left(sample)}")

    def _rate(self, value: int, earlier: int) -> float:
        span = self._samples[-1].at - self._samples[0].at
        return (value - earlier) / span if span > 0 else 0.0

    def _left(self, sample: Sample) -> str:
        rate = self._rate(sample.answered, self._samples[0].answered)
        if rate <= 0 or sample.answered >= self._size:
            return ""
        return f", {(self._size - sample.answered) / rate:.0f} s left to send"

    def _table(self, sample: Sample) -> Table:
        table = Table(title=f"{sample.at:.0f} s{self._left(sample)}")
        for column in ("plane", "done", "", "per s", "not applied yet", "to publish", "parked"):
            table.add_column(column, justify="right" if column not in ("plane", "") else "left")
        first = self._samples[0]
        edge_rate = self._rate(sample.answered, first.answered)
        table.add_row("ingress", f"{sample.answered:,}", "answered", f"{edge_rate:,.0f}", f"{sample.sent - sample.answered:,}", "", "")
        for name in SERVICES:
            now, then = sample.services[name], first.services[name]
            note = f" ({now.stopped} lanes stopped)" if now.stopped else ""
            table.add_row(
                name + note,
                f"{now.done:,}",
                done_word(name),
                f"{self._rate(now.done, then.done):,.0f}",
                f"{now.pending:,}",
                f"{now.unpublished:,}",
                f"{now.parked:,}",
            )
        return table

"""fp send: envelopes from a file to an edge, through the client that producers use."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from client import Client, SpoolError

# Lines that are made durable together.
_LINES = 500


def send(
    source: Annotated[str, typer.Argument(help="a file of envelopes, one a line; - reads stdin")],
    url: Annotated[str, typer.Option(envvar="FP_EDGE_URL", help="where the edge answers")] = "http://127.0.0.1:8080",
    key: Annotated[str, typer.Option(envvar="FP_EDGE_KEY", help="API key or service token")] = "",
    spool: Annotated[Path, typer.Option(help="keeps what has no answer yet; the next send with it goes on")] = Path("runs/spool"),
    within: Annotated[float, typer.Option(min=0, help="seconds to wait for the last answer; 0 waits for ever")] = 0.0,
) -> None:
    """Send envelopes until each has its final answer. Exit status: 0 all admitted, 1 some refused or still waiting, 2 not sent.

    The newest refusals are told on stderr, with field, value and what to do; all of them stand in the spool's refused.jsonl.
    """
    if not key:
        raise typer.BadParameter("give an API key or a service token", param_hint="--key or FP_EDGE_KEY")
    try:
        stream = sys.stdin.buffer if source == "-" else Path(source).open("rb")  # noqa: SIM115  _portions closes it
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}: name a file of envelopes, or - for stdin", param_hint="SOURCE") from None
    try:
        sent = asyncio.run(_send(stream, url, key, spool, within or None))
    except SpoolError as error:
        typer.echo(str(error), err=True)
        sent = False
    if not sent:
        raise typer.Exit(1)


async def _send(stream: BinaryIO, url: str, key: str, spool: Path, within_s: float | None) -> bool:
    async with Client(url, key, spool) as client:
        for lines in _portions(stream):
            await client.send(*lines)
        try:
            await client.flush(within_s)
        except TimeoutError as error:
            typer.echo(f"{error}; they stay in {spool}", err=True)
        counts = client.counts
        for line in client.refused:
            typer.echo(f"refused {line}", err=True)
        if counts.refused > len(client.refused):
            typer.echo(f"and {counts.refused - len(client.refused)} before them: {spool / 'refused.jsonl'}", err=True)
        typer.echo(f"admitted {counts.admitted}, duplicates {counts.duplicates}, refused {counts.refused}, waiting {client.unanswered}")
        return not counts.refused and not client.unanswered


def _portions(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Lines that hold something, some hundred at a time."""
    lines: list[bytes] = []
    with stream:
        for line in stream:
            if line.strip():
                lines.append(line.strip())
            if len(lines) == _LINES:
                yield lines
                lines = []
    if lines:
        yield lines

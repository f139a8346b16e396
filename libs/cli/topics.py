"""fp topics: plan, apply, diff."""

import asyncio
from typing import Annotated

import typer

from cli.where import Bootstrap, Prefix, bus_options
from laws.topics import TOPICS
from spine.provision import Change, ChangeKind
from spine.provision import apply as apply_changes
from spine.provision import plan as plan_changes

app = typer.Typer(no_args_is_help=True)


def _show(changes: list[Change]) -> None:
    for change in changes:
        typer.echo(f"{change.kind:<10} {change.topic}  {change.field}: {change.found or 'absent'} -> {change.wanted}")
    typer.echo(f"{len(changes)} differences from the catalogue's {len(TOPICS)} topics")


@app.command()
def plan(bootstrap: Bootstrap = "", prefix: Prefix = "") -> None:
    """What apply would do."""
    _show(asyncio.run(plan_changes(bus_options(bootstrap), TOPICS, prefix)))


@app.command()
def apply(
    bootstrap: Bootstrap = "",
    prefix: Prefix = "",
    replication: Annotated[int, typer.Option(min=1, help="replicas of a new topic")] = 1,
) -> None:
    """Make the cluster as the catalogue says."""
    _show(asyncio.run(apply_changes(bus_options(bootstrap), TOPICS, prefix, replication)))


@app.command()
def diff(bootstrap: Bootstrap = "", prefix: Prefix = "") -> None:
    """Exit 1 when anything differs; 2 when a partition count does, which apply will not mend."""
    changes = asyncio.run(plan_changes(bus_options(bootstrap), TOPICS, prefix))
    _show(changes)
    if any(change.kind is ChangeKind.CONFLICT for change in changes):
        raise typer.Exit(2)
    if changes:
        raise typer.Exit(1)

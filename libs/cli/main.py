"""fp: the command line over the platform; thin, every word of it lives in a library."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli import bench, chaos, edge, handovers, history, parked, runs, send, topics
from testkit import engines
from testkit.run.options import RunOptions

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(topics.app, name="topics", help="The catalogue's topics on a cluster.")
app.add_typer(runs.app, name="runs", help="Runs in a service's registry.")
app.command("audit")(history.audit_command)
app.command("replay")(history.replay_command)
app.add_typer(parked.app, name="parked", help="Parked keys of a service.")
app.command()(handovers.handovers)
app.command()(chaos.chaos)
app.command()(edge.edge)
app.command()(send.send)
app.add_typer(bench.app, name="bench", help="Measurements of the whole spine.")


@app.command()
def run(
    size: Annotated[int, typer.Option(min=100, help="distinct valid events to admit")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="of the world and of the provider's faults")] = 42,
    rate: Annotated[float, typer.Option(min=0, help="bodies a second; 0 sends as fast as answers come")] = 0.0,
    kills: Annotated[int, typer.Option(min=0, max=50, help="SIGKILLs of a decision-fabric process")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=6, help="decision-fabric processes")] = 2,
    replay_all: Annotated[
        bool, typer.Option("--replay-all", help="at the end replay every lane of every service, not one of each")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="lines instead of a live table")] = False,
) -> None:
    """The whole platform on real engines: a world through it, a kill half way, a reconciled verdict."""
    # Imported here: matplotlib takes a second that the other commands need not wait.
    from testkit.run.run import run as run_platform  # noqa: PLC0415  only the command that runs needs it

    runs_folder = Path("runs")
    options = RunOptions(
        size=size, seed=seed, rate=rate, kills=kills, workers=workers, replay_all=replay_all, quiet=quiet, runs=runs_folder
    )
    if not asyncio.run(run_platform(options)):
        raise typer.Exit(1)


@app.command()
def up() -> None:
    """Start Kafka, PostgreSQL and DynamoDB Local and keep them for reuse."""
    found = engines.up()
    typer.echo(f"kafka      {found.endpoints.kafka_bootstrap}")
    typer.echo(f"postgres   {found.endpoints.postgres_dsn}")
    typer.echo(f"dynamodb   {found.endpoints.dynamodb_endpoint}")


@app.command()
def down() -> None:
    """End the kept engines."""
    typer.echo("down" if engines.down() else "nothing was up")


if __name__ == "__main__":
    app()

"""fp runs: open and close runs in a service's registry."""

import asyncio
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

Dsn = Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="the operator's login to the services' database")]
Service = Annotated[str, typer.Option(help="the service, which is also its schema")]


@app.command("open")
def open_(run: str, service: Service, dsn: Dsn) -> None:
    """Register a run: its number and its inbox partition."""
    # Imported here and below: alembic takes a second that the other commands need not wait.
    from spine.migrate import open_run  # noqa: PLC0415  only the command that runs needs it

    typer.echo(f"{run} is run {asyncio.run(open_run(dsn, service, run))} of {service}")


@app.command()
def close(run: str, service: Service, dsn: Dsn) -> None:
    """Close a run: later records of it are parked as CLOSED_RUN."""
    from spine.migrate import close_run  # noqa: PLC0415  only the command that runs needs it

    asyncio.run(close_run(dsn, service, run))
    typer.echo(f"{run} is closed in {service}")

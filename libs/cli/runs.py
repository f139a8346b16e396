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


@app.command()
def drop(
    run: str,
    service: Service,
    dsn: Dsn,
    bootstrap: Annotated[str, typer.Option(envvar="FP_KAFKA_BOOTSTRAP", help="brokers, host:port with commas")],
    prefix: Annotated[str, typer.Option(envvar="FP_TOPIC_PREFIX", help="of the topics' names")] = "",
    wait: Annotated[float, typer.Option(min=0, help="seconds for every lane to read what stands on its topics now")] = 60.0,
) -> None:
    """Drop the identities of a closed run: its inbox partition. The registry keeps it, so that a late record of it is still CLOSED_RUN."""
    from audit.offline import declared, offline_settings  # noqa: PLC0415  loaded by this command alone
    from spine.deadline import Deadline, DeadlineExceededError  # noqa: PLC0415  loaded by this command alone
    from spine.retention import NotDroppableError, drop_run  # noqa: PLC0415  loaded by this command alone

    declaration = declared(service, offline_settings())
    try:
        done = asyncio.run(drop_run(dsn, declaration, run, {"bootstrap_servers": bootstrap}, prefix, Deadline(wait)))
    except (NotDroppableError, DeadlineExceededError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{run}: {done} in {service}")

"""What the commands about a service's history share. They import what they use when they run: `fp --help` needs none of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import typer

from testkit import engines

if TYPE_CHECKING:
    from audit.target import Target

Service = Annotated[str, typer.Option(help="the service, which is also its schema")]
Dsn = Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="the operator's login to the services' database")]
Bootstrap = Annotated[str, typer.Option(envvar="FP_KAFKA_BOOTSTRAP", help="brokers; the engines of fp up where none are named")]
Prefix = Annotated[str, typer.Option(envvar="FP_TOPIC_PREFIX", help="prefix of topic names, for a shared test broker")]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the caller can mend is said in one line, without a trace of ours."""
    from audit.target import NotAServiceError  # noqa: PLC0415  only the command that runs needs it

    try:
        yield
    except (NotAServiceError, ValueError, ModuleNotFoundError, OSError, asyncpg.PostgresError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(2) from None


def bus_options(bootstrap: str) -> dict[str, Any]:
    """Connection options of the bus. Raises typer.BadParameter where nothing says which."""
    if not bootstrap:
        found = engines.attached()
        if found is None:
            raise typer.BadParameter("no brokers: give --bootstrap, or start engines with fp up")
        bootstrap = found.endpoints.kafka_bootstrap
    return {"bootstrap_servers": bootstrap}


def target_of(service: str, dsn: str, bootstrap: str, prefix: str) -> Target:
    """What is looked at."""
    from audit.target import Target  # noqa: PLC0415  only the command that runs needs it

    return Target(dsn=dsn, schema=service, bus=bus_options(bootstrap), prefix=prefix)

"""Options that the commands about a service's history share."""

from typing import Annotated, Any

import typer

from audit.target import Target
from testkit import engines

Service = Annotated[str, typer.Option(help="the service, which is also its schema")]
Dsn = Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="the operator's login to the services' database")]
Bootstrap = Annotated[str, typer.Option(envvar="FP_KAFKA_BOOTSTRAP", help="brokers; the engines of fp up where none are named")]
Prefix = Annotated[str, typer.Option(envvar="FP_TOPIC_PREFIX", help="prefix of topic names, for a shared test broker")]


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
    return Target(dsn=dsn, schema=service, bus=bus_options(bootstrap), prefix=prefix)

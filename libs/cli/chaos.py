"""fp chaos: a service under one seed's schedule of faults, audited at the end."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def chaos(
    service: Annotated[str, typer.Option(help="all, or the name of one")] = "all",
    seed: Annotated[int, typer.Option(min=0, help="of inputs and faults")] = 42,
    kills: Annotated[int, typer.Option(min=1, help="SIGKILLs; of all, spread over them")] = 100,
    workers: Annotated[int, typer.Option(min=2, max=6, help="processes side by side")] = 3,
) -> None:
    """Workers, wire and engines are killed, frozen and cut while inputs come; then every law is audited."""
    # Imported here: engines, migrations and workloads take a second that the other commands need not wait.
    from testkit.chaos.campaign import Options, campaign  # noqa: PLC0415  only the command that runs needs it
    from testkit.workloads import NAMES  # noqa: PLC0415  only the command that runs needs it

    if service not in ("all", *NAMES):
        raise typer.BadParameter(f"{service!r} is none of all, {', '.join(NAMES)}", param_hint="--service")
    services = NAMES if service == "all" else (service,)
    folder = Path("runs") / f"chaos-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    share = -(-kills // len(services))
    if not asyncio.run(campaign(Options(services, seed, share, workers, folder), typer.echo)):
        raise typer.Exit(1)

"""fp parked: what is kept aside, and its release."""

import asyncio
from typing import Annotated, Any

import aiohttp
import asyncpg
import typer

from spine.tables import quote
from spine.tokens import issue

app = typer.Typer(no_args_is_help=True)

_LIST = """
SELECT lane_group, p.lane, encode(key, 'hex') AS key, count(*) AS inputs, min(p.recorded_at) AS since,
       (array_agg(reason ORDER BY lane_seq, i))[1] AS reason, (array_agg(detail ORDER BY lane_seq, i))[1] AS detail
FROM parked p JOIN lane ON lane.lane = p.lane WHERE released_seq IS NULL
GROUP BY lane_group, p.lane, key ORDER BY since
"""


@app.command("list")
def list_(
    service: Annotated[str, typer.Option(help="the service, which is also its schema")],
    dsn: Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="the operator's login to the services' database")],
) -> None:
    """Keys that are parked, oldest first, with the reason of the first input."""

    async def read() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"SET search_path = {quote(service)}")
            return await connection.fetch(_LIST)
        finally:
            await connection.close()

    rows = asyncio.run(read())
    for row in rows:
        typer.echo(
            f"{row['lane_group']} lane {row['lane']} key {row['key']}: {row['inputs']} inputs since {row['since']:%Y-%m-%d %H:%M:%S}"
        )
        typer.echo(f"    {row['reason']}: {row['detail'][:200]}")
    typer.echo(f"{len(rows)} keys are parked in {service}")


@app.command()
def release(
    url: Annotated[str, typer.Option(help="any replica of the service, http://host:port")],
    group: Annotated[str, typer.Option(help="lane group, as list shows it")],
    lane: Annotated[int, typer.Option(help="lane, as list shows it")],
    key: Annotated[str, typer.Option(help="key, as list shows it")],
    secret: Annotated[str, typer.Option(envvar="FP_TOKEN_SECRET", help="signs this operator's token")],
) -> None:
    """Apply a key's parked inputs in their order; stops at the first that is poison still."""

    async def post() -> dict[str, Any]:
        headers = {"authorization": f"Bearer {issue(secret, 'SYSTEM::ops')}"}
        body = {"lane_group": group, "lane": lane, "key": key}
        async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/parked/release", json=body, headers=headers) as answer:
            said: dict[str, Any] = await answer.json()
            return said

    said = asyncio.run(post())
    typer.echo(said)
    if not said.get("released"):
        raise typer.Exit(1)

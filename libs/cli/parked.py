"""fp parked: what is kept aside, and its release."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import asyncpg
import typer

from cli.where import Dsn, Service, told
from laws.identity import unpack_event_id
from spine.tables import quote
from spine.tokens import issue

app = typer.Typer(no_args_is_help=True)

_LIST = """
SELECT lane_group, p.lane, encode(key, 'hex') AS key, count(*) AS inputs, min(p.recorded_at) AS since,
       (array_agg(reason ORDER BY p.lane_seq, i))[1] AS reason, (array_agg(detail ORDER BY p.lane_seq, i))[1] AS detail
FROM parked p JOIN lane ON lane.lane = p.lane WHERE released_seq IS NULL
GROUP BY lane_group, p.lane, key ORDER BY since
"""


@app.command("list")
def list_(
    service: Service,
    dsn: Dsn,
) -> None:
    """Keys that are parked, oldest first, with the reason of the first input."""

    async def read() -> list[asyncpg.Record]:
        async with _store(dsn, service) as connection:
            return await connection.fetch(_LIST)

    with told():
        rows = asyncio.run(read())
    for row in rows:
        typer.echo(
            f"{row['lane_group']} lane {row['lane']} key {row['key']}: {row['inputs']} inputs since {row['since']:%Y-%m-%d %H:%M:%S}"
        )
        typer.echo(f"    {row['reason']}: {row['detail'][:200]}")
    typer.echo(f"{len(rows)} keys are parked in {service}")


_SHOW = """
SELECT p.lane_seq, p.i, p.inlet, p.name, p.reason, p.detail, p.recorded_at, p.platform_run_id, p.event_id, p.topic_id, p.partition,
       p."offset", p.source, p.released_seq, policy_rev, bundle_id, release_id
FROM parked p JOIN provenance USING (provenance_id)
WHERE p.lane = $1 AND p.key = $2 AND (p.released_seq IS NULL OR $3) ORDER BY p.lane_seq, p.i
"""


@app.command()
def show(
    service: Service,
    dsn: Dsn,
    lane: Annotated[int, typer.Option(help="lane, as list shows it")],
    key: Annotated[str, typer.Option(help="key, as list shows it")],
    released: Annotated[bool, typer.Option("--released", help="also what was released since")] = False,
) -> None:
    """The parked inputs of one key, in their order: what they are, why they are kept, and what they say."""

    async def read() -> list[asyncpg.Record]:
        async with _store(dsn, service) as connection:
            return await connection.fetch(_SHOW, lane, _key(key), released)

    from spine.inputs import SOURCE_DECODER  # noqa: PLC0415  only the command that runs needs it

    with told():
        rows = asyncio.run(read())
    for row in rows:
        event_id = unpack_event_id(row["event_id"]) if row["event_id"] is not None else "no event id"
        place = f"{row['topic_id']}/{row['partition']}/{row['offset']}" if row["offset"] is not None else row["name"] or row["inlet"]
        typer.echo(f"lane_seq {row['lane_seq']}.{row['i']} {row['inlet']} {event_id} of {row['platform_run_id'] or 'no run'} at {place}")
        typer.echo(f"    {row['reason']}: {row['detail']}")
        typer.echo(f"    parked {row['recorded_at']:%Y-%m-%d %H:%M:%S} under {row['policy_rev']}, release {row['release_id']}")
        if row["released_seq"] is not None:
            typer.echo(f"    released by lane_seq {row['released_seq']}")
        if row["inlet"] in ("records", "command"):
            typer.echo(f"    {SOURCE_DECODER.decode(row['source']).value[:2000].decode(errors='replace')}")
    typer.echo(f"{len(rows)} inputs of key {key} in lane {lane} of {service}")


@app.command()
def release(
    lane: Annotated[int, typer.Option(help="lane, as list shows it")],
    key: Annotated[str, typer.Option(help="key, as list shows it")],
    url: Annotated[str, typer.Option(help="any replica of the service, http://host:port")] = "",
    group: Annotated[str, typer.Option(help="lane group, as list shows it")] = "",
    secret: Annotated[str, typer.Option(envvar="FP_TOKEN_SECRET", help="signs this operator's token")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="on a shadow: what would become of them; nothing is changed")] = False,
    service: Annotated[str, typer.Option(help="for a dry run: the service, which is also its schema")] = "",
    dsn: Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="for a dry run: the operator's login")] = "",
) -> None:
    """Apply a key's parked inputs in their order; stops at the first that is poison still."""
    if dry_run:
        _rehearse(_given("--service", service), _given("--dsn", dsn), lane, _key(key))
        return
    address, lane_group, signing = _given("--url", url), _given("--group", group), _given("--secret", secret)

    async def post() -> dict[str, Any]:
        headers = {"authorization": f"Bearer {issue(signing, 'SYSTEM::ops')}"}
        body = {"lane_group": lane_group, "lane": lane, "key": key}
        async with aiohttp.ClientSession() as session, session.post(f"{address}/v1/parked/release", json=body, headers=headers) as answer:
            said: dict[str, Any] = await answer.json()
            return said

    said = asyncio.run(post())
    typer.echo(said)
    if not said.get("released"):
        raise typer.Exit(1)


def _rehearse(service: str, dsn: str, lane: int, key: bytes) -> None:
    from audit.offline import declared, offline_settings  # noqa: PLC0415  only the command that runs needs it
    from audit.release import rehearse  # noqa: PLC0415  only the command that runs needs it
    from audit.target import Target  # noqa: PLC0415  only the command that runs needs it

    settings = offline_settings()
    target = Target(dsn=dsn, schema=service, bus={})
    with told():
        rehearsal = asyncio.run(rehearse(target, declared(service, settings), settings, lane, key))
    typer.echo(f"{rehearsal.released} of {rehearsal.parked} parked inputs would be released, under the code that is installed here")
    for table, count in sorted(rehearsal.rows.items()):
        typer.echo(f"    {count} rows of {table}")
    for output in rehearsal.outputs:
        typer.echo(f"    would publish {output}")
    for stays in rehearsal.stays:
        typer.echo(f"    stays parked: {stays[:300]}")
    if not rehearsal.released:
        raise typer.Exit(1)


def _given(option: str, value: str) -> str:
    if not value:
        raise typer.BadParameter(f"{option} is empty: name it")
    return value


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter(f"--key {text!r} is not hex: copy it from fp parked list") from None


@contextlib.asynccontextmanager
async def _store(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"SET search_path = {quote(schema)}")
        yield connection
    finally:
        await connection.close()

"""Migrations of one service: its own schema, its own role, alembic for the versions.

Runs as the operator's role, never as the service's: a service's role owns nothing and can change no table.
"""

import asyncio
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from spine.lanes import LaneSpec, lane_specs
from spine.service import Service
from spine.tables import A_ROW_AN_EVENT, Mode, quote

_SPINE = Path(__file__).parent / "migrations"

# Alembic keeps in a global of the process what it migrates: a second upgrade that began beside one under way took over its connection, and
# an audit that replayed two services at once failed now and then. A lock belongs to one loop.
_one_at_a_time: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def ensure_role(operator: asyncpg.Connection, service: Service, password: str) -> None:
    """The service's login role and its schema, with this password."""
    role = quote(service.name)
    if not await operator.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", service.name):
        await operator.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
    secret = await operator.fetchval("SELECT quote_literal($1::text)", password)
    await operator.execute(f"ALTER ROLE {role} PASSWORD {secret}")
    await operator.execute(f"CREATE SCHEMA IF NOT EXISTS {role}")
    await operator.execute(f"ALTER ROLE {role} SET search_path = {role}")


async def upgrade(operator_dsn: str, service: Service, schema: str = "") -> None:
    """Bring the service's schema to its newest version and write its lanes. Idempotent.

    `schema` names another one, whose role has the same name: a shadow, to replay on.
    """
    schema = schema or service.name
    engine = create_async_engine(_sqlalchemy_url(operator_dsn))
    try:
        async with _one_at_a_time.setdefault(asyncio.get_running_loop(), asyncio.Lock()), engine.begin() as connection:
            await connection.run_sync(_upgrade, service, schema)
    finally:
        await engine.dispose()
    operator = await asyncpg.connect(operator_dsn)
    try:
        await _write_lanes(operator, schema, lane_specs(service))
    finally:
        await operator.close()


def _sqlalchemy_url(dsn: str) -> str:
    return "postgresql+asyncpg://" + dsn.split("://", 1)[1]


def _upgrade(connection: Connection, service: Service, schema: str) -> None:
    connection.exec_driver_sql(f"SET LOCAL search_path = {quote(schema)}")
    config = Config()
    config.set_main_option("script_location", str(_SPINE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{_SPINE / 'versions'}\n{service.migrations}")
    config.attributes.update(connection=connection, schema=schema, role=schema)
    command.upgrade(config, "heads")
    for table in service.tables:
        _grant(connection, quote(schema), table)


def _grant(connection: Connection, schema: str, table: Any) -> None:
    # A schema and its role have one name.
    connection.exec_driver_sql(f"GRANT SELECT, INSERT ON {schema}.{quote(table.name)} TO {schema}")
    if table.mode is not Mode.APPEND:
        connection.exec_driver_sql(f"GRANT UPDATE ON {schema}.{quote(table.name)} TO {schema}")


async def _write_lanes(operator: asyncpg.Connection, schema: str, specs: tuple[LaneSpec, ...]) -> None:
    prefix = quote(schema)
    async with operator.transaction():
        await operator.execute(f"SET LOCAL search_path = {prefix}")
        for spec in specs:
            await operator.execute(
                "INSERT INTO lane (lane, lane_group, home) VALUES ($1, $2, $3) ON CONFLICT (lane) DO NOTHING",
                spec.lane,
                spec.group.name,
                spec.home,
            )
            await operator.execute("INSERT INTO lane_lease (lane) VALUES ($1) ON CONFLICT (lane) DO NOTHING", spec.lane)
        known = await operator.fetch("SELECT lane, lane_group, home FROM lane ORDER BY lane")
    declared = {(spec.lane, spec.group.name, spec.home) for spec in specs}
    stored = {(row["lane"], row["lane_group"], row["home"]) for row in known}
    if declared != stored:
        raise RuntimeError(
            f"schema {schema}: lanes stored {sorted(stored - declared)} and declared {sorted(declared - stored)} differ: "
            "lane counts and the order of groups never change; add a group at the end instead"
        )


async def open_run(operator_dsn: str, schema: str, platform_run_id: str) -> int:
    """Register a run: its number and its inbox partition. Idempotent. Raises RuntimeError for a closed run: ids are never reused."""
    operator = await asyncpg.connect(operator_dsn)
    try:
        async with operator.transaction():
            await operator.execute(f"SET LOCAL search_path = {quote(schema)}")
            await operator.execute("LOCK TABLE run IN SHARE ROW EXCLUSIVE MODE")
            row = await operator.fetchrow("SELECT run_no, state FROM run WHERE platform_run_id = $1", platform_run_id)
            if row is not None:
                if row["state"] == "CLOSED":
                    raise RuntimeError(f"platform_run_id={platform_run_id} is closed in {schema}: start a new run under a new id")
                return int(row["run_no"])
            run_no = int(await operator.fetchval("SELECT coalesce(max(run_no), 0) + 1 FROM run"))
            # Attached, not created in place: CREATE .. PARTITION OF would lock out every open batch.
            await operator.execute(f"CREATE TABLE inbox_r{run_no} (LIKE inbox INCLUDING ALL)")
            await operator.execute(f"ALTER TABLE inbox_r{run_no} SET ({A_ROW_AN_EVENT})")
            await operator.execute(f"ALTER TABLE inbox ATTACH PARTITION inbox_r{run_no} FOR VALUES IN ({run_no})")
            await operator.execute("INSERT INTO run (run_no, platform_run_id, state) VALUES ($1, $2, 'OPEN')", run_no, platform_run_id)
            return run_no
    finally:
        await operator.close()


async def close_run(operator_dsn: str, schema: str, platform_run_id: str) -> None:
    """Close a run: later records of it are parked as CLOSED_RUN, never NEW again. Raises RuntimeError for an unknown run."""
    operator = await asyncpg.connect(operator_dsn)
    try:
        await operator.execute(f"SET search_path = {quote(schema)}")
        closed = await operator.execute("UPDATE run SET state = 'CLOSED', closed_at = now() WHERE platform_run_id = $1", platform_run_id)
        if closed == "UPDATE 0":
            raise RuntimeError(f"platform_run_id={platform_run_id} is unknown in {schema}: nothing to close")
    finally:
        await operator.close()

"""A shadow: a schema of a service's tables beside its own, and a login that may write there and only look at the original.

Whatever is replayed runs under that login, so production tables are kept safe by the database and not by good intentions.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from spine.db import Db
from spine.migrate import upgrade
from spine.service import Service
from spine.tables import quote


@dataclass(frozen=True)
class Shadow:
    """Where a replay writes."""

    schema: str
    original: str
    dsn: str
    """The login of the shadow's role."""


@contextlib.asynccontextmanager
async def shadow_of(operator_dsn: str, service: Service) -> AsyncIterator[Shadow]:
    """A fresh shadow of a service, with the newest tables and no rows; gone at the end."""
    name = f"shadow_{service.name}_{secrets.token_hex(4)}"
    password = secrets.token_hex(16)
    role, original = quote(name), quote(service.name)
    async with _operator(operator_dsn) as operator:
        secret = await operator.fetchval("SELECT quote_literal($1::text)", password)
        await operator.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {secret}")
        await operator.execute(f"CREATE SCHEMA {role}")
    try:
        await upgrade(operator_dsn, service, name)
        async with _operator(operator_dsn) as operator:
            # One part for every run: nothing is dropped from a shadow but the whole of it.
            await operator.execute(f"CREATE TABLE {role}.inbox_all PARTITION OF {role}.inbox DEFAULT")
            await operator.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {role} TO {role}")
            await operator.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {role} TO {role}")
            await operator.execute(f"GRANT USAGE ON SCHEMA {original} TO {role}")
            await operator.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {original} TO {role}")
        yield Shadow(name, service.name, _login(operator_dsn, name, password))
    finally:
        async with _operator(operator_dsn) as operator:
            await operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", name)
            await operator.execute(f"DROP SCHEMA {role} CASCADE")
            await operator.execute(f"DROP OWNED BY {role}")
            await operator.execute(f"DROP ROLE {role}")


@contextlib.asynccontextmanager
async def working(shadow: Shadow) -> AsyncIterator[Db]:
    """A connection that writes to the shadow. What is lost of it with the database is made again by the next replay."""
    settings = {"search_path": quote(shadow.schema), "synchronous_commit": "off", "jit": "off"}
    connection = await asyncpg.connect(shadow.dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def copy_registry(store: Db, shadow: Shadow) -> dict[str, int]:
    """The original's provenance and runs, under their numbers, all open; {run: number}."""
    original = quote(shadow.original)
    await store.execute(f"INSERT INTO provenance OVERRIDING SYSTEM VALUE SELECT * FROM {original}.provenance")
    await store.execute("SELECT setval(pg_get_serial_sequence('provenance', 'provenance_id'), max(provenance_id)) FROM provenance")
    await store.execute(f"INSERT INTO run SELECT run_no, platform_run_id, 'OPEN' FROM {original}.run")
    return {row["platform_run_id"]: row["run_no"] for row in await store.fetch("SELECT platform_run_id, run_no FROM run")}


@contextlib.asynccontextmanager
async def _operator(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _login(dsn: str, user: str, password: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{url_quote(user)}:{url_quote(password)}@{host}"))

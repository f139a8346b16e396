"""What is audited, and a look at it that can't write."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from laws.catalogue import EVENT_TYPES, EventType
from laws.event_classes import EventClass
from spine.db import Db
from spine.tables import quote


@dataclass(frozen=True)
class Target:
    """One service's schema and the bus that it reads and writes."""

    dsn: str
    """A login that may read the schema; what it may beyond that is not used."""
    schema: str
    bus: dict[str, Any]
    """Connection options of the bus's clients."""
    prefix: str = ""
    types: tuple[EventType, ...] = field(default=())
    """Event types that the service declares beside the catalogue's."""

    @property
    def classes(self) -> dict[str, EventClass]:
        """Event class by event type."""
        return {name: known.event_class for name, known in EVENT_TYPES.items()} | {known.name: known.event_class for known in self.types}


class NotAServiceError(Exception):
    """The database has no such service's tables."""


@contextlib.asynccontextmanager
async def look(target: Target) -> AsyncIterator[Db]:
    """One read-only snapshot of the schema: every table as of the same moment, while the platform runs on.

    Raises NotAServiceError for a schema without certificates.
    """
    connection = await asyncpg.connect(
        target.dsn, server_settings={"search_path": quote(target.schema), "default_transaction_read_only": "on", "jit": "off"}
    )
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if await connection.fetchval("SELECT to_regclass('certificate')") is None:
                database = await connection.fetchval("SELECT current_database()")
                raise NotAServiceError(f"schema {target.schema!r} of database {database!r} holds no service: check --service and --dsn")
            yield connection
    finally:
        await connection.close()

"""The connection types that asyncpg hands out, under one name. asyncpg's classes are generic for the type checker only."""

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Db = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Db = asyncpg.Connection

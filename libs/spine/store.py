"""The service's connection pool and what the store must promise before anything is written to it."""

import asyncio

import asyncpg
import structlog

from laws.headers import Provenance
from spine.array_arguments import only_sequences_nest
from spine.db import Db
from spine.faults import TRANSIENT_STORE
from spine.settings import Settings

_log = structlog.get_logger(__name__)

# Within it a store that is there has answered the end of every connection; nothing of the law is under way any more.
_CLOSE_WITHIN = 2.0


class UnsafeStoreError(Exception):
    """The store can lose an acknowledged COMMIT, or is not the service's own."""


async def open_pool(settings: Settings, service: str) -> asyncpg.Pool:
    """A pool whose connections have the ordered timeouts. Raises UnsafeStoreError naming every reason."""
    timeouts = settings.timeouts
    only_sequences_nest()
    pool = await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=1,
        max_size=settings.pool_size,
        reset=_reset,
        # The client gives up a little after the server should have: a half-open connection must not hold a lane for ever.
        command_timeout=timeouts.statement + 1.0,
        server_settings={
            "application_name": f"fp-{service}",
            "lock_timeout": _ms(timeouts.lock),
            "statement_timeout": _ms(timeouts.statement),
            "idle_in_transaction_session_timeout": _ms(timeouts.idle_in_transaction),
            "search_path": service,
            # Every statement of the hot path looks rows up by key. Planned while a table is small, a hash join reads all of it, and the
            # plan is kept while the table grows: each batch would read everything that was ever written.
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "enable_seqscan": "off",
        },
    )
    async with pool.acquire() as connection:
        reasons = await _unsafe(connection)
    if reasons:
        await pool.close()
        raise UnsafeStoreError("; ".join(reasons))
    return pool


async def close_pool(pool: asyncpg.Pool) -> None:
    """Closes what `open_pool` opened, or drops it where the store does not answer: that must not keep a process from ending, nor make one
    that has drained look as if it had failed."""
    try:
        async with asyncio.timeout(_CLOSE_WITHIN):
            await pool.close()
    except TRANSIENT_STORE as error:
        _log.warning("store.dropped", error=f"{type(error).__name__}: {error}")


async def _reset(connection: Db) -> None:
    """What a connection needs before another takes it.

    Nobody here sets anything that outlives a transaction: the full reset, a round trip for every batch, is for a connection that was left
    in the middle of one.
    """
    if connection.is_in_transaction():
        await connection.reset()


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


async def _unsafe(connection: Db) -> list[str]:
    wanted = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
    reasons = []
    for name, allowed in wanted.items():
        value = await connection.fetchval("SELECT current_setting($1)", name)
        if value not in allowed:
            reasons.append(f"{name}={value}: an acknowledged COMMIT can vanish; set it to {' or '.join(allowed)}")
    return reasons


_PROVENANCE = """
WITH known AS (
    SELECT provenance_id FROM provenance
    WHERE policy_rev = $1 AND bundle_id = $2 AND config_digest = $3 AND release_id = $4
), added AS (
    INSERT INTO provenance (policy_rev, bundle_id, config_digest, release_id)
    SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM known)
    ON CONFLICT (policy_rev, bundle_id, config_digest, release_id) DO NOTHING
    RETURNING provenance_id
)
SELECT provenance_id FROM known UNION ALL SELECT provenance_id FROM added
"""


async def provenance_number(pool: asyncpg.Pool | Db, provenance: Provenance) -> int:
    """The number under which rows carry this provenance."""
    number = await pool.fetchval(_PROVENANCE, *provenance)
    if number is None:
        # Another replica wrote the same row between the look and the insert: the next statement sees it.
        number = await pool.fetchval(_PROVENANCE, *provenance)
    return int(number)

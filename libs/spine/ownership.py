"""Who owns which lane: claim, renew, hand over, release. PostgreSQL is the one authority (runtime.md, The lane)."""

import secrets
import time
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from spine.handovers import Handovers
from spine.steps import Step, reached

# Everything here goes by the database's clock; a worker's own clock only tells it when to stop in time.
_RENEW = """
WITH me AS (
    INSERT INTO worker (worker_id, until, address) VALUES ($1, now() + make_interval(secs => $2), $3)
    ON CONFLICT (worker_id) DO UPDATE SET until = excluded.until
), kept AS (
    UPDATE lane_lease SET until = now() + make_interval(secs => $2)
    WHERE owner = $1 AND lane = ANY($4::int[]) AND until > now()
    RETURNING lane
)
SELECT array(SELECT lane FROM kept) AS kept,
       (SELECT count(*) FROM worker WHERE until > now() AND worker_id <> $1) + 1 AS live,
       (SELECT count(*) FROM lane WHERE stopped_reason IS NULL) AS lanes,
       (SELECT extract(epoch FROM min(until) - now()) FROM lane_lease WHERE until > now() AND owner <> $1) AS next_expiry
"""

_CLAIM = """
WITH free AS (
    SELECT l.lane, l.owner, l.until FROM lane_lease l JOIN lane USING (lane)
    WHERE l.until <= now() AND lane.stopped_reason IS NULL AND NOT l.lane = ANY($4::int[])
    ORDER BY l.until, l.lane LIMIT $2
    FOR UPDATE OF l SKIP LOCKED
)
UPDATE lane_lease SET owner = $1, until = now() + make_interval(secs => $3)
FROM free WHERE lane_lease.lane = free.lane
RETURNING lane_lease.lane, free.owner, free.until
"""

# The row lock waits for a dead owner's open batch: it is either in, and seen, or fenced.
# The gap is measured after that wait, and from the end of the lease or the release: when a dead owner died, the database can't know.
_FENCE = """
WITH fenced AS (
    UPDATE lane SET epoch = epoch + 1, token = g.token
    FROM unnest($1::int[], $2::bytea[], $3::text[], $4::timestamptz[]) AS g(lane, token, owner, until) WHERE lane.lane = g.lane
    RETURNING lane.lane, lane.epoch, lane.published_seq, g.owner, g.until
), told AS (
    INSERT INTO handover (lane, epoch, event, worker_id, reason, duration_ms)
    SELECT lane, epoch, 'CLAIMED', $5,
           CASE WHEN NOT isfinite(until) THEN 'no worker owned it before'
                ELSE coalesce('the lease of ' || owner || ' was over', 'it was released') END,
           CASE WHEN isfinite(until) THEN round(extract(epoch FROM clock_timestamp() - until) * 1000)::bigint END
    FROM fenced
)
SELECT lane, epoch, published_seq FROM fenced
"""

# The lease ends now, so that the next claim knows how long the lane had no owner; a claim that begins after the commit finds it over.
# The others are told by the same commit: a worker that dies here leaves no lane that is free and that nobody looks at.
_RELEASE = """
WITH freed AS (
    UPDATE lane_lease SET owner = NULL, until = now() WHERE lane = $1 AND owner = $2 RETURNING lane
), noted AS (
    INSERT INTO handover (lane, epoch, event, worker_id, reason, duration_ms)
    SELECT freed.lane, $3, told.event, $2, '', told.duration_ms
    FROM freed, (VALUES (1, 'DRAINED', $4::bigint), (2, 'RELEASED', NULL)) AS told(ord, event, duration_ms)
    WHERE told.event = 'RELEASED' OR told.duration_ms IS NOT NULL
    ORDER BY told.ord
)
SELECT pg_notify($5, 'lane')
"""

_LEAVE = "DELETE FROM worker WHERE worker_id = $1"

_STOP = """
WITH stopped AS (
    UPDATE lane SET stopped_reason = $4 WHERE lane = $1 AND epoch = $2 AND token = $3 RETURNING lane
)
INSERT INTO handover (lane, epoch, event, worker_id, reason) SELECT lane, $2, 'STOPPED', $5, $4 FROM stopped
"""


class Claim(NamedTuple):
    """A lane that is this worker's now, and the fence that it must show."""

    lane: int
    epoch: int
    token: bytes
    published_seq: int


class Standing(NamedTuple):
    """What a beat learned."""

    kept: frozenset[int]
    share: int
    next_expiry: float | None
    """Seconds until the earliest lease of another worker ends."""


class Ownership:
    """The lanes of one worker."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str, address: str, channel: str, lease: float) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._address = address
        self._channel = channel
        self._lease = lease
        self.handovers = Handovers(pool, worker_id)

    @property
    def channel(self) -> str:
        """Where workers of the service tell each other that something changed."""
        return self._channel

    async def renew(self, lanes: list[int]) -> tuple[Standing, float]:
        """Renew the leases of `lanes` in one statement; the standing, and the monotonic time until which it surely holds."""
        # Taken before the statement: the database's clock starts the lease later than this, never earlier.
        asked_at = time.monotonic()
        row = await self._pool.fetchrow(_RENEW, self._worker_id, self._lease, self._address, lanes)
        if row is None:
            raise RuntimeError("renewing answered no row")
        share = -(-int(row["lanes"]) // int(row["live"]))
        expiry = float(row["next_expiry"]) if row["next_expiry"] is not None else None
        return Standing(frozenset(row["kept"]), share, expiry), asked_at + self._lease

    async def claim(self, count: int, but: Sequence[int] = ()) -> list[Claim]:
        """Up to `count` lanes whose lease is over, each under a new epoch and a fresh token; none of `but`."""
        async with self._pool.acquire() as connection, connection.transaction():
            taken = sorted(await connection.fetch(_CLAIM, self._worker_id, count, self._lease, list(but)), key=lambda row: int(row["lane"]))
            if not taken:
                return []
            reached(Step.LEASE_TAKEN)
            lanes = [row["lane"] for row in taken]
            tokens = [secrets.token_bytes(16) for _ in lanes]
            owners, ends = [row["owner"] for row in taken], [row["until"] for row in taken]
            fenced = await connection.fetch(_FENCE, lanes, tokens, owners, ends, self._worker_id)
        reached(Step.CLAIMED)
        token_of = dict(zip(lanes, tokens, strict=True))
        return [Claim(row["lane"], row["epoch"], token_of[row["lane"]], row["published_seq"]) for row in fenced]

    async def release(self, claim: Claim, drained_in: float | None) -> None:
        """Give a lane back at once and tell the others. `drained_in`: seconds that draining took, None for a lane that was not drained."""
        drained_ms = None if drained_in is None else round(drained_in * 1000)
        await self._pool.execute(_RELEASE, claim.lane, self._worker_id, claim.epoch, drained_ms, self._channel)
        reached(Step.RELEASED)

    async def join(self) -> None:
        """Tell the others that this worker is here."""
        await self._pool.execute("SELECT pg_notify($1, 'lane')", self._channel)

    async def leave(self) -> None:
        """This worker counts no more."""
        await self._pool.execute(_LEAVE, self._worker_id)
        reached(Step.LEFT)

    async def stop(self, claim: Claim, reason: str) -> None:
        """Bar a lane from every worker until an operator clears the reason."""
        await self._pool.execute(_STOP, claim.lane, claim.epoch, claim.token, reason, self._worker_id)
        reached(Step.STOPPED)

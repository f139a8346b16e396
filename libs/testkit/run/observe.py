"""Looks at the run while it goes: the services' own stores for what is done, once a second, for the table and the plots."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import asyncpg

from testkit.run.platform import SERVICES, Platform

# Service -> what its rows are called, and the append-only table that holds one row of each.
_DONE = {
    "decision_fabric": ("decided", "decision"),
    "action_layer": ("outcomes", "outcome"),
    "decision_log_audit": ("audited", "audit_record"),
    "case_trigger": ("triggers", "published_trigger"),
    "case_management": ("cases", "cases"),
    "label_store": ("labels", "label"),
}

# What the server has counted itself: counting the rows would cost more with every look. It is up to a second old, and made for the eye.
_ROWS = """
SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = $1
"""

_STANDING = """
SELECT coalesce((SELECT sum(next_offset - start_offset) FROM lane_position), 0)::bigint AS consumed,
       (SELECT count(*) FROM pending)::int AS pending,
       -- By the primary key, from the mark on: what is published is not looked at again.
       (SELECT coalesce(sum(waiting.n), 0) FROM lane l, LATERAL (
           SELECT count(*) AS n FROM outbox o WHERE o.lane = l.lane AND o.lane_seq > l.published_seq
       ) AS waiting)::bigint AS unpublished,
       (SELECT coalesce(sum(lane_seq), 0) FROM lane)::bigint AS applied,
       (SELECT count(*) FROM lane WHERE stopped_reason IS NOT NULL)::int AS stopped,
       (SELECT coalesce(sum(parked_rows), 0) FROM lane)::bigint AS parked
"""


class Standing(NamedTuple):
    """One service at one moment."""

    done: int
    consumed: int
    pending: int
    unpublished: int
    applied: int
    stopped: int
    parked: int


class Sample(NamedTuple):
    """All services at one moment; `at` in seconds since the run began."""

    at: float
    sent: int
    answered: int
    services: dict[str, Standing]


class Observer:
    """Keeps one connection a schema. Reads as the operator: a service never reads another's schema, the run may."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    async def start(self) -> None:
        """Connect to every schema."""
        for name in SERVICES:
            self._connections[name] = await asyncpg.connect(self._platform.site.operator_dsn, server_settings={"search_path": name})

    async def stop(self) -> None:
        """Disconnect."""
        for connection in self._connections.values():
            await connection.close()

    async def look(self, sent: int, answered: int) -> Sample:
        """Take a sample."""
        found = await asyncio.gather(*(self._standing(name) for name in SERVICES))
        sample = Sample(self.elapsed, sent, answered, dict(zip(SERVICES, found, strict=True)))
        self.samples.append(sample)
        return sample

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    async def _standing(self, name: str) -> Standing:
        connection = self._connections[name]
        row = await connection.fetchrow(_STANDING)
        if row is None:
            raise RuntimeError(f"schema {name} answered nothing")
        done = int(await connection.fetchval(_ROWS, _DONE[name][1]))
        return Standing(done, *(int(row[column]) for column in Standing._fields[1:]))


def done_word(service: str) -> str:
    """What a service has done, in one word."""
    return _DONE[service][0]

"""Questions about decisions, for operators and auditors."""

from typing import Any

import asyncpg
from fastapi import APIRouter, Request, Response

from spine.surface import Problem, ServiceContext

_DECISION = """
SELECT encode(decision_id, 'hex') AS decision_id, platform_run_id, source_event_id, flow_id, action_kind, context_status,
       encode(snapshot_hash, 'hex') AS snapshot_hash, reason_codes, decision_event_id, lane, lane_seq, epoch,
       encode(trace_id, 'hex') AS trace_id, policy_rev, bundle_id, config_digest, release_id
FROM decision JOIN provenance USING (provenance_id) WHERE
"""
# By the decision's own transaction: the primary key of read_set leads there.
_SNAPSHOT = """
SELECT body FROM decision d JOIN read_set r USING (lane, lane_seq, snapshot_hash) WHERE d.decision_id = $1 LIMIT 1
"""


def routes(context: ServiceContext) -> APIRouter:
    """Read-only routes; any principal of the platform may ask."""
    router = APIRouter()

    def known(request: Request) -> None:
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::", "HUMAN::")))

    @router.get("/v1/decisions/{decision_id}")
    async def decision(request: Request, decision_id: str) -> dict[str, Any]:
        """One decision by its id."""
        known(request)
        row = await context.pool.fetchrow(_DECISION + "decision_id = $1", _hex(decision_id))
        return _found(row, f"decision_id={decision_id} is not known here")

    @router.get("/v1/decisions")
    async def by_source(request: Request, platform_run_id: str, source_event_id: str) -> dict[str, Any]:
        """The decision about a source event of a run."""
        known(request)
        row = await context.pool.fetchrow(_DECISION + "platform_run_id = $1 AND source_event_id = $2", platform_run_id, source_event_id)
        return _found(row, f"source_event_id={source_event_id} of {platform_run_id} is not decided here")

    @router.get("/v1/decisions/{decision_id}/snapshot")
    async def snapshot(request: Request, decision_id: str) -> Response:
        """Everything that a decision read, as the bytes whose hash it carries."""
        known(request)
        body = await context.pool.fetchval(_SNAPSHOT, _hex(decision_id))
        if body is None:
            raise Problem(404, "NOT_FOUND", f"decision_id={decision_id} is not known here")
        return Response(bytes(body), media_type="application/json")

    return router


def _found(row: asyncpg.Record | None, otherwise: str) -> dict[str, Any]:
    if row is None:
        raise Problem(404, "NOT_FOUND", otherwise)
    return dict(row)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Problem(400, "CONTRACT_INVALID", f"{text!r} is not hex") from error

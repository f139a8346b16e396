"""Questions of auditors."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from laws.contracts.audit import ChainStatus
from spine.surface import Problem, ServiceContext

_UNRESOLVED = """
SELECT encode(decision_id, 'hex') AS decision_id, chain_status, unresolved_reasons, recorded_at FROM chain
WHERE platform_run_id = $1 AND chain_status = 'UNRESOLVED' ORDER BY recorded_at, decision_id LIMIT $2
"""


def routes(context: ServiceContext) -> APIRouter:
    """Read-only routes; any principal of the platform may ask."""
    router = APIRouter()

    def known(request: Request) -> None:
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::", "HUMAN::")))

    @router.get("/v1/audit/{decision_id}")
    async def record(request: Request, decision_id: str) -> Response:
        """The audit record of a decision, as the bytes whose digest its pointer carries."""
        known(request)
        try:
            key = bytes.fromhex(decision_id)
        except ValueError as error:
            raise Problem(400, "CONTRACT_INVALID", f"decision_id={decision_id!r} is not hex") from error
        found = await context.pool.fetchval("SELECT record FROM audit_record WHERE decision_id = $1", key)
        if found is None:
            raise Problem(404, "NOT_FOUND", f"decision_id={decision_id} has no audit record yet; see /v1/audit?status=UNRESOLVED")
        return Response(bytes(found), media_type="application/json")

    @router.get("/v1/audit")
    async def unresolved(
        request: Request,
        platform_run_id: str,
        status: Literal[ChainStatus.UNRESOLVED],
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[dict[str, Any]]:
        """Decisions of a run whose chain is not complete, with what is missing; oldest first."""
        known(request)
        rows = [dict(row) for row in await context.pool.fetch(_UNRESOLVED, platform_run_id, limit)]
        return [{**row, "unresolved_reasons": row["unresolved_reasons"].split(",")} for row in rows]

    return router

"""Questions about outcomes, for operators and auditors."""

from typing import Any

from fastapi import APIRouter, Request

from spine.surface import Problem, ServiceContext

_OUTCOME = """
SELECT encode(outcome_id, 'hex') AS outcome_id, platform_run_id, encode(idempotency_key, 'hex') AS idempotency_key,
       encode(decision_id, 'hex') AS decision_id, action_kind, status, terminal_state, reason, provider_ref
FROM outcome WHERE idempotency_key = $1
"""


def routes(context: ServiceContext) -> APIRouter:
    """Read-only routes; any principal of the platform may ask."""
    router = APIRouter()

    @router.get("/v1/outcomes/{idempotency_key}")
    async def outcome(request: Request, idempotency_key: str) -> dict[str, Any]:
        """The outcome of an intent by its idempotency key."""
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::", "HUMAN::")))
        try:
            key = bytes.fromhex(idempotency_key)
        except ValueError as error:
            raise Problem(400, "CONTRACT_INVALID", f"idempotency_key={idempotency_key!r} is not hex") from error
        row = await context.pool.fetchrow(_OUTCOME, key)
        if row is None:
            raise Problem(404, "NOT_FOUND", f"idempotency_key={idempotency_key} has no outcome yet")
        return dict(row)

    return router

"""The command for external signals and people."""

from fastapi import APIRouter, Request, Response

from laws.catalogue import EXTERNAL_SIGNAL
from spine.surface import Problem, ServiceContext


def routes(context: ServiceContext) -> APIRouter:
    """One writer boundary."""
    router = APIRouter()

    @router.post("/v1/signals", status_code=201)
    async def signal(request: Request) -> Response:
        """Take an external_signal (laws.contracts.case.ExternalSignal). 201 when new, 200 when it came before."""
        allowed = ("EXTERNAL::", "HUMAN::", "SYSTEM::")
        principal = context.principal(request, lambda principal: principal.startswith(allowed))
        payload = await context.body(request)
        if not isinstance(payload, dict) or not isinstance(payload.get("signal_id"), str):
            raise Problem(400, "CONTRACT_INVALID", "signal_id: send the id under which the source knows this signal")
        answer = await context.command(request, EXTERNAL_SIGNAL, payload["signal_id"], payload, principal)
        return Response(answer.body, 201 if answer.is_new else 200, media_type="application/json")

    return router

"""The command for external signals and people."""

import msgspec
from fastapi import APIRouter, Request, Response

from case_trigger.policy import refusal
from laws.catalogue import EXTERNAL_SIGNAL
from laws.contracts.case import ExternalSignal
from laws.reasons import Reason
from spine.surface import Problem, ServiceContext

_CALLERS = ("EXTERNAL::", "HUMAN::", "SYSTEM::")


def routes(context: ServiceContext) -> APIRouter:
    """One writer boundary."""
    router = APIRouter()

    @router.post("/v1/signals", status_code=201)
    async def signal(request: Request) -> Response:
        """Take an external_signal (laws.contracts.case.ExternalSignal). 201 when new, 200 with the same body when it came before."""
        principal = context.principal(request, lambda principal: principal.startswith(_CALLERS))
        payload = await context.body(request)
        try:
            said = msgspec.convert(payload, ExternalSignal)
        except msgspec.ValidationError as error:
            raise Problem(400, Reason.CONTRACT_INVALID, str(error)) from error
        if reason := refusal(said, principal):
            raise Problem(400, Reason.CONTRACT_INVALID, reason)
        answer = await context.command(request, EXTERNAL_SIGNAL, said.signal_id, payload, principal)
        if not answer.body:
            raise Problem(
                422, Reason.BEHIND_PARKED_KEY, f"signal_id={said.signal_id} came before and is kept unapplied; an operator must release it"
            )
        return Response(answer.body, 201 if answer.is_new else 200, media_type="application/json")

    return router

"""The writer boundary of labels, and as-of questions."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from label_store.policy import RESOLUTION_RULE, refusal, resolve
from label_store.store import LABELS
from laws.catalogue import LABEL_ASSERTION
from laws.contracts.label import LabelAssertion
from laws.fields import Instant
from laws.labels import LabelType
from laws.reasons import Reason
from laws.times import format_instant, parse_instant
from spine.surface import Problem, ServiceContext

# CM is the only way to a label: its handshake is what makes a label's case known (domain.md 1.2).
_WRITERS = frozenset({"SYSTEM::case_management"})

_COMMITTED = "SELECT recorded_at FROM label WHERE label_assertion_id = $1"
_OF_SUBJECT = "SELECT * FROM label WHERE platform_run_id = $1 AND subject_event_id = $2 AND label_type = $3"


def routes(context: ServiceContext) -> APIRouter:
    """One writer boundary, two queries."""
    router = APIRouter()

    def reader(request: Request) -> None:
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::", "HUMAN::")))

    async def acknowledged(label_assertion_id: str, reason: Reason, status: int) -> Response:
        committed_at = await context.pool.fetchval(_COMMITTED, bytes.fromhex(label_assertion_id))
        if committed_at is None:
            raise Problem(503, "DEPENDENCY_UNAVAILABLE", "the label is not readable yet; ask again")
        body = {"assertion_ref": f"ls:{label_assertion_id}", "reason": reason.value, "committed_at": format_instant(committed_at)}
        return JSONResponse(body, status)

    @router.post("/v1/labels", status_code=201)
    async def write(request: Request) -> Response:
        """Take a label_assertion (laws.contracts.label.LabelAssertion). Answers after commit: 201 when new, 200 when it came before."""
        principal = context.principal(request, lambda principal: principal in _WRITERS)
        payload = await context.body(request)
        if isinstance(payload, dict) and not payload.get("evidence_refs"):
            raise Problem(400, Reason.MISSING_EVIDENCE_REFS, "evidence_refs is missing or empty: name at least one piece of evidence")
        try:
            label = msgspec.convert(payload, LabelAssertion)
        except msgspec.ValidationError as error:
            raise Problem(400, Reason.CONTRACT_INVALID, str(error)) from error
        if refused := refusal(label):
            raise Problem(400, refused.reason, refused.detail)
        answer = await context.command(request, LABEL_ASSERTION, label.label_assertion_id, payload, principal)
        if not answer.body:
            detail = f"label_assertion_id={label.label_assertion_id} came before and is kept unapplied; an operator must release it"
            raise Problem(422, Reason.BEHIND_PARKED_KEY, detail)
        outcome = Reason.ASSERTION_COMMITTED_NEW if answer.is_new else Reason.ASSERTION_REPLAY_MATCH
        return await acknowledged(label.label_assertion_id, outcome, 201 if answer.is_new else 200)

    @router.get("/v1/labels/resolve")
    async def resolved(request: Request, platform_run_id: str, event_id: str, label_type: LabelType, as_of: str) -> dict[str, Any]:
        """The label that was known at `as_of`; there is no latest: an answer without its instant could not be given again."""
        reader(request)
        try:
            parse_instant(msgspec.convert(as_of, Instant))
        except (msgspec.ValidationError, ValueError) as error:
            # Instants are compared as text: another spelling would be compared wrongly, and silently.
            raise Problem(400, Reason.CONTRACT_INVALID, f"as_of={as_of!r}: send YYYY-MM-DDTHH:MM:SS.ffffffZ ({error})") from error
        rows = await context.pool.fetch(_OF_SUBJECT, platform_run_id, event_id, label_type.value)
        found = resolve([LABELS.from_sql(row) for row in rows], as_of)
        return {
            "outcome": found.outcome,
            "label_value": found.label_value,
            "label_assertion_ids": list(found.label_assertion_ids),
            "resolution_rule": RESOLUTION_RULE,
            "as_of": as_of,
        }

    @router.get("/v1/labels/{label_assertion_id}")
    async def known(request: Request, label_assertion_id: str) -> Response:
        """Whether a label is durable; how an unanswered write is settled."""
        reader(request)
        try:
            key = bytes.fromhex(label_assertion_id)
        except ValueError as error:
            raise Problem(400, "CONTRACT_INVALID", f"label_assertion_id={label_assertion_id!r} is not hex") from error
        if await context.pool.fetchval(_COMMITTED, key) is None:
            raise Problem(404, "NOT_FOUND", f"label_assertion_id={label_assertion_id} is not known here")
        return await acknowledged(label_assertion_id, Reason.ASSERTION_REPLAY_MATCH, 200)

    return router

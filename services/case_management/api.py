"""What investigators and the outside use: cases as they are opened, their timelines, and assertions."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from case_management.policy import refusal, status_of
from case_management.store import CASES, Case
from laws.catalogue import CASE_ASSERTION
from laws.contracts.case import CaseAssertion
from laws.evidence import TimelineEventType
from laws.reasons import Reason
from spine.service import Cause
from spine.surface import Problem, ServiceContext

_CALLERS = ("HUMAN::", "EXTERNAL::", "SYSTEM::")

_CASE = "SELECT * FROM cases WHERE case_id = $1"

_TIMELINE = """
SELECT encode(case_timeline_event_id, 'hex') AS case_timeline_event_id, timeline_event_type, source_ref_id, observed_time,
       convert_from(payload, 'UTF8') AS payload, recorded_at
FROM timeline WHERE case_id = $1
ORDER BY lane_seq, array_position($2::text[], timeline_event_type), case_timeline_event_id
"""

# Entries of one transaction, in the order in which one leads to the next.
_ORDER = [
    TimelineEventType.CASE_TRIGGERED,
    TimelineEventType.INVESTIGATOR_ASSERTION,
    TimelineEventType.LABEL_PENDING,
    TimelineEventType.LABEL_ACCEPTED,
    TimelineEventType.LABEL_REJECTED,
]

# Within a lane transactions commit in the order of lane_seq, so a reader who pages by it can't pass a row that is not visible yet.
# A page ends where a transaction ends: a cursor inside one could not be named.
_TRIGGERED = """
SELECT lane_seq, encode(case_id, 'hex') AS case_id FROM timeline
WHERE lane = $1 AND timeline_event_type = 'CASE_TRIGGERED' AND lane_seq > $2 AND lane_seq <= (
    SELECT max(lane_seq) FROM (
        SELECT lane_seq FROM timeline WHERE lane = $1 AND timeline_event_type = 'CASE_TRIGGERED' AND lane_seq > $2
        ORDER BY lane_seq LIMIT $3
    ) page
)
ORDER BY lane_seq, case_id
"""

_CAUSE = msgspec.msgpack.Decoder(Cause)


def routes(context: ServiceContext) -> APIRouter:
    """Queries for people, and the boundary for assertions."""
    router = APIRouter()

    def known(request: Request) -> str:
        return context.principal(request, lambda principal: principal.startswith(_CALLERS))

    async def case_row(case_id: str) -> Case | None:
        try:
            key = bytes.fromhex(case_id)
        except ValueError as error:
            raise Problem(400, Reason.CONTRACT_INVALID, f"case_id={case_id!r} is not hex") from error
        row = await context.pool.fetchrow(_CASE, key)
        return CASES.from_sql(row) if row is not None else None

    @router.get("/v1/triggered")
    async def triggered(
        request: Request,
        lane: Annotated[int, Query(ge=0)],
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> dict[str, Any]:
        """Cases that were triggered in a lane after a lane_seq, each once a page; `next_after` is where to go on.

        A page holds whole transactions: it may be longer than `limit` by what its last transaction holds.
        """
        known(request)
        rows = await context.pool.fetch(_TRIGGERED, lane, after, limit)
        return {"case_ids": list(dict.fromkeys(row["case_id"] for row in rows)), "next_after": rows[-1]["lane_seq"] if rows else after}

    @router.get("/v1/cases/{case_id}")
    async def case(request: Request, case_id: str) -> dict[str, Any]:
        """A case, its timeline, its status, and the trace that its labels will continue."""
        known(request)
        found = await case_row(case_id)
        if found is None:
            raise Problem(404, Reason.CASE_UNKNOWN, f"case_id={case_id} is not known here (yet)")
        timeline = [dict(entry) for entry in await context.pool.fetch(_TIMELINE, bytes.fromhex(case_id), _ORDER)]
        for entry in timeline:
            entry["payload"] = msgspec.json.decode(entry["payload"])
        return {
            **{name: getattr(found, name) for name in found.__struct_fields__ if name != "cause"},
            "traceparent": _CAUSE.decode(found.cause).correlation.traceparent,
            "status": status_of((TimelineEventType(entry["timeline_event_type"]), entry["source_ref_id"]) for entry in timeline),
            "timeline": timeline,
        }

    @router.post("/v1/cases/{case_id}/assertions", status_code=202)
    async def assertion(request: Request, case_id: str) -> Response:
        """Take a case_assertion (laws.contracts.case.CaseAssertion). 202 when new, 200 with the same body when it came before.

        What is refused here has no identity yet: an assertion about a case that is not known (404) may be sent again as it is.
        """
        principal = known(request)
        payload = await context.body(request)
        try:
            said = msgspec.convert(payload, CaseAssertion)
        except msgspec.ValidationError as error:
            raise Problem(400, Reason.CONTRACT_INVALID, str(error)) from error
        if said.case_id != case_id:
            raise Problem(400, Reason.CONTRACT_INVALID, f"case_id={said.case_id!r} in the body, {case_id!r} in the path")
        if refused := refusal(said, await case_row(case_id), principal):
            raise Problem(refused.status, refused.reason, refused.detail)
        answer = await context.command(request, CASE_ASSERTION, said.assertion_ref, payload, principal)
        if not answer.body:
            detail = f"assertion_ref={said.assertion_ref} came before and is kept unapplied; an operator must release it"
            raise Problem(422, Reason.BEHIND_PARKED_KEY, detail)
        return Response(answer.body, 202 if answer.is_new else 200, media_type="application/json")

    return router

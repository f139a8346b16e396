"""What investigators and the outside use: cases as they are opened, their timelines, and assertions."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from laws.catalogue import CASE_ASSERTION
from laws.labels import LABEL_VALUES, LabelType, SourceType
from spine.service import Cause
from spine.surface import Problem, ServiceContext

_CASE = """
SELECT encode(case_id, 'hex') AS case_id, platform_run_id, subject_event_class, subject_event_id, first_observed_time,
       last_observed_time, trigger_count, trigger_types, cause
FROM cases WHERE case_id = $1
"""

_TIMELINE = """
SELECT encode(case_timeline_event_id, 'hex') AS case_timeline_event_id, timeline_event_type, source_ref_id, observed_time,
       convert_from(payload, 'UTF8') AS payload, recorded_at
FROM timeline WHERE case_id = $1 ORDER BY lane_seq, recorded_at, case_timeline_event_id
"""

# Within a lane transactions commit in the order of lane_seq, so a reader who pages by it can't pass a row that is not visible yet.
_TRIGGERED = """
SELECT lane_seq, encode(case_id, 'hex') AS case_id FROM timeline
WHERE lane = $1 AND lane_seq > $2 AND timeline_event_type = 'CASE_TRIGGERED'
ORDER BY lane_seq LIMIT $3
"""

_CAUSE = msgspec.msgpack.Decoder(Cause)

_STATUS = {"LABEL_ACCEPTED": "LABELLED", "LABEL_REJECTED": "LABEL_REJECTED", "LABEL_PENDING": "LABEL_PENDING"}


def status_of(timeline: list[dict[str, Any]]) -> str:
    """A case's status: the newest thing on its timeline that says one (8.4)."""
    for entry in reversed(timeline):
        if status := _STATUS.get(entry["timeline_event_type"]):
            return status
    return "OPEN"


def routes(context: ServiceContext) -> APIRouter:
    """Queries for people, and the boundary for assertions."""
    router = APIRouter()

    def known(request: Request) -> str:
        return context.principal(request, lambda principal: principal.startswith(("HUMAN::", "EXTERNAL::", "SYSTEM::")))

    async def case_row(case_id: str) -> Any:
        try:
            key = bytes.fromhex(case_id)
        except ValueError as error:
            raise Problem(400, "CONTRACT_INVALID", f"case_id={case_id!r} is not hex") from error
        row = await context.pool.fetchrow(_CASE, key)
        if row is None:
            raise Problem(404, "CASE_UNKNOWN", f"case_id={case_id} is not known here (yet)")
        return row

    @router.get("/v1/triggered")
    async def triggered(request: Request, lane: int, after: int = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> dict[str, Any]:
        """Cases that were triggered in a lane after a lane_seq; `next_after` is where to go on."""
        known(request)
        rows = await context.pool.fetch(_TRIGGERED, lane, after, limit)
        full = len(rows) == limit
        # A full page may end inside one lane_seq: go on from the one before it.
        last = rows[-1]["lane_seq"] if rows else after
        kept = [row for row in rows if row["lane_seq"] < last] if full else rows
        return {"case_ids": [row["case_id"] for row in kept], "next_after": (last - 1 if full else last)}

    @router.get("/v1/cases/{case_id}")
    async def case(request: Request, case_id: str) -> dict[str, Any]:
        """A case, its timeline, its status, and the trace that its labels will continue."""
        known(request)
        row = dict(await case_row(case_id))
        cause = _CAUSE.decode(row.pop("cause"))
        timeline = [dict(entry) for entry in await context.pool.fetch(_TIMELINE, bytes.fromhex(case_id))]
        for entry in timeline:
            entry["payload"] = msgspec.json.decode(entry["payload"])
        return {**row, "traceparent": cause.correlation.traceparent, "status": status_of(timeline), "timeline": timeline}

    @router.post("/v1/cases/{case_id}/assertions", status_code=202)
    async def assertion(request: Request, case_id: str) -> Response:
        """Take a case_assertion (laws.contracts.case.CaseAssertion). 202 when new, 200 when it came before."""
        principal = known(request)
        payload = await context.body(request)
        if not isinstance(payload, dict) or not isinstance(payload.get("assertion_ref"), str):
            raise Problem(400, "CONTRACT_INVALID", "assertion_ref: send the id under which the source knows this assertion")
        if payload.get("case_id") != case_id:
            raise Problem(400, "CONTRACT_INVALID", f"case_id={payload.get('case_id')!r} in the body, {case_id!r} in the path")
        _check_label(payload)
        _check_actor(payload, principal)
        await case_row(case_id)
        answer = await context.command(request, CASE_ASSERTION, payload["assertion_ref"], payload, principal)
        return Response(answer.body, 202 if answer.is_new else 200, media_type="application/json")

    return router


def _check_label(payload: dict[str, Any]) -> None:
    label_type, value = payload.get("label_type"), payload.get("label_value")
    if label_type not in list(LabelType):
        raise Problem(400, "CONTRACT_INVALID", f"label_type={label_type!r}: use one of {[kind.value for kind in LabelType]}")
    allowed = LABEL_VALUES[LabelType(label_type)]
    if value not in allowed:
        raise Problem(400, "CONTRACT_INVALID", f"label_value={value!r}: use one of {sorted(allowed)} for {label_type}")


def _check_actor(payload: dict[str, Any], principal: str) -> None:
    # The actor comes from the credential: a body that names somebody else is refused, not believed.
    source = payload.get("source_type")
    if source == SourceType.HUMAN and (payload.get("actor_id") != principal or not principal.startswith("HUMAN::")):
        raise Problem(403, "ACTOR_MISSING", f"actor_id={payload.get('actor_id')!r}, credential {principal}: a person asserts as itself")
    if source == SourceType.EXTERNAL and not principal.startswith("EXTERNAL::"):
        raise Problem(403, "ACTOR_MISSING", f"source_type=EXTERNAL needs an EXTERNAL:: credential, not {principal}")
    if source in (SourceType.AUTO, SourceType.SYSTEM):
        raise Problem(403, "ACTOR_MISSING", "no label is the platform's own guess: assertions come from people and from outside")

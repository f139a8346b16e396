"""The operator's HTTP surface, and how a service's own routes reach the spine (architecture.md, What a service looks like)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
import msgspec
from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, Response
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse

from laws.canonical import CanonicalError, canonical_json
from laws.catalogue import EventType
from laws.envelope import encode_envelope
from laws.headers import Correlation
from laws.pins import PIN_FIELDS
from laws.reasons import Reason
from laws.strict_json import StrictJsonError, parse_strict
from laws.trace_context import continue_or_start, derive_trace_id
from laws.verdicts import Verdict
from spine.commands import CommandDoor, CommandUnavailableError
from spine.deadline import Deadline
from spine.faults import TRANSIENT_STORE
from spine.inputs import Source
from spine.outcome import CommandAnswer
from spine.runtime import Runtime
from spine.tokens import principal_of

# The edge's limit for a whole batch; one command has no reason to be larger (authority.md 5.1.1 item 11).
MAX_BODY_BYTES = 1_048_576
_COMMAND_SECONDS = 10.0


class Problem(HTTPException):
    """An answer that names the field, the value and what to do."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(status, {"reason": reason, "detail": detail})


@dataclass
class ServiceContext:
    """What a service's routes may use: reads of its own schema, commands, and who is calling."""

    runtime: Runtime
    door: CommandDoor

    @property
    def pool(self) -> asyncpg.Pool:
        """The service's own pool, for queries; its role can't write what the spine writes without the spine's rights either."""
        return self.runtime.pool

    def principal(self, request: Request, allowed: Callable[[str], bool]) -> str:
        """The caller, from its credential. Raises Problem 401 or 403. Called before the body is looked at."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        secret = self.runtime.settings.token_secret.get_secret_value()
        principal = principal_of(secret, token) if scheme.lower() == "bearer" else None
        if principal is None:
            raise Problem(401, "UNAUTHORIZED", "send Authorization: Bearer st.v1.<principal>.<signature>")
        if not allowed(principal):
            raise Problem(403, "UNAUTHORIZED", f"principal {principal} may not use this boundary")
        return principal

    async def body(self, request: Request) -> Any:
        """The strictly parsed JSON body. Raises Problem 413 or 400."""
        if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
            raise Problem(413, "TOO_LARGE", f"the body may have {MAX_BODY_BYTES} bytes")
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                raise Problem(413, "TOO_LARGE", f"the body may have {MAX_BODY_BYTES} bytes")
        try:
            return parse_strict(bytes(raw))
        except StrictJsonError as error:
            raise Problem(400, str(error.reason), str(error)) from error

    async def command(
        self, request: Request, event_type: EventType, event_id: str, payload: dict[str, Any], principal: str
    ) -> CommandAnswer:
        """Apply a command whose payload is `payload`; returns after commit. Raises Problem 400 (not lawful) or 503 (send it again).

        Pins come from the payload's own `pins`; the trace is the request's, or a new one.
        """
        try:
            body = msgspec.convert(payload, event_type.contract)
        except msgspec.ValidationError as error:
            raise Problem(400, "CONTRACT_INVALID", str(error)) from error
        key, spec = self.door.home(event_type.name, body)
        try:
            source = self._source(request, event_type, event_id, payload, principal, key)
            answer = await self.door.submit(source, spec, Deadline(_COMMAND_SECONDS))
        except (ValueError, CanonicalError) as error:
            raise Problem(400, "CONTRACT_INVALID", str(error)) from error
        except CommandUnavailableError as error:
            raise Problem(503, "DEPENDENCY_UNAVAILABLE", f"{error}; send the same command again") from error
        if answer.verdict is Verdict.MISMATCH:
            raise Problem(409, "PAYLOAD_HASH_MISMATCH", f"{event_id} came before with another payload: it is recorded as an anomaly")
        if answer.reason.startswith(Reason.STORE_REFUSED):
            raise Problem(422, Reason.STORE_REFUSED.value, f"{answer.reason}; nothing was kept: mend the command and send it again")
        if answer.verdict in (Verdict.PARKED, Verdict.POISON):
            raise Problem(422, answer.reason.partition(":")[0], f"kept and not applied: {answer.reason}; an operator must release it")
        return answer

    def _source(
        self, request: Request, event_type: EventType, event_id: str, payload: dict[str, Any], principal: str, key: bytes
    ) -> Source:
        pins = payload.get("pins")
        if not isinstance(pins, dict):
            raise ValueError("field pins: send the six pins")
        runtime = self.runtime
        trace = continue_or_start(
            request.headers.get("traceparent"),
            request.headers.get("tracestate"),
            lambda: derive_trace_id(runtime.service.name, event_type.name, event_id),
            sampled=False,
        )
        correlation = Correlation(
            traceparent=trace.traceparent.header(),
            tracestate=trace.tracestate.header(),
            platform_run_id=pins["platform_run_id"],
            scenario_run_id=pins["scenario_run_id"],
            phase_id=runtime.settings.phase_id,
            event_id=event_id,
            runtime_lane=runtime.service.runtime_lane,
        )
        observed = payload.get("observed_time")
        value = encode_envelope(
            {
                "event_id": event_id,
                "event_type": event_type.name,
                "ts_utc": observed,
                **{pin: pins.get(pin) for pin in PIN_FIELDS},
                "schema_version": event_type.schema_versions[-1],
                "producer": principal,
            },
            canonical_json(payload),
        )
        headers = (*correlation.headers(), *runtime.law.provenance.headers())
        return Source("", "", "", 0, -1, key, value, tuple(headers))


def build_app(runtime: Runtime, door: CommandDoor, workers: "Callable[[], dict[str, Any]]", not_ready: Callable[[], list[str]]) -> FastAPI:
    """The application of one worker: operator's routes, then the service's own."""
    app = FastAPI(title=runtime.service.name, docs_url=None, redoc_url=None)
    context = ServiceContext(runtime, door)
    app.include_router(_operator_routes(context, workers, not_ready))
    if runtime.service.api is not None:
        app.include_router(runtime.service.api(context))

    @app.exception_handler(HTTPException)
    async def problem(_: Request, error: HTTPException) -> JSONResponse:
        body = error.detail if isinstance(error.detail, dict) else {"reason": "HTTP", "detail": str(error.detail)}
        return JSONResponse(
            {"status": error.status_code, **body}, error.status_code, media_type="application/problem+json", headers=error.headers
        )

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        # A read of a service's own that meets the store's trouble of the moment: nothing is known to be written, and nothing is broken.
        detail = f"{type(error).__name__}: the store can't be reached now; send the same again"
        body = {"status": 503, "reason": Reason.DEPENDENCY_UNAVAILABLE.value, "detail": detail}
        return JSONResponse(body, 503, media_type="application/problem+json")

    for fault in TRANSIENT_STORE:
        app.add_exception_handler(fault, unavailable)

    FastAPIInstrumentor.instrument_app(app, tracer_provider=runtime.telemetry.provider, excluded_urls="livez,readyz,metrics,progress")
    return app


def _operator_routes(context: ServiceContext, workers: "Callable[[], dict[str, Any]]", not_ready: Callable[[], list[str]]) -> APIRouter:
    router = APIRouter()

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """The process runs its event loop."""
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when it can do its work; otherwise 503 with every reason."""
        reasons = not_ready()
        dependencies = context.runtime.service.dependencies
        if dependencies is not None:
            reasons += await dependencies()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 200 if not reasons else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(context.runtime.telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/progress")
    async def progress() -> dict[str, Any]:
        """Lanes, owners, positions, newest certificates and lag."""
        return workers() | {"lanes": await _lanes(context)}

    @router.post("/v1/parked/release")
    async def release(request: Request, authorization: Annotated[str | None, Header()] = None) -> dict[str, Any]:
        """Release the parked inputs of a key, in their order."""
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::ops", "HUMAN::ops")))
        body = await context.body(request)
        try:
            group, lane, key = body["lane_group"], int(body["lane"]), bytes.fromhex(body["key"])
        except (KeyError, TypeError, ValueError) as error:
            raise Problem(400, "CONTRACT_INVALID", "send lane_group, lane and key (hex), as fp parked list shows them") from error
        answer = await context.door.release(group, lane, key, Deadline(_COMMAND_SECONDS))
        return {"released": answer is not None, "verdict": answer.verdict.value if answer else None}

    return router


_LANES = """
SELECT lane.lane, lane_group, home, epoch, lane_seq, published_seq, parked_rows, stopped_reason, l.owner,
       l.until > now() AS owned, encode(chain, 'hex') AS certificate,
       (SELECT coalesce(json_object_agg(topic, next_offset::text), '{}'::json) FROM lane_position p WHERE p.lane = lane.lane) AS positions,
       (SELECT count(*) FROM pending q WHERE q.lane = lane.lane) AS pending,
       (SELECT count(*) FROM outbox o WHERE o.lane = lane.lane AND o.lane_seq > lane.published_seq) AS unpublished,
       (SELECT extract(epoch FROM clock_timestamp() - applied_at) FROM certificate c
        WHERE c.lane = lane.lane AND c.lane_seq = lane.lane_seq) AS idle_seconds
FROM lane JOIN lane_lease l USING (lane) ORDER BY lane.lane
"""


async def _lanes(context: ServiceContext) -> list[dict[str, Any]]:
    rows = await context.pool.fetch(_LANES)
    return [
        dict(row) | {"positions": msgspec.json.decode(row["positions"]), "idle_seconds": float(row["idle_seconds"] or 0)} for row in rows
    ]

"""The surface as an OpenAPI document, made from the types that the edge reads and writes, so that it can't say anything else."""

from typing import Any

import msgspec
from msgspec.structs import fields

from ingress.answers import Answer
from ingress.inspection import Detail
from ingress.policy import DOORS
from ingress.receipt import Receipt
from ingress.settings import EdgeSettings
from laws.envelope import Envelope
from laws.reasons import Reason

_REF = "#/components/schemas/{name}"
_LIMIT = next(field.default for field in fields(EdgeSettings) if field.name == "max_items")


# The payload is raw bytes to the edge; its schema is that of the type.
_HEAD = msgspec.defstruct(
    "Head",
    [
        (field.name, field.type, field.default) if not field.required else (field.name, field.type)
        for field in fields(Envelope)
        if field.name != "payload"
    ],
)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was not admitted, after RFC 9457: which field, its value as it came (shortened), for which reason."""

    type: str
    title: str
    status: int
    detail: str
    field: str
    value: str | int | float | bool | None
    reason: str
    decision: str | None = None
    event_id: str | None = None
    reason_codes: tuple[Reason, ...] = ()
    quarantine_id: str | None = None
    retry_after_s: int | None = None


class Cause(msgspec.Struct, frozen=True):
    """One dependency that fails."""

    dependency: str
    failures: int
    cause: str


class HealthAnswer(msgspec.Struct, frozen=True):
    """GREEN, AMBER or RED, and why."""

    state: str
    causes: tuple[Cause, ...]
    service: str
    release_id: str


def document() -> dict[str, Any]:
    """The document."""
    _, schemas = msgspec.json.schema_components(
        [_HEAD, Answer, Detail, Receipt, Problem, HealthAnswer, *(door.contract for door in DOORS.values())], ref_template=_REF
    )
    schemas["Envelope"] = {
        **schemas.pop("Head"),
        "title": "Envelope",
        "description": "One event.",
        "additionalProperties": False,
    }
    schemas["Envelope"]["properties"]["payload"] = {"anyOf": [_ref(door.contract.__name__) for door in DOORS.values()]}
    schemas["Envelope"]["required"] = [*schemas["Envelope"]["required"], "payload"]
    schemas["Admitted"] = _with_size(schemas["Answer"])
    items = {"type": "array", "items": _ref("Answer")}
    schemas["Answers"] = {
        "type": "object",
        "required": ["items", "body_size_bytes"],
        "properties": {"items": items, "body_size_bytes": {"type": "integer"}},
    }
    keys = {"type": "apiKey", "in": "header", "name": "X-IG-Api-Key"}
    tokens = {"type": "http", "scheme": "bearer", "bearerFormat": "st.v1"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ingress edge", "version": "v1", "description": "Facts from outside come in here, each once."},
        "paths": {"/v1/ingest/push": {"post": _push()}, "/v1/ops/health": {"get": _health()}},
        "components": {"schemas": schemas, "securitySchemes": {"key": keys, "token": tokens}},
    }


def _push() -> dict[str, Any]:
    one = _ref("Envelope")
    body = {
        "application/json": {"schema": {"oneOf": [one, {"type": "array", "items": one, "maxItems": _LIMIT}]}},
        "application/x-ndjson": {"schema": {"type": "string", "description": "One envelope a line."}},
    }
    hint = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string"},
        "description": "A hint; it comes back and decides nothing.",
    }
    return {
        "operationId": "push",
        "summary": "One envelope, an array of them, or lines: up to 1 MiB, an answer for each item.",
        "security": [{"key": []}, {"token": []}],
        "parameters": [hint],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": _json("An array or lines: each item has its own status, in its place.", "Answers"),
            "202": _json("ADMIT: it is on the bus. DUPLICATE: it was before, and this is its receipt.", "Admitted"),
            "400": _problem("QUARANTINE: refused by policy, and the record is durable."),
            "401": _problem("No credential that is known."),
            "413": _problem("More than 1 MiB, or too many envelopes at once."),
            "429": _problem("RETRY: more than the producer or the topic may have; come back after Retry-After.", retry=True),
            "503": _problem("RETRY: nothing is decided; send it again with the same event_id after Retry-After.", retry=True),
        },
    }


def _health() -> dict[str, Any]:
    responses = {"200": _json("GREEN or AMBER: it serves.", "HealthAnswer"), "503": _json("RED: it refuses.", "HealthAnswer")}
    return {"operationId": "health", "summary": "Whether the edge serves, and what fails.", "responses": responses}


def _json(description: str, name: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(name)}}}


def _problem(description: str, *, retry: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    if retry:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "required": True}}
    return answer


def _with_size(answer: dict[str, Any]) -> dict[str, Any]:
    properties = {**answer["properties"], "body_size_bytes": {"type": "integer"}}
    return {**answer, "title": "Admitted", "properties": properties, "required": [*answer["required"], "receipt", "body_size_bytes"]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}

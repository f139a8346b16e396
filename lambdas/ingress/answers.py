"""What the edge answers, and how it looks in an API Gateway response (domain.md 2.10)."""

from typing import Any, TypeAlias

import msgspec

from ingress.inspection import Detail
from ingress.receipt import Decision, Receipt
from laws.reasons import Reason

Response: TypeAlias = dict[str, Any]
"""An API Gateway HTTP API response, payload format 2.0."""

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_ENCODER = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one item. `decision` is None where the edge did not come to judge (401, 404, 413)."""

    decision: Decision | None
    status: int
    event_id: str | None
    receipt: Receipt | None = None
    receipt_ref: str | None = None
    correlation_echo: dict[str, str] | None = None
    reason_codes: tuple[Reason, ...] = ()
    detail: Detail | None = None
    quarantine_id: str | None = None
    retry_after_s: int | None = None


def retry(reason: Reason, event_id: str | None, advice: str, *, after_s: int = 1, status: int = 503) -> Answer:
    """Nothing is decided: the same event may be sent again after `after_s` seconds."""
    detail = Detail("event_id", event_id, advice)
    return Answer(Decision.RETRY, status, event_id, reason_codes=(reason,), detail=detail, retry_after_s=after_s)


def rejected(status: int, reason: Reason, field: str, value: str | int | None, advice: str) -> Answer:
    """A request that was not looked into."""
    return Answer(None, status, None, reason_codes=(reason,), detail=Detail(field, value, advice))


def not_found() -> Response:
    """The response to a path or method that the edge does not have."""
    detail = {"field": "path", "value": None, "advice": "POST /v1/ingest/push or GET /v1/ops/health"}
    return response(404, {"type": "about:blank", "title": "Not found", "status": 404, "detail": detail}, _PROBLEM)


def single(answer: Answer, body_size_bytes: int) -> Response:
    """The response to one envelope, or to a request that failed as a whole."""
    if answer.receipt is not None:
        return response(answer.status, msgspec.to_builtins(answer) | {"body_size_bytes": body_size_bytes})
    reason = answer.reason_codes[0]
    problem = {"type": f"urn:fp:reason:{reason}", "title": reason.replace("_", " ").capitalize()} | msgspec.to_builtins(answer)
    headers = {} if answer.retry_after_s is None else {"retry-after": str(answer.retry_after_s)}
    return response(answer.status, problem, _PROBLEM, headers)


def many(answers: list[Answer], body_size_bytes: int) -> Response:
    """The response to an array: each item has its own status, in the order of the array."""
    return response(200, {"items": answers, "body_size_bytes": body_size_bytes})


def response(status: int, body: Any, content_type: str = _JSON, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return {
        "statusCode": status,
        "headers": {"content-type": content_type} | (headers or {}),
        "body": _ENCODER.encode(body).decode(),
        "isBase64Encoded": False,
    }

"""What the edge answers, and how it looks in an API Gateway response (domain.md 2.10)."""

import re
from typing import Any, TypeAlias

import msgspec

from ingress.inspection import Detail
from ingress.receipt import Decision, Receipt
from laws.reasons import Reason

Response: TypeAlias = dict[str, Any]
"""An API Gateway HTTP API response, payload format 2.0."""

_JSON = "application/json"
_PROBLEM = "application/problem+json"
HINT_HEADER = "idempotency-key"
"""A hint and never the identity: it comes back with the answer, so that a client can match the two, and nothing is decided by it."""
_HINT = re.compile(r"[\x21-\x7e]{1,256}")
_ENCODER = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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


def rejected(status: int, reason: Reason, field: str, value: str | int | None, advice: str, event_id: str | None = None) -> Answer:
    """A request that was not looked into, or an item that can't be carried."""
    return Answer(None, status, event_id, reason_codes=(reason,), detail=Detail(field, value, advice))


def not_found() -> Response:
    """The response to a path or method that the edge does not have."""
    return _problem("NOT_FOUND", {"status": 404, "field": "path", "value": None, "detail": "POST /v1/ingest/push or GET /v1/ops/health"})


def wrong_method(allowed: str) -> Response:
    """The response to a method that a path of the edge does not have."""
    members = {"status": 405, "field": "method", "value": None, "detail": f"send {allowed}"}
    return _problem("METHOD_NOT_ALLOWED", members, {"allow": allowed})


def single(answer: Answer, body_size_bytes: int, hint: str = "") -> Response:
    """The response to one envelope, or to a request that failed as a whole."""
    headers = {HINT_HEADER: hint} if _HINT.fullmatch(hint) else {}
    if answer.receipt is not None:
        return response(answer.status, msgspec.to_builtins(answer) | {"body_size_bytes": body_size_bytes}, headers=headers)
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    detail = answer.detail
    assert detail is not None  # whatever is not admitted says why
    members = msgspec.to_builtins(answer) | {"field": detail.field, "value": detail.value, "detail": detail.advice}
    return _problem(answer.reason_codes[0], members, headers)


def _problem(reason: str, members: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A problem after RFC 9457 that names field, value and reason."""
    head = {"type": f"urn:fp:reason:{reason}", "title": reason.replace("_", " ").capitalize(), "reason": reason}
    return response(members["status"], head | members, _PROBLEM, headers)


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

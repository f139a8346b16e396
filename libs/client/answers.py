"""What the edge says of one item, whether it came alone, in an array, or not at all."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

ADMITTED = frozenset({"ADMIT", "DUPLICATE"})
_RETRY = frozenset({408, 429})
NO_ANSWER = 0
"""The status where there was no answer: nothing is known of what was sent."""


class Answer(NamedTuple):
    """One answer. `body` is what the edge said, in its own words."""

    status: int
    decision: str | None
    reasons: tuple[str, ...]
    retry_after_s: float | None
    body: dict[str, Any]

    @property
    def is_final(self) -> bool:
        """Whether sending the same item again would change nothing."""
        return self.is_admitted or not (self.status == NO_ANSWER or self.status >= 500 or self.status in _RETRY)

    @property
    def is_admitted(self) -> bool:
        """Whether the event stands on the bus."""
        return self.decision in ADMITTED


def told(body: Mapping[str, Any]) -> str:
    """One refusal in a line: which event, why, which field, its value, and what to do about it."""
    detail = body.get("detail")
    # An item of an array has its detail apart, a problem (RFC 9457) has it among its members.
    said = detail if isinstance(detail, Mapping) else {"field": body.get("field"), "value": body.get("value"), "advice": detail}
    field, value, advice = said.get("field"), said.get("value"), said.get("advice")
    place = f"{field} = {json.dumps(value, ensure_ascii=False)}" if field else "the body"
    reasons = ", ".join(body.get("reason_codes") or ["no reason was given"])
    return f"{body.get('event_id') or 'an event without a readable id'}: {reasons}: {place}: {advice or 'look into the answer'}"


def answer_of(status: int, body: dict[str, Any], retry_after: str | None = None) -> Answer:
    """The answer in a response, or in an item of one."""
    waits = body.get("retry_after_s", retry_after)
    try:
        retry_after_s = None if waits is None else max(0.0, float(waits))
    except (TypeError, ValueError):
        retry_after_s = None  # a date, which the edge does not send but something between may
    return Answer(status, body.get("decision"), tuple(body.get("reason_codes") or ()), retry_after_s, body)

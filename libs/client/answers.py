"""What the edge says of one item, whether it came alone, in an array, or not at all."""

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


def answer_of(status: int, body: dict[str, Any], retry_after: str | None = None) -> Answer:
    """The answer in a response, or in an item of one."""
    waits = body.get("retry_after_s", retry_after)
    try:
        retry_after_s = None if waits is None else max(0.0, float(waits))
    except (TypeError, ValueError):
        retry_after_s = None  # a date, which the edge does not send but something between may
    return Answer(status, body.get("decision"), tuple(body.get("reason_codes") or ()), retry_after_s, body)

"""What the world gives to a run, step by step: bodies for the edge, and records put straight onto a topic."""

from enum import StrEnum

import msgspec

from testkit.world.identity import Identity


class EdgeKind(StrEnum):
    """Why a body is sent to the edge."""

    VALID = "valid"
    DUPLICATE = "duplicate"
    CHANGED_PAYLOAD = "changed_payload"
    MISSING_PINS = "missing_pins"
    UNKNOWN_TYPE = "unknown_type"
    BAD_SCHEMA = "bad_schema"
    UNKNOWN_FIELD = "unknown_field"
    FOREIGN_RUN = "foreign_run"
    UNAUTHORISED = "unauthorised"
    BAD_JSON = "bad_json"
    DUPLICATE_KEY = "duplicate_key"
    INEXACT_NUMBER = "inexact_number"
    OVERSIZE = "oversize"


class TopicKind(StrEnum):
    """Why a record is put onto a topic behind the edge's back."""

    DUPLICATE = "duplicate"
    CHANGED_PAYLOAD = "changed_payload"


class Answer(StrEnum):
    """The class of the edge's final answer (domain.md 2.7, 2.10). 503 is never final: the producer sends again."""

    ADMITTED = "admitted"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


class Credential(StrEnum):
    """What the producer shows to the edge."""

    VALID = "valid"
    WRONG = "wrong"
    MISSING = "missing"


class Expected(msgspec.Struct, frozen=True):
    """The final answer that the edge owes: its class, its HTTP status, and for quarantine the reason code (domain.md 2.12)."""

    answer: Answer
    status: int
    reason: str | None = None


_ENVELOPE_INVALID = Expected(Answer.QUARANTINED, 400, "ENVELOPE_INVALID")

EXPECTED: dict[EdgeKind, Expected] = {
    EdgeKind.VALID: Expected(Answer.ADMITTED, 202),
    EdgeKind.DUPLICATE: Expected(Answer.DUPLICATE, 202),
    EdgeKind.CHANGED_PAYLOAD: Expected(Answer.QUARANTINED, 400, "PAYLOAD_HASH_MISMATCH"),
    EdgeKind.MISSING_PINS: Expected(Answer.QUARANTINED, 400, "PINS_MISSING"),
    EdgeKind.UNKNOWN_TYPE: Expected(Answer.QUARANTINED, 400, "SCHEMA_POLICY_MISSING"),
    EdgeKind.BAD_SCHEMA: Expected(Answer.QUARANTINED, 400, "SCHEMA_FAIL"),
    EdgeKind.UNKNOWN_FIELD: _ENVELOPE_INVALID,
    EdgeKind.FOREIGN_RUN: Expected(Answer.QUARANTINED, 400, "RUN_UNKNOWN"),
    EdgeKind.UNAUTHORISED: Expected(Answer.REJECTED, 401),
    EdgeKind.BAD_JSON: _ENVELOPE_INVALID,
    EdgeKind.DUPLICATE_KEY: _ENVELOPE_INVALID,
    EdgeKind.INEXACT_NUMBER: _ENVELOPE_INVALID,
    EdgeKind.OVERSIZE: Expected(Answer.REJECTED, 413),
}
"""The answer to each kind. A duplicate or changed payload gets its answer once the edge has answered for the original."""


class EdgeSend(msgspec.Struct, frozen=True):
    """One POST to the edge.

    identity names the event (for a duplicate or a changed payload: the original); it is None if the body can't be read.
    at_us is the world time of the send, ts_us the event's own time, both microseconds.
    changed_payload is the payload of a CHANGED_PAYLOAD body, the input of its differing hash together with event_type.
    flow_id is beside the body for those who know the truth; notes say what is odd about the event's way here.
    """

    kind: EdgeKind
    envelope: bytes
    at_us: int
    ts_us: int
    event_type: str
    identity: Identity | None
    flow_id: str
    traceparent: str
    is_trigger: bool = False
    credential: Credential = Credential.VALID
    changed_payload: dict[str, object] | None = None
    notes: tuple[str, ...] = ()

    @property
    def expected(self) -> Expected:
        """The final answer that the edge owes to this body."""
        return EXPECTED[self.kind]


class TopicInject(msgspec.Struct, frozen=True):
    """One record put straight onto the topic of an event that was sent before, behind it in the same partition.

    For DUPLICATE the run publishes the admitted bytes of `of` once more. For CHANGED_PAYLOAD it publishes them with this
    payload instead.
    """

    kind: TopicKind
    of: Identity
    event_type: str
    at_us: int
    traceparent: str
    payload: dict[str, object] | None = None


Step = EdgeSend | TopicInject

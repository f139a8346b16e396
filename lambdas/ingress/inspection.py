"""From bytes to a candidate for admission, or the reason why not (domain.md 2.8, the steps before the store). Pure.

A lawful item is read by its types, at a third of the cost. The typed way never refuses, it declines; what it declines is read strictly,
by the one reader that names faults.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from ingress.policy import DOORS, LEAK_PREFIXES
from laws.canonical import canonical_json
from laws.catalogue import EventType, Refusal, check_envelope
from laws.contracts.world import LEAK_FIELDS
from laws.envelope import Envelope, decode_envelope
from laws.headers import RUNTIME_LANES
from laws.identity import Identity, dedupe_key
from laws.payload_hash import payload_hash
from laws.reasons import Reason
from laws.strict_json import DUPLICATE_KEY, NUMBER_NOT_EXACT, StrictJsonError, parse_strict
from laws.times import parse_instant
from laws.topics import Topic

# What strict reading refuses is an invalid envelope (domain.md 2.12); the second code says in what way.
_FINER_CODES = {DUPLICATE_KEY: Reason.DUPLICATE_KEY, NUMBER_NOT_EXACT: Reason.NUMBER_NOT_EXACT}
_MAX_SEED = 2**64 - 1
_EXCERPT_CHARS = 64
_MAX_VERSION_CHARS = 64  # laws.fields.SchemaVersion

_CONTRACTS: dict[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(event_type.contract) for name, event_type in DOORS.items()}
_SORTED = msgspec.json.Encoder(order="sorted").encode
_TEXTS = len(Envelope.__struct_fields__) - 1  # all but the payload; what an envelope lacks is None, and is not written
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_DAYS = 512  # remembered: the events of an array are of few days
_AT = re.compile(r" - at `\$([^`]*)`\Z")
_NAMED_FIELD = re.compile(r"(?:required|unknown) field `([^`]*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


class Detail(msgspec.Struct, frozen=True):
    """What is wrong, for the producer: which field, its value as it came (shortened), and what to do."""

    field: str
    value: str | int | float | bool | None
    advice: str


@dataclass(frozen=True, slots=True)
class Known:
    """As much of an item as could be read. The whole item is `raw`; `head` is its envelope without the payload."""

    raw: bytes
    head: dict[str, Any] = field(default_factory=dict)
    payload: bytes | None = None
    event_type: EventType | None = None

    def text(self, name: str) -> str:
        """A field of the envelope, or "" where there is none that a key could hold."""
        value = self.head.get(name)
        return value[:256] if isinstance(value, str) else ""

    @property
    def event_class(self) -> str:
        """The class, or "" while the type is not known."""
        return self.event_type.event_class.value if self.event_type else ""

    @property
    def raw_digest(self) -> str:
        """SHA-256 (hex64) of the item's bytes as they came: tells malformed bodies apart (domain.md 2.11)."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def payload_hash(self) -> str:
        """The payload hash (hex64), or "" where type, version or payload is not known."""
        version = self.head.get("schema_version")
        # The hash keeps what it met of types and versions: one of a megabyte may not get that far.
        lawful = version is None or (isinstance(version, str) and len(version) <= _MAX_VERSION_CHARS)
        if self.event_type is None or self.payload is None or not lawful:
            return ""
        return payload_hash(self.event_type.name, self.payload, version).hex()


class Refused(NamedTuple):
    """An item that policy refuses. The first reason is the code of domain.md 2.12, others are finer."""

    reasons: tuple[Reason, ...]
    detail: Detail
    known: Known


class Candidate(NamedTuple):
    """A lawful event, with everything derived from it that admission needs. `payload` is canonical; the envelope's may be as it came."""

    raw: bytes
    envelope: Envelope
    event_type: EventType
    topic: Topic
    payload: bytes
    identity: Identity
    payload_hash: bytes
    dedupe_key: str
    key: bytes
    partition: int

    @property
    def known(self) -> Known:
        """The item as a refusal keeps it. It is read again for that, since only a mismatch asks."""
        document = parse_strict(self.raw)
        assert isinstance(document, dict)  # else it were no candidate
        return Known(self.raw, _head(document), self.payload, self.event_type)


def split(body: bytes, content_type: str = "") -> list[bytes] | Refused | None:
    """The items of an array or of lines (NDJSON) as they stand, None if the body is one envelope, or why it can't be taken apart.

    Apart first and read strictly then, so that a number which one item can't say does not refuse its neighbours.
    """
    if content_type.partition(";")[0].strip().lower() in _LINES:
        return [line for line in body.split(b"\n") if line.strip(b" \t\r")]
    if body.lstrip(b" \t\r\n")[:1] != b"[":
        return None
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, RecursionError) as error:
        detail = Detail("", None, f"send a JSON array of envelopes: {error}")
        return Refused((Reason.ENVELOPE_INVALID, Reason.MALFORMED_JSON), detail, Known(body))


def inspect(raw: bytes, active_run: str) -> Candidate | Refused:
    """The candidate that one item is, or the first reason to refuse it."""
    return inspect_typed(raw, active_run) or inspect_strictly(raw, active_run)


def inspect_typed(raw: bytes, active_run: str) -> Candidate | None:
    """The candidate of an item that its types alone can judge; None where only strict reading can tell.

    A typed reader silently takes the last of two equal keys. Where no quote is escaped every quote delimits a key or a text, so a
    key that was dropped took quotes with it: as many quotes written as were read mean that none was. Contracts know no
    number but bounded integers, and a typed reader takes no other literal for one (1.0 and 1e2 are declined): all are exact.
    """
    if b"\\" in raw:
        return None
    try:
        envelope = decode_envelope(raw)
        contract = _CONTRACTS.get(envelope.event_type)
        if contract is None:
            return None
        body = contract.decode(envelope.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    payload = _SORTED(body)
    if raw.count(b'"') != _quotes(envelope, payload):
        return None
    event_type = DOORS[envelope.event_type]
    topic = event_type.topic
    lawful = envelope.platform_run_id == active_run and _beyond_the_schema(envelope) is None and check_envelope(envelope) is event_type
    if topic is None or not lawful or not _in_calendar(body.ts_utc):
        return None
    key = topic.key.key_of(envelope.event_id, body)
    return None if key is None else _candidate(raw, envelope, event_type, topic, payload, key)


def _quotes(envelope: Envelope, payload: bytes) -> int:
    """Quotes of an envelope as it is written: four for each text and its name, two for the payload's name, and the payload's own."""
    texts = _TEXTS - astuple(envelope).count(None)
    return 4 * texts + 2 + payload.count(b'"')


def inspect_strictly(raw: bytes, active_run: str) -> Candidate | Refused:
    """The candidate that one item is, or the first reason to refuse it, read by the one reader that tells every fault."""
    try:
        document = parse_strict(raw)
    except StrictJsonError as error:
        reasons = (Reason.ENVELOPE_INVALID, _FINER_CODES.get(error.reason, Reason.MALFORMED_JSON))
        return Refused(reasons, Detail(error.path, error.excerpt, _strict_advice(error)), Known(raw))
    if not isinstance(document, dict):
        return _invalid(Known(raw), "", document, "send one envelope as a JSON object")
    head = _head(document)
    has_payload = "payload" in document
    payload_value = document.get("payload")
    known = Known(raw, head, canonical_json(payload_value) if has_payload else None, _type_of(head))
    try:
        envelope = msgspec.convert(head, Envelope)
    except msgspec.ValidationError as error:
        name, value = _place(error, head)
        return _invalid(known, name, value, _message(error))
    if has_payload and not isinstance(payload_value, dict):
        return _invalid(known, "payload", payload_value, "send the payload as a JSON object")
    if fault := _beyond_the_schema(envelope):
        return _invalid(known, *fault)
    checked = check_envelope(envelope)
    if isinstance(checked, Refusal):
        return _refused(known, checked.reason, checked.field, checked.value, checked.advice)
    if envelope.platform_run_id != active_run:
        advice = f"the active run is {active_run}: send events of that run"
        return _refused(known, Reason.RUN_UNKNOWN, "platform_run_id", envelope.platform_run_id, advice)
    return _of_type(checked, known, envelope, payload_value)


def _of_type(event_type: EventType, known: Known, envelope: Envelope, payload: Any) -> Candidate | Refused:
    topic = event_type.topic
    if topic is None or event_type.name not in DOORS:
        advice = f"this type has a writer of its own; the edge takes {', '.join(DOORS)}"
        return _refused(known, Reason.EVENT_TYPE_NOT_ALLOWED, "event_type", event_type.name, advice)
    if known.payload is None:
        return _refused(known, Reason.SCHEMA_FAIL, "payload", None, "send a payload after the contract of the type")
    if leaks := sorted(name for name in payload if name in LEAK_FIELDS or name.startswith(LEAK_PREFIXES)):
        advice = "truth and future-derived columns may not enter a live lane: strip them at the source"
        return _refused(known, Reason.SCHEMA_FAIL, f"payload.{leaks[0]}", payload[leaks[0]], advice)
    try:
        body = _CONTRACTS[event_type.name].decode(known.payload)
    except msgspec.ValidationError as error:
        name, value = _place(error, payload)
        return _refused(known, Reason.SCHEMA_FAIL, f"payload.{name}" if name else "payload", value, _message(error))
    if not _in_calendar(body.ts_utc):
        return _refused(known, Reason.SCHEMA_FAIL, "payload.ts_utc", body.ts_utc, "no calendar has this date")
    key = topic.key.key_of(envelope.event_id, payload)
    if key is None:
        wanted = " or ".join("+".join(".".join(path) for path in paths) for paths in topic.key.alternatives)
        return _refused(known, Reason.PARTITION_KEY_MISSING, "payload", None, f"the bus key is made of {wanted}")
    return _candidate(known.raw, envelope, event_type, topic, known.payload, key)


def _candidate(raw: bytes, envelope: Envelope, event_type: EventType, topic: Topic, payload: bytes, key: bytes) -> Candidate:
    assert envelope.platform_run_id is not None  # check_envelope: every type of DOORS requires the pin
    identity = Identity(envelope.platform_run_id, event_type.event_class, envelope.event_id)
    return Candidate(
        raw,
        envelope,
        event_type,
        topic,
        payload,
        identity,
        payload_hash(event_type.name, payload, envelope.schema_version),
        dedupe_key(identity),
        key,
        topic.partition(key),
    )


def _head(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "payload"}


def _type_of(head: dict[str, Any]) -> EventType | None:
    name = head.get("event_type")
    return DOORS.get(name) if isinstance(name, str) else None


def _beyond_the_schema(envelope: Envelope) -> tuple[str, Any, str] | None:
    """What patterns can't say, and what a consumer behind the edge would stumble over."""
    for name in ("ts_utc", "emitted_at_utc"):
        moment = getattr(envelope, name)
        if moment is not None and not _in_calendar(moment):
            return name, moment, "no calendar has this date"
    if envelope.seed is not None and int(envelope.seed) > _MAX_SEED:
        return "seed", envelope.seed, f"a seed is at most {_MAX_SEED}"
    if envelope.runtime_lane is not None and envelope.runtime_lane not in RUNTIME_LANES:
        return "runtime_lane", envelope.runtime_lane, f"leave it out, or send one of {', '.join(sorted(RUNTIME_LANES))}"
    return None


def _in_calendar(moment: str) -> bool:
    return _is_day(moment[:10])  # the pattern of an instant leaves nothing else to be wrong


@lru_cache(maxsize=_DAYS)
def _is_day(day: str) -> bool:
    try:
        parse_instant(f"{day}T00:00:00.000000Z")
    except ValueError:
        return False
    return True


def _invalid(known: Known, name: str, value: Any, advice: str) -> Refused:
    return _refused(known, Reason.ENVELOPE_INVALID, name, value, advice)


def _refused(known: Known, reason: Reason, name: str, value: Any, advice: str) -> Refused:
    return Refused((reason,), Detail(name, shown(value), advice), known)


def shown(value: Any) -> str | int | float | bool | None:
    """A value as a producer recognises it: scalars as they are, texts shortened, containers by their size."""
    if isinstance(value, dict):
        return f"object of {len(value)}"
    if isinstance(value, list):
        return f"array of {len(value)}"
    if isinstance(value, str) and len(value) > _EXCERPT_CHARS:
        return value[:_EXCERPT_CHARS] + "..."
    assert value is None or isinstance(value, str | int | float | bool)
    return value


def _place(error: msgspec.ValidationError, document: Any) -> tuple[str, Any]:
    """Which field of `document` an error of msgspec is about, and its value (None where it is missing)."""
    text = str(error)
    at = _AT.search(text)
    steps: list[str | int] = [int(index) if index else name for name, index in _STEP.findall(at[1] if at else "")]
    if named := _NAMED_FIELD.search(text):
        steps.append(named[1])
    value = document
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        else:
            value = value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
    return ".".join(map(str, steps)), value


def _message(error: msgspec.ValidationError) -> str:
    return _AT.sub("", str(error))


def _strict_advice(error: StrictJsonError) -> str:
    if error.reason == NUMBER_NOT_EXACT:
        return "no double has this value: send it as a string, or with fewer digits"
    if error.reason == DUPLICATE_KEY:
        return "send every key of an object once"
    return f"send JSON after RFC 8259 in UTF-8: {error.reason}" + (f" at byte {error.offset}" if error.offset is not None else "")

"""The canonical event envelope (domain.md 2.1). Unknown fields are refused; the payload is kept as the bytes that arrived."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from laws.canonical import canonical_json
from laws.fields import EventId, Hex32, Hex64, Instant, Label, Name, PlatformRunId, SchemaVersion, UInt64Text


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event. `payload` is the raw slice of canonical JSON: hashed and decoded as it stands, never re-serialised.

    The schema leaves the pins optional; the class of the event makes them mandatory (`laws.catalogue.EVENT_TYPES`).
    """

    event_id: EventId
    event_type: Name
    ts_utc: Instant
    manifest_fingerprint: Hex64
    parameter_hash: Hex64 | None = None
    seed: UInt64Text | None = None
    scenario_id: Name | None = None
    run_id: Hex32 | None = None
    platform_run_id: PlatformRunId | None = None
    scenario_run_id: Hex32 | None = None
    emitted_at_utc: Instant | None = None
    schema_version: SchemaVersion | None = None
    phase_id: Label | None = None
    runtime_lane: Label | None = None
    traceparent: Label | None = None
    tracestate: str | None = None
    trace_id: Label | None = None
    span_id: Label | None = None
    parent_event_id: EventId | None = None
    producer: Label | None = None
    payload: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(Envelope)


class _Plain(Envelope, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The same fields without their bounds: reading it costs a quarter. What it reads is checked before it is handed out."""

    event_id: str
    event_type: str
    ts_utc: str
    manifest_fingerprint: str
    parameter_hash: str | None = None
    seed: str | None = None
    scenario_id: str | None = None
    run_id: str | None = None
    platform_run_id: str | None = None
    scenario_run_id: str | None = None
    emitted_at_utc: str | None = None
    schema_version: str | None = None
    phase_id: str | None = None
    runtime_lane: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_event_id: str | None = None
    producer: str | None = None
    payload: msgspec.Raw = msgspec.Raw()


_read_plain: Final = msgspec.json.Decoder(_Plain).decode

# What the events of a run share: some hundred combinations a run, judged once each. Bounded, for whoever sends others.
_SHARED_FIELDS: Final = (
    "event_type",
    "manifest_fingerprint",
    "parameter_hash",
    "seed",
    "scenario_id",
    "run_id",
    "platform_run_id",
    "scenario_run_id",
    "schema_version",
    "phase_id",
    "runtime_lane",
    "producer",
)
_COMBINATIONS: Final = 1024
SharedFields: TypeAlias = tuple[str | None, ...]
shared_fields: Callable[[Envelope], SharedFields] = attrgetter(*_SHARED_FIELDS)
"""The values of an envelope that it has in common with the others of its run, type and producer: a key for what is judged once."""

_is_instant = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z").fullmatch
K = TypeVar("K")
_NOTHING_KNOWN: Final[Mapping[SharedFields, None]] = {}


def decode_envelope(raw: bytes) -> Envelope:
    """Raises msgspec.ValidationError (names the field) or msgspec.DecodeError."""
    return decode_known(raw, _NOTHING_KNOWN)[0]


def decode_known(raw: bytes, known: Mapping[SharedFields, K]) -> tuple[Envelope, K | None]:
    """The envelope, and what its reader keeps of the fields that it shares with others: one look-up says both.

    Keys of `known` must be those of envelopes that were decoded here: they are not judged again. Raises as decode_envelope does.
    """
    try:
        envelope = _read_plain(raw)
    except msgspec.MsgspecError:
        return _DECODER.decode(raw), None
    shared = shared_fields(envelope)
    found = known.get(shared)
    if (found is not None or _shared_fields_are_lawful(shared)) and _own_fields_are_lawful(envelope):
        return envelope, found
    return _DECODER.decode(raw), None


@lru_cache(maxsize=_COMBINATIONS)
def _shared_fields_are_lawful(values: SharedFields) -> bool:
    """Judged by the envelope's own declaration, with lawful fields in the places of the others."""
    present = {name: value for name, value in zip(_SHARED_FIELDS, values, strict=True) if value is not None}
    try:
        msgspec.convert({**present, "event_id": "e", "ts_utc": "2026-01-01T00:00:00.000000Z"}, Envelope)
    except msgspec.ValidationError:
        return False
    return True


def _own_fields_are_lawful(envelope: Envelope) -> bool:
    if not 0 < len(envelope.event_id) <= 256 or _is_instant(envelope.ts_utc) is None:
        return False
    return (
        ((emitted_at := envelope.emitted_at_utc) is None or _is_instant(emitted_at) is not None)
        and ((traceparent := envelope.traceparent) is None or 0 < len(traceparent) <= 128)
        and ((trace_id := envelope.trace_id) is None or 0 < len(trace_id) <= 128)
        and ((span_id := envelope.span_id) is None or 0 < len(span_id) <= 128)
        and ((parent := envelope.parent_event_id) is None or 0 < len(parent) <= 256)
    )


_TEXT: Final = frozenset({str, type(None)})
# An envelope's members in the order of their names, which is the canonical one: written as they stand, None left out.
_Ordered = msgspec.defstruct(
    "_Ordered",
    [(name, msgspec.Raw, msgspec.Raw()) if name == "payload" else (name, str | None, None) for name in sorted(Envelope.__struct_fields__)],
    kw_only=True,
    omit_defaults=True,
    gc=False,
)
_ORDERED_NAMES: Final = frozenset(_Ordered.__struct_fields__) - {"payload"}
_write: Final = msgspec.json.Encoder().encode


def encode_envelope(fields: dict[str, Any], payload: bytes) -> bytes:
    """Canonical bytes of an envelope whose payload is already canonical; None fields are left out.

    The payload's bytes go in as they stand: the value that was hashed is the value on the bus.
    """
    if _TEXT.issuperset(map(type, fields.values())) and _ORDERED_NAMES.issuperset(fields):
        encoded = _write(_Ordered(payload=msgspec.Raw(payload), **fields))
        # All of it ASCII: this is canonical then (laws.encode). Anything else goes the general way.
        if encoded.isascii():
            return encoded
    present = {name: value for name, value in fields.items() if value is not None}
    head = canonical_json({name: value for name, value in present.items() if name < "payload"})
    tail = canonical_json({name: value for name, value in present.items() if name > "payload"})
    inner = b",".join(part for part in (head[1:-1], b'"payload":' + payload, tail[1:-1]) if part)
    return b"{" + inner + b"}"


class EnvelopeForm:
    """What the envelopes of one type, run and producer have in common, put down once: one is written from it at a third of its cost."""

    def __init__(self, fields: dict[str, str | None]) -> None:
        self._form = _Ordered(**fields)

    def encode(self, payload: bytes, *, event_id: str, ts_utc: str, emitted_at_utc: str, traceparent: str, parent_event_id: str) -> bytes:
        """What encode_envelope gives for the form's fields and these."""
        filled_in = replace(
            self._form,
            payload=msgspec.Raw(payload),
            event_id=event_id,
            ts_utc=ts_utc,
            emitted_at_utc=emitted_at_utc,
            traceparent=traceparent,
            parent_event_id=parent_event_id,
        )
        encoded = _write(filled_in)
        if encoded.isascii():
            return encoded
        return encode_envelope({name: getattr(filled_in, name) for name in _ORDERED_NAMES}, payload)

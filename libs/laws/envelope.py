"""The canonical event envelope (domain.md 2.1). Unknown fields are refused; the payload is kept as the bytes that arrived."""

from typing import Any

import msgspec

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


def decode_envelope(raw: bytes) -> Envelope:
    """Raises msgspec.ValidationError (names the field) or msgspec.DecodeError."""
    return _DECODER.decode(raw)


def encode_envelope(fields: dict[str, Any], payload: bytes) -> bytes:
    """Canonical bytes of an envelope whose payload is already canonical; None fields are left out.

    The payload's bytes go in as they stand: the value that was hashed is the value on the bus.
    """
    head = canonical_json({name: value for name, value in fields.items() if value is not None and name < "payload"})
    tail = canonical_json({name: value for name, value in fields.items() if value is not None and name > "payload"})
    inner = b",".join(part for part in (head[1:-1], b'"payload":' + payload, tail[1:-1]) if part)
    return b"{" + inner + b"}"

"""Events that the edge itself writes to the audit topic: anomalies and spikes of refusals. Pure."""

from typing import Any, NamedTuple

from ingress.policy import WRITER
from ingress.record import Record
from laws.catalogue import EventType
from laws.envelope import encode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import AUDIT
from laws.trace_context import child, derive_span_id, parse_traceparent


class Origin(NamedTuple):
    """What an event of the edge is about, and when that was."""

    ts_utc: str
    emitted_at_utc: str
    manifest_fingerprint: str
    parameter_hash: str | None
    seed: str | None
    scenario_id: str | None
    parent_event_id: str | None
    correlation: Correlation
    provenance: Provenance


def own_record(event_type: EventType, event_id: str, payload: bytes, body: dict[str, Any], origin: Origin) -> Record:
    """The record; `payload` is the canonical form of `body`."""
    parent = parse_traceparent(origin.correlation.traceparent)
    assert parent is not None  # the edge wrote it
    place = child(parent, derive_span_id(parent.trace_id, WRITER, event_id))
    correlation = origin.correlation._replace(traceparent=place.header(), event_id=event_id, runtime_lane=WRITER)
    value = encode_envelope(
        {
            "event_id": event_id,
            "event_type": event_type.name,
            "ts_utc": origin.ts_utc,
            "manifest_fingerprint": origin.manifest_fingerprint,
            "parameter_hash": origin.parameter_hash,
            "seed": origin.seed,
            "scenario_id": origin.scenario_id,
            "platform_run_id": correlation.platform_run_id,
            "scenario_run_id": correlation.scenario_run_id,
            "emitted_at_utc": origin.emitted_at_utc,
            "schema_version": event_type.schema_versions[-1],
            "phase_id": correlation.phase_id,
            "runtime_lane": WRITER,
            "traceparent": correlation.traceparent,
            "tracestate": correlation.tracestate or None,
            "parent_event_id": origin.parent_event_id,
            "producer": WRITER,
        },
        payload,
    )
    key = AUDIT.key.key_of(event_id, body)
    assert key is not None  # the recipe ends in event_id, which every event has
    headers = [*correlation.headers(), *origin.provenance.headers()]
    return Record(AUDIT.name, AUDIT.partition(key), key, value, headers)

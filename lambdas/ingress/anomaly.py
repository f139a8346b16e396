"""The corridor_anomaly of a quarantined payload mismatch: a pure function of what the quarantine row keeps (domain.md 2.6, 10.6)."""

import msgspec

from ingress.policy import WRITER
from ingress.record import Record
from laws.catalogue import CORRIDOR_ANOMALY
from laws.contracts.audit import CorridorAnomaly, SubjectKey
from laws.coordinates import OriginOffset
from laws.encode import canonical_struct
from laws.envelope import encode_envelope
from laws.headers import Correlation, Provenance
from laws.ids import anomaly_event_id
from laws.reasons import Reason
from laws.topics import AUDIT
from laws.trace_context import child, derive_span_id, parse_traceparent


class Mismatch(msgspec.Struct, frozen=True):
    """Everything that the anomaly is made of. Kept in the quarantine row, so that every copy of the anomaly has the same bytes."""

    platform_run_id: str
    event_class: str
    event_id: str
    first_payload_hash: str
    other_payload_hash: str
    first_state: str
    first_ref: OriginOffset | None
    quarantine_id: str
    ts_utc: str
    seen_at_utc: str
    manifest_fingerprint: str
    parameter_hash: str | None
    seed: str | None
    scenario_id: str | None
    correlation: Correlation
    provenance: Provenance


def anomaly_record(mismatch: Mismatch) -> Record:
    """The record for the audit topic."""
    event_id = anomaly_event_id(mismatch.platform_run_id, mismatch.event_class, mismatch.event_id, mismatch.other_payload_hash, WRITER)
    subject = SubjectKey(mismatch.platform_run_id, mismatch.event_class, mismatch.event_id)
    payload = canonical_struct(
        CorridorAnomaly(
            reason_code=Reason.PAYLOAD_HASH_MISMATCH,
            subject=subject,
            observer=WRITER,
            first_payload_hash=mismatch.first_payload_hash,
            other_payload_hash=mismatch.other_payload_hash,
            first_ref=mismatch.first_ref,
            details={"first_state": mismatch.first_state, "quarantine_id": mismatch.quarantine_id},
        )
    )
    parent = parse_traceparent(mismatch.correlation.traceparent)
    assert parent is not None  # the edge wrote it
    place = child(parent, derive_span_id(parent.trace_id, WRITER, event_id))
    correlation = mismatch.correlation._replace(traceparent=place.header(), event_id=event_id, runtime_lane=WRITER)
    value = encode_envelope(
        {
            "event_id": event_id,
            "event_type": CORRIDOR_ANOMALY.name,
            "ts_utc": mismatch.ts_utc,
            "manifest_fingerprint": mismatch.manifest_fingerprint,
            "parameter_hash": mismatch.parameter_hash,
            "seed": mismatch.seed,
            "scenario_id": mismatch.scenario_id,
            "platform_run_id": mismatch.platform_run_id,
            "scenario_run_id": correlation.scenario_run_id,
            "emitted_at_utc": mismatch.seen_at_utc,
            "schema_version": CORRIDOR_ANOMALY.schema_versions[-1],
            "phase_id": correlation.phase_id,
            "runtime_lane": WRITER,
            "traceparent": correlation.traceparent,
            "tracestate": correlation.tracestate or None,
            "parent_event_id": mismatch.event_id,
            "producer": WRITER,
        },
        payload,
    )
    key = AUDIT.key.key_of(event_id, {"subject": msgspec.to_builtins(subject)})
    assert key is not None  # the recipe ends in event_id, which every event has
    headers = [*correlation.headers(), *mismatch.provenance.headers()]
    return Record(AUDIT.name, AUDIT.partition(key), key, value, headers)

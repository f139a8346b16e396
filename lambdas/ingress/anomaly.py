"""The corridor_anomaly of a quarantined payload mismatch: a pure function of what the quarantine row keeps (domain.md 2.6, 10.6)."""

import msgspec

from ingress.own_events import Origin, own_record
from ingress.policy import WRITER
from ingress.record import Record
from laws.catalogue import CORRIDOR_ANOMALY
from laws.contracts.audit import CorridorAnomaly, SubjectKey
from laws.coordinates import OriginOffset
from laws.encode import canonical_struct
from laws.headers import Correlation, Provenance
from laws.ids import anomaly_event_id
from laws.reasons import Reason


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
    origin = Origin(
        ts_utc=mismatch.ts_utc,
        emitted_at_utc=mismatch.seen_at_utc,
        manifest_fingerprint=mismatch.manifest_fingerprint,
        parameter_hash=mismatch.parameter_hash,
        seed=mismatch.seed,
        scenario_id=mismatch.scenario_id,
        parent_event_id=mismatch.event_id,
        correlation=mismatch.correlation,
        provenance=mismatch.provenance,
    )
    return own_record(CORRIDOR_ANOMALY, event_id, payload, {"subject": msgspec.to_builtins(subject)}, origin)

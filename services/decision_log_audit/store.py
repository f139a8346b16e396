"""DLA's own tables: lineage chains under way and the audit records that close them (domain.md 7)."""

import msgspec

from laws.fields import Hex32, Hex64
from spine.tables import Mode, Table


class Chain(msgspec.Struct, frozen=True):
    """What has arrived of one decision, in whatever order. References are canonical JSON of laws.contracts.audit.EventRef.

    `decision` and `cause` are kept until the record is made, which says the same.
    """

    platform_run_id: str
    decision_id: Hex32
    chain_status: str
    unresolved_reasons: str
    decision: bytes | None
    decision_ref: bytes | None
    intent_ref: bytes | None
    outcome_ref: bytes | None
    cause: bytes | None


class AuditRow(msgspec.Struct, frozen=True):
    """One audit record: its canonical bytes and their digest."""

    audit_id: Hex32
    platform_run_id: str
    decision_id: Hex32
    source_event_id: str
    record: bytes
    record_digest: Hex64


CHAINS = Table("chain", Chain, ("platform_run_id", "decision_id"), Mode.STATE)
AUDIT_RECORDS = Table("audit_record", AuditRow, ("audit_id",), Mode.APPEND)
TABLES = (CHAINS, AUDIT_RECORDS)

"""CM's own tables: cases, their append-only timelines, and labels under way (domain.md 8.4, 8.5)."""

from enum import StrEnum

import msgspec

from laws.evidence import TimelineEventType
from laws.fields import Hex32, Hex64
from spine.tables import Mode, Table


class Case(msgspec.Struct, frozen=True):
    """One case per subject, for ever. It has no status column: status is read off the timeline."""

    case_id: Hex32
    platform_run_id: str
    subject_event_class: str
    subject_event_id: str
    first_observed_time: str
    last_observed_time: str
    trigger_count: int
    trigger_types: str
    cause: bytes
    """Of the first trigger: labels about the subject continue its trace."""


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened to a case; `payload` is canonical JSON."""

    case_timeline_event_id: Hex32
    case_id: Hex32
    timeline_event_type: TimelineEventType
    source_ref_id: str
    observed_time: str
    payload: bytes
    payload_hash: Hex64


class LabelStatus(StrEnum):
    """How far a label's handshake is."""

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class LabelEmission(msgspec.Struct, frozen=True):
    """The handshake of one label with the label store."""

    label_assertion_id: Hex32
    case_id: Hex32
    case_timeline_event_id: Hex32
    status: LabelStatus
    observed_time: str
    attempts: int
    reason: str | None
    assertion_ref: str | None


CASES = Table("cases", Case, ("case_id",), Mode.STATE)
TIMELINE = Table("timeline", TimelineEntry, ("case_timeline_event_id",), Mode.APPEND)
LABEL_EMISSIONS = Table("label_emission", LabelEmission, ("label_assertion_id",), Mode.STATE)
TABLES = (CASES, TIMELINE, LABEL_EMISSIONS)

"""LS's own table: label assertions, append-only; a correction is a new assertion (domain.md 8.6)."""

import msgspec

from laws.fields import Hex32, Hex64
from laws.labels import LabelType, SourceType
from spine.tables import Mode, Table


class Label(msgspec.Struct, frozen=True):
    """One label assertion; `assertion` is its canonical payload."""

    label_assertion_id: Hex32
    platform_run_id: str
    subject_event_id: str
    label_type: LabelType
    label_value: str
    effective_time: str
    observed_time: str
    source_type: SourceType
    actor_id: str | None
    payload_hash: Hex64
    assertion: bytes


LABELS = Table("label", Label, ("label_assertion_id",), Mode.APPEND)
TABLES = (LABELS,)

"""CaseTrigger's own table: the triggers that it published (domain.md 8.1)."""

import msgspec

from laws.fields import Hex32
from spine.tables import Mode, Table


class PublishedTrigger(msgspec.Struct, frozen=True):
    """One case trigger."""

    case_trigger_id: Hex32
    case_id: Hex32
    platform_run_id: str
    trigger_type: str
    source_ref_id: str
    subject_event_id: str


PUBLISHED = Table("published_trigger", PublishedTrigger, ("case_trigger_id",), Mode.APPEND)
TABLES = (PUBLISHED,)

"""AL's own tables: executions under way and the outcomes that ended them (domain.md 6)."""

import msgspec

from laws.fields import Hex32, Hex64
from spine.tables import Mode, Table

# States of an execution; between its calls the scheduler keeps more (domain.md 6: RESERVED, EXECUTING(n), TERMINAL).
EXECUTING = "EXECUTING"
TERMINAL = "TERMINAL"


class Execution(msgspec.Struct, frozen=True):
    """One intent by its idempotency key; `intent` holds the canonical bytes of its payload."""

    idempotency_key: Hex64
    platform_run_id: str
    intent_event_id: str
    decision_id: Hex32
    state: str
    intent: bytes


class Outcome(msgspec.Struct, frozen=True):
    """The one terminal outcome of an intent."""

    outcome_id: Hex32
    platform_run_id: str
    idempotency_key: Hex64
    decision_id: Hex32
    action_kind: str
    status: str
    terminal_state: str
    reason: str | None
    provider_ref: str | None


EXECUTIONS = Table("execution", Execution, ("idempotency_key",), Mode.STATE)
OUTCOMES = Table("outcome", Outcome, ("outcome_id",), Mode.APPEND)
TABLES = (EXECUTIONS, OUTCOMES)

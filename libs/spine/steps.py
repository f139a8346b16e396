"""Every step at which a process can die, by name. The code reports each; a test may kill, freeze or fail there.

Faults come only from FP_FAULTS, which settings refuse outside local_parity.
"""

from enum import StrEnum

from spine.step_hook import StepHook


class Step(StrEnum):
    """Steps of the transaction, of the inlets and of ownership, in the order in which they happen (runtime.md)."""

    # The records inlet.
    FETCHED = "FETCHED"
    DECODED = "DECODED"
    # The transaction, whichever inlet it serves.
    TX_BEGUN = "TX_BEGUN"
    LANE_LOCKED = "LANE_LOCKED"
    DEDUPED = "DEDUPED"
    STATE_READ = "STATE_READ"
    EFFECTS_DECIDED = "EFFECTS_DECIDED"
    EFFECTS_WRITTEN = "EFFECTS_WRITTEN"
    BEFORE_COMMIT = "BEFORE_COMMIT"
    COMMITTED = "COMMITTED"
    COMMIT_SETTLED = "COMMIT_SETTLED"
    # The publisher.
    OUTBOX_READ = "OUTBOX_READ"
    SENT = "SENT"
    PUBLISHED = "PUBLISHED"
    MARKED = "MARKED"
    # The answer inlet.
    TASK_RESERVED = "TASK_RESERVED"
    TASK_CALLED = "TASK_CALLED"
    TASK_RESCHEDULED = "TASK_RESCHEDULED"
    ANSWER_SETTLED = "ANSWER_SETTLED"
    # The command inlet.
    COMMAND_RECEIVED = "COMMAND_RECEIVED"
    COMMAND_COMMITTED = "COMMAND_COMMITTED"
    # The timer inlet.
    TIMER_DUE = "TIMER_DUE"
    # Ownership.
    STARTED = "STARTED"
    LEASE_TAKEN = "LEASE_TAKEN"
    CLAIMED = "CLAIMED"
    POSITIONED = "POSITIONED"
    RENEWED = "RENEWED"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    RELEASED = "RELEASED"
    STOPPED = "STOPPED"
    RECORDED = "RECORDED"
    LEFT = "LEFT"


_steps = StepHook[Step]()
install = _steps.install
reached = _steps.reached

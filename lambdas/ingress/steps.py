"""Every step of the edge and of its reconciler at which a process can die, by name. A test may kill, freeze or fail there."""

from enum import StrEnum

from spine.step_hook import StepHook


class Step(StrEnum):
    """In the order in which they happen. Between two of them lies at most one durable effect."""

    JUDGED = "JUDGED"
    """Lawful; nothing is written yet."""
    ROW_PUT = "ROW_PUT"
    """The row is in flight."""
    SENT = "SENT"
    """The producer has the record; the broker may have it."""
    ACKED = "ACKED"
    """The record is appended."""
    ADMITTED = "ADMITTED"
    """The row says so. Nobody is told yet."""
    AMBIGUOUS = "AMBIGUOUS"
    """The row says that nobody knows."""
    LETTER_SENT = "LETTER_SENT"
    """The reconciler is told of it."""
    TAKEN_OVER = "TAKEN_OVER"
    """The row of a holder that is gone is ours."""
    SECOND_COPY = "SECOND_COPY"
    """The row that we had lost knows of our copy."""
    REFUSAL_KEPT = "REFUSAL_KEPT"
    """The quarantine record is durable. Nobody is told yet."""
    ANOMALY_SENT = "ANOMALY_SENT"
    """The anomaly of a mismatch is on the bus; its record does not say so yet."""
    ANOMALY_NOTED = "ANOMALY_NOTED"
    """Its record says so."""
    # The reconciler.
    SEARCHED = "SEARCHED"
    """The log was read from the low-water mark to its end."""
    RESOLVED = "RESOLVED"
    """One row is settled by what the log says."""
    RELEASED = "RELEASED"
    """One row is free for the producer's retry."""


_steps = StepHook[Step]()
install = _steps.install
reached = _steps.reached

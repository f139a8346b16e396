"""The protocol with one rule left out: switches of the model, and patches of the real spine. Each must be caught, or the check is blind.

Nothing here is imported by production code; `plant` changes only the process that calls it.
"""

from enum import StrEnum


class Wrong(StrEnum):
    """One rule of runtime.md that is left out."""

    DEDUPE_OUTSIDE_TRANSACTION = "DEDUPE_OUTSIDE_TRANSACTION"
    """The inbox is written in a transaction of its own, before the one of the effects."""
    GAPS_ALLOWED = "GAPS_ALLOWED"
    """A batch may start behind the place where the lane stands."""
    MARK_WITHOUT_EPOCH = "MARK_WITHOUT_EPOCH"
    """The published mark is moved by whoever believes to own the lane."""
    MARK_PAST_UNACKNOWLEDGED = "MARK_PAST_UNACKNOWLEDGED"
    """Rows count as published once the client has taken them, before the bus has acknowledged them."""
    PLAIN_READ_AFTER_LOST_COMMIT = "PLAIN_READ_AFTER_LOST_COMMIT"
    """Whether a COMMIT without an answer is in is asked without waiting for the lane's row lock."""
    PUBLISH_BEFORE_COMMIT = "PUBLISH_BEFORE_COMMIT"
    """Outputs are sent while their transaction is open."""
    LEASE_TRUSTED = "LEASE_TRUSTED"
    """A worker applies without showing its fence, because it once had the lease."""
    TASK_WRITE_UNFENCED = "TASK_WRITE_UNFENCED"
    """What a call to the outside said is written to its pending row without showing the fence."""
    LOST_COMMIT_IS_NEW = "LOST_COMMIT_IS_NEW"
    """A command whose unanswered COMMIT is in counts as new, whatever its verdict was."""

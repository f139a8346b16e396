"""What a service may say about one input (authority.md 7.1, runtime.md finding 4)."""

from enum import StrEnum


class Verdict(StrEnum):
    """Outcome of judging one input of an inlet."""

    # Enum hashes by a function of Python; these are keys of every record's dictionaries.
    __hash__ = str.__hash__

    NEW = "NEW"
    """First sight of this identity: its effects are in the same transaction."""
    DUPLICATE = "DUPLICATE"
    """Same identity, same payload hash: nothing to do."""
    MISMATCH = "MISMATCH"
    """Same identity, another payload hash: an anomaly, recorded with evidence, never applied."""
    LOOK_AGAIN = "LOOK_AGAIN"
    """Neither inserted nor visible, because another transaction committed the key meanwhile: a second look settles it."""
    PARKED = "PARKED"
    """Kept, with its reason, until released: behind a parked key, or of an unknown or closed run."""
    POISON = "POISON"
    """Could not be decoded or applied; parked with its reason, and its key behind it."""

"""One input and what became of it in a transaction."""

from typing import Any

from laws.identity import Identity, pack_event_id
from laws.reasons import Reason
from laws.verdicts import Verdict
from spine.certificates import input_line
from spine.inputs import Input, Place, Poison

Stamp = tuple[int, int, int]
"""(lane, lane_seq, epoch) under which rows are written."""


class Judged:
    """An input under judgement."""

    __slots__ = (
        "class_no",
        "detail",
        "event_id",
        "first",
        "first_hash",
        "first_place",
        "holds_key",
        "identified",
        "item",
        "payload_hash",
        "reason",
        "run_no",
        "stamp",
        "verdict",
    )

    def __init__(self, item: Input, stamp: Stamp) -> None:
        self.item = item
        self.stamp = stamp
        self.verdict = Verdict.NEW
        self.run_no: int | None = None
        self.first_hash: bytes | None = None
        self.first_place: Place = (None, None, None)
        self.first: Judged | None = None
        """The input before it in the same transaction that has the same identity."""
        self.reason: Reason | None = None
        self.detail = ""
        self.holds_key = False
        event = item.event
        # In the inbox already: a later release applies it without judging its identity again.
        self.identified = event is not None
        self.class_no = 0 if event is None else event.identity.event_class.number
        """The number of the identity's class; 0 where there is no event."""
        self.event_id = b"" if event is None else pack_event_id(event.identity.event_id)
        """The packed event id; empty where there is no event."""
        self.payload_hash = b"" if event is None else event.payload_hash
        """The hash of the payload that came; empty where there is no event."""
        if event is None and item.poison is not None:
            self.poison(item.poison)

    @property
    def identity(self) -> Identity:
        """The dedupe identity of a record or command."""
        if self.item.event is None:
            raise ValueError(f"input {self.item.ref} has no identity")
        return self.item.event.identity

    def compare(self, row: Any) -> None:
        """Judge against the stored first sight of the identity."""
        self.first_hash = bytes(row["first_hash"])
        self.first_place = (row["first_topic_id"], row["first_partition"], row["first_offset"])
        self.verdict = Verdict.DUPLICATE if self.first_hash == self.payload_hash else Verdict.MISMATCH

    def park(self, reason: Reason, detail: str, *, holds_key: bool, identified: bool = False) -> None:
        """Keep it for a release."""
        self.verdict, self.reason, self.detail = Verdict.PARKED, reason, detail
        self.holds_key, self.identified = holds_key, identified

    def poison(self, poison: Poison) -> None:
        """Keep it with its reason, and its key behind it."""
        self.verdict, self.reason, self.detail = Verdict.POISON, poison.reason, poison.detail
        self.holds_key = True

    def line(self) -> bytes:
        """What the certificate's digest of inputs holds of this input."""
        event = self.item.event
        event_id = event.identity.event_id if event else ""
        payload_hash = event.payload_hash.hex() if event else ""
        return input_line(self.item.ref, event_id, payload_hash, self.verdict)

"""The rows that one lane's share of a transaction writes, collected while its handlers run (spine.flushing writes them)."""

from datetime import datetime, timedelta
from typing import Any

from laws.catalogue import CORRIDOR_ANOMALY
from laws.contracts.audit import CorridorAnomaly, SubjectKey
from laws.coordinates import OriginOffset
from laws.event_classes import EventClass
from laws.identity import pack_event_id
from laws.ids import anomaly_event_id
from laws.reasons import Reason
from spine.emission import OutboxRow
from spine.encoding import encode_reply
from spine.inputs import Input, Place
from spine.judged import Judged, Stamp
from spine.service import Anomaly, Append, Call, Emit, Reply, Wait

Mark = tuple[int, ...]
Pending = tuple[str, str, str, datetime, datetime | None, str | None, int | None, str | None, bytes]
"""kind, ref, key, due, cap, until_topic, until_offset, task_state, body of a wait or a call."""
AnomalyRow = tuple[Any, ...]
"""run_no, class_no, event_id, other_hash, first_hash, reason, then place of the first and place of the other."""


class Writes:
    """Collects. `leaves` holds a leaf for every row, in the order of writing; `ends` the ends of topics that waits go by."""

    def __init__(self, stamp: Stamp, at: datetime) -> None:
        self._at = at
        self.stamp = stamp
        self.outbox: list[tuple[OutboxRow, Input]] = []
        self.read_sets: list[tuple[bytes, bytes]] = []
        self.appends: list[tuple[Append, Input]] = []
        self.pending: list[Pending] = []
        self.settled: list[tuple[str, str]] = []
        self.anomalies: list[tuple[AnomalyRow, Emit, Input]] = []
        self.said: list[tuple[Reply, Input]] = []
        # What an input that failed had collected is taken back from each of these.
        self._lists: tuple[list[Any], ...] = (
            self.outbox,
            self.read_sets,
            self.appends,
            self.pending,
            self.settled,
            self.anomalies,
            self.said,
        )
        self.leaves: list[bytes] = []
        self.ends: dict[str, int] = {}

    # --- collecting; undo takes back what an input that failed had collected ---

    def mark(self) -> Mark:
        """Where the lists stand now."""
        return tuple(map(len, self._lists))

    def undo(self, mark: Mark) -> None:
        """Drop everything collected since the mark."""
        for rows, length in zip(self._lists, mark, strict=True):
            del rows[length:]

    def append(self, effect: Append, item: Input) -> None:
        """A row of an append-only table."""
        self.appends.append((effect, item))

    def emit(self, row: OutboxRow, item: Input) -> None:
        """A record to publish."""
        self.outbox.append((row, item))

    def wait(self, effect: Wait, ref: str, until_offset: int | None, body: bytes) -> None:
        """An input that waits."""
        cap = None if effect.cap is None else self._after(effect.cap)
        due = self._after(effect.seconds)
        self.pending.append((effect.kind, ref, effect.key, due, cap, effect.until_read, until_offset, None, body))

    def call(self, effect: Call, settle_seconds: float, body: bytes) -> None:
        """A call to the outside, reserved with the transaction that asks for it."""
        cap = self._after(settle_seconds)
        self.pending.append((effect.task, effect.ref, effect.ref, self._at, cap, None, None, "RESERVED", body))

    def _after(self, seconds: float) -> datetime:
        return self._at + timedelta(seconds=seconds)

    def settle(self, kind: str, ref: str) -> None:
        """A pending row that is over."""
        self.settled.append((kind, ref))

    def reply(self, effect: Reply, item: Input) -> None:
        """What the caller of a command is told."""
        self.said.append((effect, item))

    def mismatch(self, judged: Judged, observer: str) -> None:
        """The same identity with another payload hash: recorded with both hashes and both places, never applied."""
        if judged.first_hash is None or judged.run_no is None:
            raise ValueError(f"input {judged.item.ref} has no first sight to differ from")
        subject = SubjectKey(judged.identity.platform_run_id, judged.identity.event_class.value, judged.identity.event_id)
        self._anomaly(
            judged.item,
            judged.run_no,
            subject,
            Reason.PAYLOAD_HASH_MISMATCH,
            judged.first_hash,
            judged.payload_hash,
            judged.first_place,
            observer,
            {},
        )

    def anomaly_of_policy(self, effect: Anomaly, run_no: int, item: Input, observer: str) -> None:
        """An anomaly of the service's own judgement."""
        self._anomaly(
            item,
            run_no,
            effect.subject,
            effect.reason,
            effect.first_hash,
            effect.other_hash,
            (None, None, None),
            observer,
            effect.details,
        )

    def _anomaly(
        self,
        item: Input,
        run_no: int,
        subject: SubjectKey,
        reason: Reason,
        first_hash: bytes,
        other_hash: bytes,
        first: Place,
        observer: str,
        details: dict[str, str],
    ) -> None:
        source = item.source
        place = source.coordinate if source else None
        body = CorridorAnomaly(
            reason_code=reason,
            subject=subject,
            observer=observer,
            first_payload_hash=first_hash.hex(),
            other_payload_hash=other_hash.hex(),
            # An identity's copies are on one partition of one topic, so the first sight stands on the topic of this one.
            first_ref=OriginOffset(place.cluster_id, str(first[0]), place.topic, first[1], str(first[2]))
            if place and first[0] is not None
            else None,
            other_ref=place.ref() if place else None,
            details=details,
        )
        event_id = anomaly_event_id(subject.platform_run_id, subject.event_class, subject.event_id, other_hash.hex(), observer)
        number = EventClass(subject.event_class).number
        row = (run_no, number, pack_event_id(subject.event_id), other_hash, first_hash, reason.value, *first, *item.place)
        self.anomalies.append((row, Emit(CORRIDOR_ANOMALY, event_id, body), item))

    @property
    def tasks(self) -> int:
        """Calls to the outside that this transaction asked for."""
        return sum(1 for row in self.pending if row[7] is not None)

    @property
    def first_due(self) -> float | None:
        """Seconds until the first of the waits that this transaction began is due; None where it began none."""
        dues = [min(row[3], row[4] or row[3]) for row in self.pending if row[7] is None]
        return (min(dues) - self._at).total_seconds() if dues else None

    @property
    def replies(self) -> dict[int, tuple[int, bytes]]:
        """Status and body by identity of the input object."""
        return {id(item): (effect.status, encode_reply(effect.body)) for effect, item in self.said}

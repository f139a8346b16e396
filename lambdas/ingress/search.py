"""Looking for events in the log: what a row whose holder is gone is settled by (domain.md 2.8). Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ingress.batches import Ack
from ingress.row import AdmissionRow
from laws.claims import CLAIM, read_claim
from laws.envelope import Envelope, decode_envelope
from laws.headers import EVENT_ID, PLATFORM_RUN_ID
from laws.payload_hash import payload_hash


class Found(NamedTuple):
    """What a search saw: the copies of each row, lowest first, and the offset up to which it looked."""

    copies: dict[str, list[Ack]]
    """By dedupe key; no entry for a row without a copy."""
    looked_up_to: int
    complete: bool
    """Whether that was the end of the partition as the search began."""


class Wanted:
    """The rows of one partition whose copies are looked for."""

    def __init__(self, rows: Iterable[AdmissionRow]) -> None:
        self._rows: defaultdict[tuple[bytes, bytes], list[AdmissionRow]] = defaultdict(list)
        for row in rows:
            self._rows[row.platform_run_id.encode(), row.event_id.encode()].append(row)
        self.copies: dict[str, list[Ack]] = {}

    def see(self, value: bytes | None, headers: Sequence[tuple[str, bytes]], place: Ack) -> None:
        """Keeps `place` if the record is what a row's holder would have published: same run, same event, same payload hash."""
        found = dict(headers)
        rows = self._rows.get((found.get(PLATFORM_RUN_ID, b""), found.get(EVENT_ID, b"")))
        if not rows or value is None:
            return
        try:
            digest = _digest(decode_envelope(value), claimed=CLAIM in found)
        except (msgspec.DecodeError, ValueError):
            return  # put there by somebody who is not the edge
        for row in rows:
            if row.payload_hash == digest:
                self.copies.setdefault(row.dedupe_key, []).append(place)


def _digest(envelope: Envelope, *, claimed: bool) -> bytes:
    """The payload hash of a record. Raises DecodeError or ValueError for one that the edge did not write."""
    if claimed:
        return bytes.fromhex(read_claim(envelope).payload_hash)
    return payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version)

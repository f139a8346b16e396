"""Certificates: one per lane_seq, chained, recomputable from the topics and the tables (runtime.md, Rules)."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from laws.canonical import canonical_json
from laws.verdicts import Verdict

RECIPE = "fp.certificate.v2"

# One letter an input, in the order in which they were applied.
VERDICT_LETTERS = {Verdict.NEW: "N", Verdict.DUPLICATE: "D", Verdict.MISMATCH: "M", Verdict.PARKED: "P", Verdict.POISON: "X"}
VERDICT_OF_LETTER = {letter: verdict for verdict, letter in VERDICT_LETTERS.items()}


class Certificate(NamedTuple):
    """What one transaction of a lane vouches for."""

    lane: int
    lane_seq: int
    epoch: int
    inlet: str
    ranges: list[list[str | int]]
    """[topic, topic id, partition, start, stop) with offsets as text, in the order in which their records were applied."""
    refs: list[str]
    """Ids of the timers, commands or answers, where the inlet is not the log."""
    counts: dict[str, int]
    """Inputs by verdict."""
    verdicts: str
    """The same one by one: a letter an input."""
    ends: dict[str, str]
    """How far other topics stood, where a wait of this transaction goes by it: {topic: end}, offsets as text."""
    inputs_digest: bytes
    effects_digest: bytes
    """Of the leaves (spine.leaves)."""
    reads_digest: bytes
    previous: bytes
    applied_at: str
    provenance: list[str]


def certificate_hash(certificate: Certificate) -> bytes:
    """The hash (32 bytes) that the next certificate of the lane carries as `previous`."""
    fields = certificate._asdict()
    for name in ("inputs_digest", "effects_digest", "reads_digest", "previous"):
        fields[name] = fields[name].hex()
    for name in ("lane_seq", "epoch"):
        fields[name] = str(fields[name])
    return hashlib.sha256(canonical_json({"recipe": RECIPE, "certificate": fields})).digest()


def input_line(ref: str, event_id: str, payload_hash: str, verdict: Verdict) -> bytes:
    """What the digest of inputs holds of one input; a timer or an answer has neither event id nor payload hash."""
    return f"{ref}\n{event_id}\n{payload_hash}\n{verdict}".encode()


def digest_of(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over parts with their lengths, so that no two lists of parts have the same digest."""
    return hashlib.sha256(b"".join(piece for part in parts for piece in (len(part).to_bytes(8, "big"), part))).digest()

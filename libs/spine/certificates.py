"""Certificates: one per lane_seq, chained, recomputable from the topics and the tables (runtime.md, Rules)."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from laws.canonical import canonical_json

RECIPE = "fp.certificate.v1"


class Certificate(NamedTuple):
    """What one transaction of a lane vouches for."""

    lane: int
    lane_seq: int
    epoch: int
    inlet: str
    ranges: list[list[str | int]]
    """[topic, topic id, partition, start, stop) with offsets as text."""
    refs: list[str]
    """Ids of the timers, commands or answers, where the inlet is not the log."""
    counts: dict[str, int]
    inputs_digest: bytes
    effects_digest: bytes
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


def digest_of(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over parts with their lengths, so that no two lists of parts have the same digest."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

"""A lane's certificates: loaded, and checked against each other (I6, and the chain itself)."""

import hashlib
import json
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from audit.findings import Book
from laws.times import format_instant
from spine.certificates import VERDICT_OF_LETTER, Certificate, certificate_hash, digest_of
from spine.db import Db


class Span(NamedTuple):
    """A half-open range of one partition."""

    topic: str
    topic_id: str
    partition: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} [{self.start}, {self.stop})"


class Cert(NamedTuple):
    """A stored certificate."""

    lane: int
    lane_seq: int
    epoch: int
    inlet: str
    spans: tuple[Span, ...]
    refs: list[str]
    counts: dict[str, int]
    verdicts: str
    ends: dict[str, str]
    inputs_digest: bytes
    effects_digest: bytes
    reads_digest: bytes
    previous: bytes
    hash: bytes
    applied_at: datetime
    provenance_id: int
    leaves: bytes

    @property
    def size(self) -> int:
        """Inputs that it covers."""
        return sum(span.stop - span.start for span in self.spans) if self.spans else len(self.refs)


class Lane(NamedTuple):
    """Where a lane says that it stands."""

    lane: int
    lane_seq: int
    chain: bytes
    parked_rows: int
    positions: tuple[Span, ...]
    """From the first offset that the lane was given to the next that it will read."""


async def lanes_of(store: Db) -> list[Lane]:
    """Every lane of the service."""
    positions: dict[int, list[Span]] = {}
    for row in await store.fetch("SELECT lane, topic, topic_id, partition, start_offset, next_offset FROM lane_position ORDER BY topic"):
        span = Span(row["topic"], str(row["topic_id"]), row["partition"], row["start_offset"], row["next_offset"])
        positions.setdefault(row["lane"], []).append(span)
    rows = await store.fetch("SELECT lane, lane_seq, chain, parked_rows FROM lane ORDER BY lane")
    return [Lane(row["lane"], row["lane_seq"], row["chain"], row["parked_rows"], tuple(positions.get(row["lane"], ()))) for row in rows]


_CERTIFICATES = """
SELECT lane, lane_seq, epoch, inlet, ranges, refs, counts, verdicts, ends, inputs_digest, effects_digest, reads_digest, previous, hash,
       applied_at, provenance_id, leaves
FROM certificate WHERE lane = $1 ORDER BY lane_seq
"""


async def certificates(store: Db, lane: int) -> list[Cert]:
    """The certificates of a lane, oldest first."""
    return [_cert(row) async for row in store.cursor(_CERTIFICATES, lane)]


def _cert(row: Any) -> Cert:
    spans = [
        Span(topic, topic_id, partition, int(start), int(stop)) for topic, topic_id, partition, start, stop in json.loads(row["ranges"])
    ]
    return Cert(
        row["lane"],
        row["lane_seq"],
        row["epoch"],
        row["inlet"],
        tuple(spans),
        json.loads(row["refs"]),
        json.loads(row["counts"]),
        row["verdicts"],
        json.loads(row["ends"]),
        row["inputs_digest"],
        row["effects_digest"],
        row["reads_digest"],
        row["previous"],
        row["hash"],
        row["applied_at"],
        row["provenance_id"],
        row["leaves"],
    )


async def check_chain(book: Book, store: Db, lane: Lane, certs: list[Cert], *, whole: bool) -> None:
    """Recompute the hash of every certificate from what it says and from what stands beside it; name the first that differs.

    `whole` certificates begin at lane_seq 1, so the chain must begin at nothing; else the first one's own word is taken for what was
    before it.
    """
    provenance = {row["provenance_id"]: list(row.values())[1:] for row in await store.fetch(_PROVENANCE)}
    reads = await _reads(store, lane.lane, certs)
    previous = b"" if whole else (certs[0].previous if certs else b"")
    due, epoch = (1 if whole else (certs[0].lane_seq if certs else 1)), 0
    positions = {(span.topic, span.partition): span.start for span in lane.positions} if whole else {}
    broken = False
    for cert in certs:
        where = (lane.lane, cert.lane_seq)
        if cert.lane_seq != due:
            book.find("I6", "LANE_SEQ_GAP", "certificate", f"lane_seq {due} is missing", lane.lane, due)
        due = cert.lane_seq + 1
        if cert.epoch < epoch:
            book.find("I7", "EPOCH_WENT_BACK", "certificate", f"epoch {cert.epoch} after epoch {epoch}", *where)
        epoch = max(epoch, cert.epoch)
        for span in cert.spans:
            place = (span.topic, span.partition)
            if place in positions and positions[place] != span.start:
                book.find("I6", "OFFSET_GAP", str(span), f"offset {positions[place]} was due", *where)
            positions[place] = span.stop
        _check_counts(book, cert)
        why = _differs(cert, previous, provenance.get(cert.provenance_id), reads.get(cert.lane_seq, digest_of(())))
        # After the first that differs every later one does, by what it calls its previous: naming them all would hide the one.
        if why and not broken:
            book.find("I6", "CERTIFICATE_DIFFERS", "certificate", why, *where)
            broken = True
        previous = cert.hash
    book.figures["certificates"] += len(certs)
    if due - 1 != lane.lane_seq:
        book.find("I6", "CHAIN_TOO_SHORT", "lane", f"the lane stands at lane_seq {lane.lane_seq}, its chain at {due - 1}", lane.lane)
    if previous != lane.chain:
        book.find(
            "I6",
            "CHAIN_HEAD_DIFFERS",
            "lane",
            f"the lane's chain is {lane.chain.hex()}, its newest certificate {previous.hex()}",
            lane.lane,
        )
    if whole:
        for span in lane.positions:
            if positions[(span.topic, span.partition)] != span.stop:
                detail = f"the position says {span.stop}, the certificates say {positions[(span.topic, span.partition)]}"
                book.find("I6", "POSITION_DIFFERS", f"{span.topic}/{span.partition}", detail, lane.lane)


_PROVENANCE = "SELECT provenance_id, policy_rev, bundle_id, config_digest, release_id FROM provenance"

_READS = "SELECT lane_seq, body FROM read_set WHERE lane = $1 AND lane_seq >= $2 ORDER BY lane_seq, i"


async def _reads(store: Db, lane: int, certs: list[Cert]) -> dict[int, bytes]:
    """Digest of the read sets of each lane_seq that has some."""
    if not certs:
        return {}
    digests: dict[int, bytes] = {}
    bodies: list[bytes] = []
    at = certs[0].lane_seq
    async for row in store.cursor(_READS, lane, at):
        if row["lane_seq"] != at:
            if bodies:
                digests[at] = digest_of(bodies)
            at, bodies = row["lane_seq"], []
        bodies.append(row["body"])
    if bodies:
        digests[at] = digest_of(bodies)
    return digests


def _check_counts(book: Book, cert: Cert) -> None:
    """Applied + duplicate + mismatch + parked + poison is everything consumed (I8)."""
    told = dict(sorted(Counter(VERDICT_OF_LETTER[letter].value for letter in cert.verdicts).items()))
    if len(cert.verdicts) != cert.size or told != cert.counts:
        detail = f"{cert.size} inputs, verdicts {told}, counts {cert.counts}"
        book.find("I8", "COUNTS_DIFFER", "certificate", detail, cert.lane, cert.lane_seq)


def _differs(cert: Cert, previous: bytes, provenance: list[str] | None, reads: bytes) -> str:
    """Why a certificate is not what it says; empty when it is."""
    if cert.previous != previous:
        return f"previous is {cert.previous.hex()}, the certificate before has {previous.hex()}"
    if provenance is None:
        return f"provenance {cert.provenance_id} is not there"
    if hashlib.sha256(cert.leaves).digest() != cert.effects_digest:
        return "its leaves do not have its digest of effects"
    if reads != cert.reads_digest:
        return "the read sets in the store do not have its digest of reads"
    told = Certificate(
        lane=cert.lane,
        lane_seq=cert.lane_seq,
        epoch=cert.epoch,
        inlet=cert.inlet,
        ranges=[[span.topic, span.topic_id, span.partition, str(span.start), str(span.stop)] for span in cert.spans],
        refs=cert.refs,
        counts=cert.counts,
        verdicts=cert.verdicts,
        ends=cert.ends,
        inputs_digest=cert.inputs_digest,
        effects_digest=cert.effects_digest,
        reads_digest=cert.reads_digest,
        previous=cert.previous,
        applied_at=format_instant(cert.applied_at),
        provenance=provenance,
    )
    if certificate_hash(told) != cert.hash:
        return "its fields do not have its hash"
    return ""

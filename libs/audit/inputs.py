"""Judges what came in once more, from the log and the kept inputs, and compares with what was recorded (I1, I5, I8)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from audit.chain import Cert
from audit.findings import Book
from audit.forgotten import Forgotten, Key
from audit.streams import LaneStreams
from audit.target import Target
from audit.topic import Fact, LogGoneError, Read, fact_of
from laws.event_classes import EventClass
from laws.identity import Identity, pack_event_id
from laws.reasons import Reason
from laws.verdicts import Verdict
from spine.certificates import VERDICT_OF_LETTER, digest_of, input_line
from spine.db import Db
from spine.inputs import SOURCE_DECODER

# Identities that are looked up at once: one round trip, and a piece that fits in memory many times.
_PIECE = 10_000

_PARKED_NOT_POISON = {Reason.RUN_UNKNOWN.value, Reason.CLOSED_RUN.value, Reason.BEHIND_PARKED_KEY.value}

# Parked before dedupe: the identity did not go into the inbox.
_NOT_REMEMBERED = {Reason.RUN_UNKNOWN.value, Reason.CLOSED_RUN.value}

_INBOX = """
SELECT g.run_no, g.class_no, g.event_id, i.payload_hash, i.lane, i.lane_seq, i.epoch, i.topic_id, i.partition, i."offset"
FROM unnest($1::int[], $2::smallint[], $3::bytea[]) AS g(run_no, class_no, event_id)
JOIN inbox i ON (i.run_no, i.class_no, i.event_id) = (g.run_no, g.class_no, g.event_id)
"""

_ANOMALIES = """
SELECT g.run_no, g.class_no, g.event_id, g.other_hash
FROM unnest($1::int[], $2::smallint[], $3::bytea[], $4::bytea[]) AS g(run_no, class_no, event_id, other_hash)
WHERE NOT EXISTS (
    SELECT 1 FROM anomaly a
    WHERE (a.run_no, a.class_no, a.event_id, a.other_hash) = (g.run_no, g.class_no, g.event_id, g.other_hash)
)
"""

_KEPT = "SELECT lane_seq, i, inlet, name, ref, body FROM input WHERE lane = $1 AND lane_seq >= $2 AND lane_seq <= $3 ORDER BY lane_seq, i"

_PARKED = """
SELECT lane_seq, i, reason, inlet, source, event_id IS NOT NULL AS has_event, released_seq, topic_id, partition, "offset"
FROM parked WHERE lane = $1 ORDER BY lane_seq, i
"""

Place = tuple[str, int, int]


class Sight(NamedTuple):
    """The stored first sight of an identity."""

    payload_hash: bytes
    lane: int
    lane_seq: int
    epoch: int
    topic_id: str | None
    partition: int | None
    offset: int | None


class Parked(NamedTuple):
    """A parked row, as far as judging needs it."""

    lane_seq: int
    reason: str
    inlet: str
    source: bytes
    has_event: bool
    released_seq: int | None


@dataclass
class Taken:
    """One input of a certificate, as the auditor sees it."""

    ref: str
    fact: Fact
    place: Place | None
    """(topic id, partition, offset) of what stands on the log."""
    source: bytes = b""
    """The stored bytes of what did not come by the log just now."""
    released: bool = False


class InputAudit:
    """The inputs of one lane."""

    def __init__(self, book: Book, store: Db, target: Target, runs: Mapping[str, int], lane: int, forgotten: Forgotten) -> None:
        self._book = book
        self._store = store
        self._target = target
        self._classes: dict[str, EventClass] = target.classes
        self._runs = runs
        self._lane = lane
        self._forgotten = forgotten
        self._parked: dict[tuple[str, int, int], Parked] = {}
        self._parked_sources: dict[tuple[int, bytes], Parked] = {}
        self._ever_parked: dict[bytes, Parked] = {}
        self.first_sights: dict[tuple[str, int], int] = {}
        """Records judged as the first of their identity, by (topic id, partition)."""

    async def run(self, certs: list[Cert]) -> None:
        """Judge every input of the certificates, which are contiguous."""
        if not certs:
            return
        await self._load_parked()
        kept = self._kept(certs)
        piece: list[tuple[Cert, list[Taken]]] = []
        size = 0
        try:
            async with LaneStreams(certs, self._target) as streams:
                for cert in certs:
                    taken = self._records(cert, await streams.records(cert)) if cert.spans else await anext(kept)
                    piece.append((cert, taken))
                    size += len(taken)
                    if size >= _PIECE:
                        await self._judge(piece)
                        piece, size = [], 0
        except LogGoneError as gone:
            self._book.find("I1", "LOG_GONE", "log", str(gone), self._lane)
        await self._judge(piece)

    # --- what came in ---

    async def _load_parked(self) -> None:
        for row in await self._store.fetch(_PARKED, self._lane):
            parked = Parked(row["lane_seq"], row["reason"], row["inlet"], row["source"], row["has_event"], row["released_seq"])
            if row["offset"] is not None:
                self._parked[(str(row["topic_id"]), row["partition"], row["offset"])] = parked
            self._parked_sources[(row["lane_seq"], row["source"])] = parked
            self._ever_parked[row["source"]] = parked

    def _records(self, cert: Cert, reads: list[Read]) -> list[Taken]:
        ids = {span.topic: span.topic_id for span in cert.spans}
        return [
            Taken(
                f"{read.topic}/{read.partition}/{read.offset}",
                fact_of(read.value, read.headers, self._classes),
                (ids[read.topic], read.partition, read.offset),
            )
            for read in reads
        ]

    async def _kept(self, certs: list[Cert]) -> AsyncIterator[list[Taken]]:
        """The kept inputs of each certificate that has no range, in order."""
        rows: list[Any] = []
        wanted = [cert for cert in certs if not cert.spans]
        cursor = self._store.cursor(_KEPT, self._lane, certs[0].lane_seq, certs[-1].lane_seq)
        stored: dict[int, list[Any]] = {}
        async for row in cursor:
            stored.setdefault(row["lane_seq"], []).append(row)
        for cert in wanted:
            rows = stored.pop(cert.lane_seq, [])
            yield [self._kept_input(row, cert) for row in rows]

    def _kept_input(self, row: Any, cert: Cert) -> Taken:
        body = row["body"]
        released = row["name"] == "parked.release"
        inlet = self._ever_parked[body].inlet if released and body in self._ever_parked else row["inlet"]
        fact, place = Fact(None, "", b""), None
        if inlet in ("records", "command"):
            try:
                source = SOURCE_DECODER.decode(body)
                fact = fact_of(source.value, source.headers, self._classes)
                place = (source.topic_id, source.partition, source.offset) if source.offset >= 0 else None
            except msgspec.MsgspecError as error:
                self._book.find("I1", "INPUT_UNREADABLE", f"input {row['ref']}", str(error), cert.lane, cert.lane_seq)
        return Taken(row["ref"], fact, place, body, released)

    # --- judging ---

    async def _judge(self, piece: list[tuple[Cert, list[Taken]]]) -> None:
        sights = await self._sights([taken for _, inputs in piece for taken in inputs])
        mismatches: dict[tuple[int, int, bytes, bytes], tuple[Cert, Taken]] = {}
        for cert, inputs in piece:
            self._book.figures["inputs"] += len(inputs)
            for name, count in cert.counts.items():
                self._book.figures[name.lower()] += count
            if len(inputs) != len(cert.verdicts):
                detail = f"{len(inputs)} inputs are there, the certificate covers {len(cert.verdicts)}"
                self._book.find("I8", "INPUTS_DIFFER", "input", detail, cert.lane, cert.lane_seq)
                continue
            lines = []
            seen: set[Key] = set()
            for taken, letter in zip(inputs, cert.verdicts, strict=True):
                verdict = VERDICT_OF_LETTER[letter]
                key = self._key(taken.fact.identity)
                known = sights.get(key) if key is not None else None
                self._compare(cert, taken, verdict, key, known, seen)
                if key is not None and self._forgotten.covers(key):
                    parked_now = self._parked_by(cert, taken)
                    if parked_now is None or parked_now.reason not in _NOT_REMEMBERED:
                        self._forgotten.remember(key, taken.fact.payload_hash)
                if verdict is Verdict.MISMATCH and key is not None:
                    mismatches[(*key, taken.fact.payload_hash)] = (cert, taken)
                parked = self._parked_by(cert, taken)
                # What could not be decoded has no identity in its line, whatever an auditor can make of its bytes.
                bare = verdict is Verdict.POISON and parked is not None and not parked.has_event
                fact = Fact(None, "", b"") if bare else taken.fact
                lines.append(input_line(taken.ref, fact.event_id, fact.payload_hash.hex(), verdict))
            if digest_of(lines) != cert.inputs_digest:
                detail = "what stands on the log (or is kept of commands, timers and answers) does not have its digest of inputs"
                self._book.find("I6", "INPUTS_DIGEST_DIFFERS", "certificate", detail, cert.lane, cert.lane_seq)
        await self._check_anomalies(mismatches)

    def _key(self, identity: Identity | None) -> Key | None:
        if identity is None or identity.platform_run_id not in self._runs:
            return None
        return (self._runs[identity.platform_run_id], identity.event_class.number, pack_event_id(identity.event_id))

    async def _sights(self, inputs: list[Taken]) -> dict[Key, Sight]:
        keys = list({key for taken in inputs if (key := self._key(taken.fact.identity)) is not None})
        rows = await self._store.fetch(_INBOX, [k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys]) if keys else []
        return {
            (row["run_no"], row["class_no"], row["event_id"]): Sight(
                row["payload_hash"],
                row["lane"],
                row["lane_seq"],
                row["epoch"],
                str(row["topic_id"]) if row["topic_id"] is not None else None,
                row["partition"],
                row["offset"],
            )
            for row in rows
        }

    def _parked_by(self, cert: Cert, taken: Taken) -> Parked | None:
        """The row by which this very certificate parked the input, or left it parked."""
        if taken.released:
            found = self._ever_parked.get(taken.source)
            return found if found is not None and found.released_seq != cert.lane_seq else None
        if taken.place is not None:
            found = self._parked.get(taken.place)
            return found if found is not None and found.lane_seq == cert.lane_seq else None
        return self._parked_sources.get((cert.lane_seq, taken.source))

    def _compare(self, cert: Cert, taken: Taken, verdict: Verdict, key: Key | None, known: Sight | None, seen: set[Key]) -> None:
        due = self._due(cert, taken, key, known, seen)
        if due is None or verdict in due:
            return
        allowed = " or ".join(sorted(due))
        said = f"; the inbox has {known.payload_hash.hex()[:16]} at {known.topic_id}/{known.partition}/{known.offset}" if known else ""
        identity = "/".join(map(str, taken.fact.identity)) if taken.fact.identity else "no identity"
        detail = f"{identity}, payload hash {taken.fact.payload_hash.hex()[:16]}: recorded {verdict}, should be {allowed}{said}"
        self._book.find("I1", "VERDICT_DIFFERS", taken.ref, detail, cert.lane, cert.lane_seq)

    def _due(self, cert: Cert, taken: Taken, key: Key | None, known: Sight | None, seen: set[Key]) -> set[Verdict] | None:
        """The verdicts that the tables and the log allow; None where the identity can't be judged from outside."""
        parked = self._parked_by(cert, taken)
        first = known is not None and self._is_first(cert, taken, known) and key not in seen
        if first and key is not None:
            seen.add(key)
            if taken.place is not None:
                place = taken.place[:2]
                self.first_sights[place] = self.first_sights.get(place, 0) + 1
        if parked is not None:
            if taken.released:
                return {Verdict.PARKED, Verdict.POISON}
            return {Verdict.PARKED} if parked.reason in _PARKED_NOT_POISON else {Verdict.POISON}
        if taken.released:
            return {Verdict.NEW, Verdict.DUPLICATE, Verdict.MISMATCH}
        if cert.inlet in ("timer", "answer"):
            return {Verdict.NEW}
        if known is None and key is not None and self._forgotten.covers(key):
            return self._forgotten.due(key, taken.fact.payload_hash)
        if known is None:
            # Neither in the inbox nor parked: it is lost.
            return {Verdict.PARKED, Verdict.POISON}
        if first:
            return {Verdict.NEW} if known.payload_hash == taken.fact.payload_hash and known.epoch == cert.epoch else set()
        return {Verdict.DUPLICATE} if known.payload_hash == taken.fact.payload_hash else {Verdict.MISMATCH}

    @staticmethod
    def _is_first(cert: Cert, taken: Taken, known: Sight) -> bool:
        place = None if known.offset is None else (known.topic_id, known.partition, known.offset)
        return (known.lane, known.lane_seq) == (cert.lane, cert.lane_seq) and place == taken.place

    async def _check_anomalies(self, mismatches: dict[tuple[int, int, bytes, bytes], tuple[Cert, Taken]]) -> None:
        """Every identity that came with more than one hash has an anomaly for each of the others (I5)."""
        if not mismatches:
            return
        missing = await self._store.fetch(_ANOMALIES, *map(list, zip(*mismatches, strict=True)))
        self._book.figures["mismatching_hashes"] += len(mismatches)
        for row in missing:
            cert, taken = mismatches[tuple(row.values())]
            identity = "/".join(map(str, taken.fact.identity or ()))
            self._book.find("I5", "ANOMALY_MISSING", taken.ref, f"{identity} came with another payload hash", cert.lane, cert.lane_seq)

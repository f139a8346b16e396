"""What the service published against what it stored: unique ids, every copy byte for byte (I4)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from audit.findings import Book
from audit.target import Target
from audit.topic import Log, Read
from laws.envelope import decode_envelope
from spine.db import Db
from spine.emission import HEADERS_DECODER

_TOPICS = "SELECT DISTINCT topic FROM outbox ORDER BY topic"

_OUTBOX = """
SELECT o.lane, o.lane_seq, o.i, o.topic, o.partition, o.key, o.headers, o.value, o.lane_seq <= l.published_seq AS published
FROM outbox o JOIN lane l USING (lane)
"""

_pack = msgspec.msgpack.Encoder().encode

Ends = Mapping[str, Sequence[tuple[int, int]]]


class Place(NamedTuple):
    """A row of the outbox."""

    lane: int
    lane_seq: int
    i: int


async def ends_of(store: Db, target: Target) -> Ends:
    """What the log holds of every topic that the service publishes to: {topic: [first, end) of each partition}.

    Taken before the snapshot of the tables: whatever stands on the log by then was committed before, so the snapshot has its row.
    """
    ends: dict[str, list[tuple[int, int]]] = {}
    async with Log(target.bus, target.prefix) as log:
        topics = [row["topic"] for row in await store.fetch(_TOPICS)]
        for topic, identity in (await log.identities(topics)).items() if topics else ():
            ends[topic] = [await log.span(topic, partition) for partition in range(identity.partitions)]
    return ends


async def check_outputs(book: Book, store: Db, target: Target, ends: Ends) -> None:
    """Compare every published row of the outbox with its copies on the bus, and every record of this service with the outbox."""
    due: dict[bytes, Place] = {}
    stored: set[bytes] = set()
    by_id: dict[tuple[str, str, str], Place] = {}
    async for row in store.cursor(_OUTBOX, prefetch=2000):
        place = Place(row["lane"], row["lane_seq"], row["i"])
        envelope = decode_envelope(row["value"])
        identity = (row["topic"], envelope.platform_run_id or "", envelope.event_id)
        if identity in by_id:
            detail = f"{'/'.join(identity)} stands in lane_seq {by_id[identity].lane_seq} of lane {by_id[identity].lane} too"
            book.find("I4", "OUTPUT_ID_TWICE", f"outbox i={place.i}", detail, place.lane, place.lane_seq)
        by_id[identity] = place
        digest = _digest(row["topic"], row["partition"], row["key"], HEADERS_DECODER.decode(row["headers"]), row["value"])
        stored.add(digest)
        if row["published"]:
            due[digest] = place
    book.figures["outputs"] += len(stored)
    async with Log(target.bus, target.prefix) as log:
        for topic, partition, start, stop in ((t, p, *span) for t, spans in ends.items() for p, span in enumerate(spans)):
            async for piece in log.read(topic, partition, start, stop):
                for read in piece:
                    digest = _digest(topic, partition, read.key, read.headers, read.value)
                    due.pop(digest, None)
                    if digest in stored:
                        book.figures["copies"] += 1
                    else:
                        _strange(book, target.schema, read, by_id)
    for place in due.values():
        detail = "it is marked as published, and no copy of it stands on its topic"
        book.find("I4", "OUTPUT_NOT_ON_TOPIC", f"outbox i={place.i}", detail, place.lane, place.lane_seq)


def _strange(book: Book, producer: str, read: Read, by_id: Mapping[tuple[str, str, str], Place]) -> None:
    """A record that is not byte for byte a row of the outbox: another service's, or a wrong copy of this one's."""
    try:
        envelope = decode_envelope(read.value)
    except msgspec.MsgspecError:
        return
    if envelope.producer != producer:
        return
    place = by_id.get((read.topic, envelope.platform_run_id or "", envelope.event_id))
    code, detail = ("COPY_DIFFERS", "its outbox row says other bytes") if place else ("OUTPUT_UNKNOWN", "no row of the outbox says it")
    where = f"{read.topic}/{read.partition}/{read.offset}"
    book.find(
        "I4", code, where, f"event id {envelope.event_id}: {detail}", place.lane if place else None, place.lane_seq if place else None
    )


def _digest(topic: str, partition: int, key: bytes, headers: Sequence[tuple[str, bytes]], value: bytes) -> bytes:
    return hashlib.sha256(_pack([topic, partition, key, headers, value])).digest()

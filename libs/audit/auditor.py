"""The audit: every certificate recomputed, every row and every output accounted for, from outside the service's code.

What it trusts is the log, the tables and the recipes of laws; it runs no policy (audit.replay does). What it shows and what it can't is
in docs/proof.md.
"""

from dataclasses import dataclass

from audit.chain import Cert, Lane, certificates, check_chain, lanes_of
from audit.findings import Book, Report
from audit.forgotten import Forgotten
from audit.inputs import InputAudit
from audit.outputs import Ends, check_outputs, ends_of
from audit.rows import check_claims, check_epochs, check_rows, effect_tables
from audit.target import Target, look
from spine.db import Db

__all__ = ["Report", "Section", "Target", "audit"]  # what a caller needs, in one place


@dataclass(frozen=True)
class Section:
    """Offsets [start, stop) of one topic; of one partition of it, or of each."""

    topic: str
    start: int
    stop: int
    partition: int | None = None

    def touches(self, cert: Cert) -> bool:
        """Whether a certificate covers some of it."""
        return any(
            span.topic == self.topic and self.partition in (None, span.partition) and span.start < self.stop and span.stop > self.start
            for span in cert.spans
        )


async def audit(target: Target, section: Section | None = None) -> Report:
    """Audit a service: all of it, or the certificates that cover a section of a topic with the rows that they wrote."""
    async with look(target) as store:
        ends = await ends_of(store, target) if section is None else {}
    async with look(target) as store:
        return await audit_snapshot(store, target, ends, section)


async def audit_snapshot(store: Db, target: Target, ends: Ends, section: Section | None = None) -> Report:
    """The same on an open connection whose transaction is the snapshot. `ends` as of before it (`ends_of`)."""
    book = Book()
    runs = {row["platform_run_id"]: row["run_no"] for row in await store.fetch("SELECT platform_run_id, run_no FROM run")}
    dropped = frozenset(row["run_no"] for row in await store.fetch("SELECT run_no FROM run WHERE dropped_at IS NOT NULL"))
    tables = await effect_tables(store)
    first_sights: dict[tuple[str, int], int] = {}
    for lane in await lanes_of(store):
        certs = await certificates(store, lane.lane)
        chosen, window = _window(certs, section)
        if section is not None and not window:
            continue
        book.figures["lanes"] += 1
        await check_chain(book, store, lane, chosen, whole=section is None or chosen[0].lane_seq == 1)
        inputs = InputAudit(book, store, target, runs, lane.lane, Forgotten(dropped, whole=section is None))
        await inputs.run(window)
        first_sights |= inputs.first_sights
        if window:
            await check_rows(book, store, tables, lane.lane, chosen, window[-1].lane_seq)
        if section is None:
            await _check_lane(book, store, lane)
    if section is None:
        await check_epochs(book, store, tables)
        await check_claims(book, store)
        await _check_inbox(book, store, first_sights)
        await check_outputs(book, store, target, ends)
    return book.report()


def _window(certs: list[Cert], section: Section | None) -> tuple[list[Cert], list[Cert]]:
    """(certificates from the section's first to the lane's newest, those of the section with everything between)."""
    if section is None:
        return certs, certs
    touched = [i for i, cert in enumerate(certs) if section.touches(cert)]
    if not touched:
        return [], []
    return certs[touched[0] :], certs[touched[0] : touched[-1] + 1]


async def _check_lane(book: Book, store: Db, lane: Lane) -> None:
    parked = await store.fetchval("SELECT count(*) FROM parked WHERE lane = $1 AND released_seq IS NULL", lane.lane)
    book.figures["parked_now"] += parked
    if parked != lane.parked_rows:
        book.find("I8", "PARKED_COUNT_DIFFERS", "lane", f"{parked} rows are parked, the lane counts {lane.parked_rows}", lane.lane)


_INBOX_PLACES = 'SELECT topic_id, partition, count(*) AS rows FROM inbox WHERE "offset" IS NOT NULL GROUP BY topic_id, partition'

_INBOX_KEPT = """
SELECT count(*) FROM inbox b WHERE b."offset" IS NULL
AND NOT EXISTS (SELECT 1 FROM input i WHERE (i.lane, i.lane_seq) = (b.lane, b.lane_seq))
"""


async def _check_inbox(book: Book, store: Db, first_sights: dict[tuple[str, int], int]) -> None:
    """No identity is in the inbox that did not come in (the other half of I1)."""
    for row in await store.fetch(_INBOX_PLACES):
        place = (str(row["topic_id"]), row["partition"])
        book.figures["inbox"] += row["rows"]
        if row["rows"] != first_sights.get(place, 0):
            detail = (
                f"{row['rows']} identities say that they came from {place[0]}/{place[1]}, its records show {first_sights.get(place, 0)}"
            )
            book.find("I1", "INBOX_DIFFERS", "inbox", detail)
    if count := await store.fetchval(_INBOX_KEPT):
        book.find(
            "I1", "INBOX_DIFFERS", "inbox", f"{count} identities say that they came by command, and no input of their lane_seq is kept"
        )

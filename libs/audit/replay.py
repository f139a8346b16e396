"""Replay: a lane's history applied once more on a shadow, and what came of it compared with what was recorded (I2, I3).

With the same code and the same pack everything is the same to the byte: verdicts, rows, outputs. With another pack, `flips` says which
decisions would have been others.
"""

from dataclasses import dataclass, field
from datetime import datetime

from audit.chain import Cert, certificates, lanes_of
from audit.differences import compare
from audit.findings import Book, Report
from audit.flips import Flips, count_flips
from audit.refold import Refold
from audit.shadow import Shadow, copy_registry, shadow_of, working
from audit.streams import LaneStreams
from audit.target import Target, look
from audit.topic import LogGoneError
from spine.db import Db
from spine.service import Service
from spine.settings import Settings

__all__ = ["Replayed", "Span", "replay"]


@dataclass(frozen=True)
class Span:
    """What is compared: certificates from `start` to before `stop`, by lane_seq or by the time at which they were applied.

    Everything before `start` is folded too, because a state has no other source than its inputs.
    """

    start: int | datetime | None = None
    stop: int | datetime | None = None
    lane: int | None = None

    def has(self, cert: Cert) -> bool:
        """Whether a certificate is compared."""
        return not self._before(cert, self.start) and (self.stop is None or self._before(cert, self.stop))

    def reaches(self, cert: Cert) -> bool:
        """Whether a certificate is folded."""
        return self.stop is None or self._before(cert, self.stop)

    @staticmethod
    def _before(cert: Cert, bound: int | datetime | None) -> bool:
        if bound is None:
            return False
        return cert.applied_at < bound if isinstance(bound, datetime) else cert.lane_seq < bound


@dataclass
class Replayed:
    """The outcome of a replay."""

    report: Report
    flips: Flips = field(default_factory=Flips)

    @property
    def ok(self) -> bool:
        """Whether everything came out as it was recorded."""
        return self.report.ok


async def replay(
    target: Target,
    service: Service,
    settings: Settings,
    span: Span | None = None,
    *,
    flips: bool = False,
) -> Replayed:
    """Replay a service on a shadow that is made for it and gone afterwards. `target.dsn` may create schemas and roles.

    `flips` compares decisions instead of bytes: for another pack than the recorded one.
    """
    book, found = Book(), Flips()
    span = span or Span()
    async with shadow_of(target.dsn, service) as shadow, look(target) as original, working(shadow) as store:
        runs = await copy_registry(store, shadow)
        for lane in await lanes_of(original):
            if span.lane not in (None, lane.lane):
                continue
            certs = [cert for cert in await certificates(original, lane.lane) if span.reaches(cert)]
            fold = Refold(store, shadow, service, lane, runs, settings.phase_id)
            await fold.begin()
            try:
                await _lane(_Replay(target, store, shadow, span, book, found, flips), fold, certs)
            except LogGoneError as gone:
                book.find("I2", "LOG_GONE", "log", str(gone), lane.lane)
    return Replayed(book.report(), found)


@dataclass(frozen=True)
class _Replay:
    """What every lane of one replay shares."""

    target: Target
    store: Db
    shadow: Shadow
    span: Span
    book: Book
    found: Flips
    flips: bool


async def _lane(job: _Replay, fold: Refold, certs: list[Cert]) -> None:
    async with LaneStreams(certs, job.target) as streams:
        for cert in certs:
            records = await streams.records(cert)
            try:
                await fold.apply(cert, records)
            except Exception as error:  # whatever it is, the recorded transaction did not fail: that is the finding
                job.book.find("I2", "REPLAY_FAILED", cert.inlet, f"{type(error).__name__}: {error}", cert.lane, cert.lane_seq)
                return
            job.book.figures["folded"] += len(cert.verdicts)
            if not job.span.has(cert):
                continue
            job.book.figures["compared"] += len(cert.verdicts)
            job.book.figures["certificates"] += 1
            if job.flips:
                await count_flips(job.found, job.store, job.shadow, cert)
            else:
                await compare(job.book, job.store, job.shadow, cert)

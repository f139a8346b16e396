"""Admitting one candidate: the state machine around the row and the bus (domain.md 2.8)."""

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from ingress.admission_store import AdmissionTable
from ingress.aws_json import ServiceError
from ingress.batches import PublishUnknownError
from ingress.bus import Bus, BusError
from ingress.dynamodb import StoreError
from ingress.health import BUS, LETTERS, STORE, Health
from ingress.inspection import Candidate
from ingress.letters import Letter, LetterQueue
from ingress.logs import log
from ingress.policy import TYPE_OF_CLASS
from ingress.receipt import Decision
from ingress.record import Record
from ingress.resolver import Outcome, Resolver
from ingress.row import AdmissionRow, Settlement, State, packed_trace
from ingress.settings import EdgeSettings
from ingress.spread import spread
from ingress.steps import Step, reached
from laws.headers import Provenance
from laws.reasons import Reason
from laws.times import format_instant

_OWNER_BYTES = 8
# A row whose holder changes under our hands is looked at again; three holders within one request means that others are at work.
_LOOKS = 3
_DIGESTS = 256  # remembered; the rows of a run share their pins, in memory as well

WallClock = Callable[[], float]
"""Seconds since the epoch. Edges compare leases by it, so a clock that is wrong by more than the lease is a wrong lease."""


class Verdict(NamedTuple):
    """What became of a candidate. ADMIT and DUPLICATE carry the admitted row, RETRY a reason."""

    decision: Decision
    row: AdmissionRow | None = None
    reason: Reason | None = None


class DifferentPayloadError(Exception):
    """The identity stands with another payload hash, in whatever state; `row` is the first one."""

    def __init__(self, row: AdmissionRow) -> None:
        super().__init__(f"identity {row.dedupe_key} stands with payload hash {row.payload_hash.hex()}")
        self.row = row


_Common: TypeAlias = tuple[str, int, tuple[object, ...], str, str | None]
Judged: TypeAlias = "Verdict | DifferentPayloadError"
"""What admission says of one candidate."""


class Held(NamedTuple):
    """A row that this process holds, and the record that is to be published under it."""

    row: AdmissionRow
    record: Record


class Admission:
    """Two writes and no read for an event that is new; none for one that is admitted."""

    def __init__(
        self,
        settings: EdgeSettings,
        store: AdmissionTable,
        bus: Bus,
        health: Health,
        provenance: Provenance,
        letters: LetterQueue | None = None,
        now: WallClock = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._health = health
        self._provenance = provenance
        self._letters = letters
        self._now = now
        self._resolver = Resolver(store, bus, self._now_ms)

    async def admit(self, work: Sequence[tuple[Candidate, Record]]) -> list[Judged]:
        """Judges candidates of different identities, in their order. Everything that fails on the way is a RETRY with its reason."""
        try:
            await self._bus.ensure()
        except BusError as error:
            return [self._bus_failed(error)] * len(work)
        started = time.monotonic()
        now = self._now()
        nonces = secrets.token_bytes(_OWNER_BYTES * len(work))
        blanks: dict[_Common, AdmissionRow] = {}
        fresh: list[AdmissionRow] = []
        for index, (candidate, record) in enumerate(work):
            common = _common(candidate)
            if (blank := blanks.get(common)) is None:
                blank = blanks[common] = self._blank_row(candidate, now)
            owner = nonces[index * _OWNER_BYTES : (index + 1) * _OWNER_BYTES]
            fresh.append(_filled(blank, candidate, owner, packed_trace(record.traceparent)))
        judged: dict[int, Judged] = {}
        held: dict[int, Held] = {}
        reached(Step.JUDGED)
        rows = await self._store.claim(fresh)
        reached(Step.ROW_PUT)
        if not any(isinstance(claimed, StoreError) for claimed in rows):
            self._health.ok(STORE)
        for index, claimed in enumerate(rows):
            if claimed is fresh[index]:
                held[index] = Held(claimed, work[index][1])
            elif isinstance(claimed, StoreError):
                judged[index] = self._store_failed(claimed)
            else:
                judged[index] = await self._judge(*work[index], claimed)
        judged.update(zip(held, await self._publish(list(held.values()), started), strict=True))
        return [judged[index] for index in range(len(work))]

    async def _judge(self, candidate: Candidate, record: Record, standing: AdmissionRow) -> Judged:
        """What a row that stood there first says of a candidate."""
        try:
            return await self._look(candidate, record, standing)
        except StoreError as error:
            return self._store_failed(error)
        except BusError as error:
            return self._bus_failed(error)

    async def _look(self, candidate: Candidate, record: Record, row: AdmissionRow) -> Judged:
        for _ in range(_LOOKS):
            if row.payload_hash != candidate.payload_hash:
                return DifferentPayloadError(row)
            if row.state is State.ADMITTED:
                return Verdict(Decision.DUPLICATE, row)
            if self._is_held(row):
                return Verdict(Decision.RETRY, reason=_retry_reason(row))
            verdict = await self._resolve(row, record)
            if verdict is not None:
                return verdict
            standing = await self._store.standing(candidate.dedupe_key)
            if standing is None:
                break  # its time to live ended in this moment; the next delivery is a new one
            row = standing
        return Verdict(Decision.RETRY, reason=Reason.PUBLISH_IN_FLIGHT_RETRY)

    def _store_failed(self, error: StoreError) -> Verdict:
        self._health.failed(STORE, str(error))
        return Verdict(Decision.RETRY, reason=Reason.DEPENDENCY_UNAVAILABLE)

    def _bus_failed(self, error: BusError) -> Verdict:
        self._health.failed(BUS, str(error))
        return Verdict(Decision.RETRY, reason=Reason.DEPENDENCY_UNAVAILABLE)

    def _blank_row(self, candidate: Candidate, now: float) -> AdmissionRow:
        """What the rows of one moment have in common whose candidates agree in `_common`."""
        envelope = candidate.envelope
        place = self._bus.place(candidate.topic.name, candidate.partition)
        assert envelope.scenario_run_id is not None  # check_envelope: every type of the edge requires the pin
        return AdmissionRow(
            dedupe_key="",
            state=State.PUBLISH_IN_FLIGHT,
            platform_run_id=candidate.identity.platform_run_id,
            event_class=candidate.identity.event_class.value,
            event_id="",
            ts_utc="",
            manifest_fingerprint=_digest(envelope.manifest_fingerprint),
            scenario_run_id=_digest(envelope.scenario_run_id),
            payload_hash=b"",
            partition_key=b"",
            cluster_id=place.cluster_id,
            topic_id=place.topic_id.bytes,
            topic=candidate.topic.name,
            partition=candidate.partition,
            policy_rev=self._provenance.policy_rev,
            config_digest=_digest(self._provenance.config_digest),
            release_id=self._provenance.release_id,
            ttl_epoch=int(now) + self._settings.idempotency_ttl_s,
            lease_until_ms=self._lease_end(now),
            attempt=1,
            low_water=place.low_water,
        )

    async def _publish(self, held: Sequence[Held], lease_started: float) -> list[Verdict]:
        """Publishes under rows that this process holds since `lease_started` (monotonic), and settles them."""
        if not held:
            return []
        left = self._settings.lease_s - (time.monotonic() - lease_started)
        if left < self._settings.publish_timeout_s:
            # A slow store has eaten the lease: what we send now might land after somebody else has looked for it in vain.
            return [Verdict(Decision.RETRY, reason=Reason.PUBLISH_IN_FLIGHT_RETRY)] * len(held)
        verdicts: dict[int, Verdict] = {}
        landed: dict[int, Settlement] = {}
        unknown: dict[int, PublishUnknownError] = {}
        acks = await self._bus.publish_all([record for _, record in held])
        reached(Step.ACKED)
        now_ms = self._now_ms()
        for index, ack in enumerate(acks):
            if isinstance(ack, PublishUnknownError):
                unknown[index] = ack
            else:
                landed[index] = Settlement(held[index].row, ack.offset, ack.timestamp_ms, now_ms)
        if landed:
            self._health.ok(BUS)
        for index, admitted in zip(landed, await self._store.admit(list(landed.values())), strict=True):
            verdicts[index] = await self._settled(landed[index], admitted)
        reached(Step.ADMITTED)
        if unknown:
            verdicts |= dict(zip(unknown, await self._ambiguous([held[i] for i in unknown], list(unknown.values())), strict=True))
        if failed := [held[i] for i, verdict in verdicts.items() if verdict.decision is Decision.RETRY]:
            await self._tell(failed)
        return [verdicts[index] for index in range(len(held))]

    async def _ambiguous(self, held: Sequence[Held], errors: Sequence[PublishUnknownError]) -> list[Verdict]:
        cause = str(errors[0])
        self._health.failed(BUS, cause)
        log.warning("publish_unknown", events=len(held), first_event_id=held[0].row.event_id, cause=cause)

        async def mark(each: Held) -> Verdict:
            try:
                await self._store.mark_ambiguous(each.row)
            except StoreError as error:
                return self._store_failed(error)
            reached(Step.AMBIGUOUS)
            return Verdict(Decision.RETRY, reason=Reason.PUBLISH_AMBIGUOUS)

        return await spread(mark, held, self._settings.concurrency)

    async def _tell(self, held: Sequence[Held]) -> None:
        """Tells the reconciler of rows that this process leaves unsettled. Where that fails its next sweep finds them."""
        if self._letters is None:
            return
        now = format_instant(datetime.fromtimestamp(self._now(), UTC))
        try:
            await self._letters.send([_letter(each, now) for each in held])
        except ServiceError as error:
            self._health.failed(LETTERS, str(error))
        else:
            self._health.ok(LETTERS)
            reached(Step.LETTER_SENT)

    async def _settled(self, settlement: Settlement, admitted: AdmissionRow | StoreError | None) -> Verdict:
        if isinstance(admitted, StoreError):
            return self._store_failed(admitted)
        if admitted is not None:
            return Verdict(Decision.ADMIT, admitted)
        try:
            return await self._lost(settlement)
        except StoreError as error:
            return self._store_failed(error)

    async def _lost(self, settlement: Settlement) -> Verdict:
        """Somebody else has the row: our copy is a second one, of which the row keeps the place."""
        row = settlement.row
        await self._store.note_second_copy(row, settlement.offset)
        reached(Step.SECOND_COPY)
        log.warning("second_copy", event_id=row.event_id, dedupe_key=row.dedupe_key, offset=settlement.offset)
        standing = await self._store.standing(row.dedupe_key)
        if standing is not None and standing.state is State.ADMITTED:
            return Verdict(Decision.ADMIT, standing)
        return Verdict(Decision.RETRY, reason=Reason.PUBLISH_IN_FLIGHT_RETRY)

    async def _resolve(self, row: AdmissionRow, record: Record) -> Verdict | None:
        """Settles a row whose holder is gone: by what the log says, or else by publishing again. None if somebody else did."""
        [resolution] = await self._resolver.resolve([row], self._settings.publish_timeout_s)
        if resolution.outcome is Outcome.ADMITTED:
            return Verdict(Decision.ADMIT, resolution.row)
        if resolution.outcome is Outcome.LOST:
            return None
        if resolution.outcome is Outcome.UNFINISHED:
            return Verdict(Decision.RETRY, reason=_retry_reason(row))
        started, owner = time.monotonic(), secrets.token_bytes(_OWNER_BYTES)
        taken = await self._store.take_over(resolution.row, owner, self._lease_end(self._now()))
        if taken is None:
            return None
        reached(Step.TAKEN_OVER)
        # To where the row says, which another release may have put elsewhere: its copies are looked for there.
        placed = record._replace(partition=taken.partition, key=taken.partition_key.hex().encode())
        return (await self._publish([Held(taken, placed)], started))[0]

    def _is_held(self, row: AdmissionRow) -> bool:
        return row.lease_until_ms is not None and row.lease_until_ms > self._now_ms()

    def _lease_end(self, now: float) -> int:
        return int((now + self._settings.lease_s) * 1000)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


@lru_cache(maxsize=_DIGESTS)
def _digest(text: str) -> bytes:
    return bytes.fromhex(text)


def _common(candidate: Candidate) -> _Common:
    """Whatever `Admission._blank_row` reads of a candidate: a field that it reads and that is not here would be a neighbour's."""
    envelope = candidate.envelope
    return candidate.topic.name, candidate.partition, candidate.identity[:2], envelope.manifest_fingerprint, envelope.scenario_run_id


def _filled(blank: AdmissionRow, candidate: Candidate, owner: bytes, trace: bytes) -> AdmissionRow:
    """The row of one candidate: all that a blank one leaves open."""
    return replace(
        blank,
        dedupe_key=candidate.dedupe_key,
        event_id=candidate.identity.event_id,
        ts_utc=candidate.envelope.ts_utc,
        payload_hash=candidate.payload_hash,
        partition_key=bytes.fromhex(candidate.key.decode()),
        trace=trace,
        lease_owner=owner,
    )


def _letter(held: Held, failed_at_utc: str) -> Letter:
    row, headers = held.row, dict(held.record.headers)
    return Letter(
        failed_at_utc=failed_at_utc,
        reason=Reason.PUBLISH_AMBIGUOUS,
        dedupe_key=row.dedupe_key,
        platform_run_id=row.platform_run_id,
        scenario_run_id=row.scenario_run_id.hex(),
        event_id=row.event_id,
        event_type=TYPE_OF_CLASS[row.event_class].name,
        topic=row.topic,
        partition=row.partition,
        low_water=str(row.low_water),
        correlation_headers={name: value.decode("latin-1") for name, value in headers.items()},
    )


def _retry_reason(row: AdmissionRow) -> Reason:
    ambiguous = row.state is State.PUBLISH_AMBIGUOUS
    return Reason.PUBLISH_AMBIGUOUS_RETRY if ambiguous else Reason.PUBLISH_IN_FLIGHT_RETRY

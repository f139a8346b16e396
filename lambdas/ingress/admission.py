"""Admitting one candidate: the state machine around the row and the bus (domain.md 2.8)."""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec
import structlog
from msgspec.structs import replace

from ingress.admission_store import AdmissionTable
from ingress.batches import PublishUnknownError
from ingress.bus import Bus, BusError
from ingress.dynamodb import StoreError
from ingress.health import BUS, STORE, Health
from ingress.inspection import Candidate
from ingress.receipt import Decision
from ingress.record import Record
from ingress.row import AdmissionRow, Settlement, State
from ingress.settings import EdgeSettings
from laws.envelope import decode_envelope
from laws.headers import EVENT_ID, PLATFORM_RUN_ID, Provenance
from laws.payload_hash import payload_hash
from laws.reasons import Reason

log = structlog.get_logger()

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


Judged: TypeAlias = "Verdict | DifferentPayloadError"
"""What admission says of one candidate."""


class Held(NamedTuple):
    """A row that this process holds, and the record that is to be published under it."""

    row: AdmissionRow
    record: Record


class Admission:
    """Two writes and no read for an event that is new; none for one that is admitted."""

    def __init__(
        self, settings: EdgeSettings, store: AdmissionTable, bus: Bus, health: Health, provenance: Provenance, now: WallClock = time.time
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._health = health
        self._provenance = provenance
        self._now = now

    async def admit(self, work: Sequence[tuple[Candidate, Record]]) -> list[Judged]:
        """Judges candidates of different identities, in their order. Everything that fails on the way is a RETRY with its reason."""
        try:
            await self._bus.ensure()
        except BusError as error:
            return [self._bus_failed(error)] * len(work)
        started = time.monotonic()
        now = self._now()
        nonces = secrets.token_bytes(_OWNER_BYTES * len(work))
        fresh = [
            self._fresh_row(candidate, now, nonces[index * _OWNER_BYTES : (index + 1) * _OWNER_BYTES])
            for index, (candidate, _) in enumerate(work)
        ]
        judged: dict[int, Judged] = {}
        held: dict[int, Held] = {}
        rows = await self._store.claim(fresh)
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

    def _fresh_row(self, candidate: Candidate, now: float, owner: bytes) -> AdmissionRow:
        envelope = candidate.envelope
        place = self._bus.place(candidate.topic.name, candidate.partition)
        assert envelope.scenario_run_id is not None  # check_envelope: every type of the edge requires the pin
        return AdmissionRow(
            dedupe_key=candidate.dedupe_key,
            state=State.PUBLISH_IN_FLIGHT,
            platform_run_id=candidate.identity.platform_run_id,
            event_class=candidate.identity.event_class.value,
            event_id=candidate.identity.event_id,
            ts_utc=envelope.ts_utc,
            manifest_fingerprint=_digest(envelope.manifest_fingerprint),
            scenario_run_id=_digest(envelope.scenario_run_id),
            payload_hash=candidate.payload_hash,
            partition_key=bytes.fromhex(candidate.key.decode()),
            cluster_id=place.cluster_id,
            topic_id=place.topic_id.bytes,
            topic=candidate.topic.name,
            partition=candidate.partition,
            policy_rev=self._provenance.policy_rev,
            config_digest=_digest(self._provenance.config_digest),
            release_id=self._provenance.release_id,
            ttl_epoch=int(now) + self._settings.idempotency_ttl_s,
            lease_owner=owner,
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
        records = [record._replace(partition=row.partition, key=row.partition_key.hex().encode()) for row, record in held]
        verdicts: dict[int, Verdict] = {}
        landed: dict[int, Settlement] = {}
        now_ms = self._now_ms()
        for index, ack in enumerate(await self._bus.publish_all(records)):
            if isinstance(ack, PublishUnknownError):
                verdicts[index] = await self._ambiguous(held[index].row, ack)
            else:
                landed[index] = Settlement(held[index].row, ack.offset, ack.timestamp_ms, now_ms)
        if landed:
            self._health.ok(BUS)
        for index, admitted in zip(landed, await self._store.admit(list(landed.values())), strict=True):
            verdicts[index] = await self._settled(landed[index], admitted)
        return [verdicts[index] for index in range(len(held))]

    async def _ambiguous(self, row: AdmissionRow, error: PublishUnknownError) -> Verdict:
        self._health.failed(BUS, str(error))
        log.warning("publish_unknown", event_id=row.event_id, dedupe_key=row.dedupe_key, cause=str(error))
        try:
            await self._store.mark_ambiguous(row)
        except StoreError as failed:
            return self._store_failed(failed)
        return Verdict(Decision.RETRY, reason=Reason.PUBLISH_AMBIGUOUS)

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
        log.warning("second_copy", event_id=row.event_id, dedupe_key=row.dedupe_key, offset=settlement.offset)
        standing = await self._store.standing(row.dedupe_key)
        if standing is not None and standing.state is State.ADMITTED:
            return Verdict(Decision.ADMIT, standing)
        return Verdict(Decision.RETRY, reason=Reason.PUBLISH_IN_FLIGHT_RETRY)

    async def _resolve(self, row: AdmissionRow, record: Record) -> Verdict | None:
        """Settles a row whose holder is gone: by what the log says, or else by publishing again. None if somebody else did."""
        place = self._bus.place(row.topic, row.partition)
        assert row.low_water is not None  # every row that is not admitted has it
        start = row.low_water if place.topic_id.bytes == row.topic_id else 0  # a recreated topic has begun again
        row = replace(row, cluster_id=place.cluster_id, topic_id=place.topic_id.bytes)
        found = await self._bus.find(row.topic, row.partition, start, _copy_of(row))
        if found is not None:
            [admitted] = await self._store.admit([Settlement(row, found.offset, found.timestamp_ms, self._now_ms())])
            if isinstance(admitted, StoreError):
                raise admitted
            return None if admitted is None else Verdict(Decision.ADMIT, admitted)
        started, owner = time.monotonic(), secrets.token_bytes(_OWNER_BYTES)
        taken = await self._store.take_over(row, owner, self._lease_end(self._now()))
        return None if taken is None else (await self._publish([Held(taken, record)], started))[0]

    def _is_held(self, row: AdmissionRow) -> bool:
        return row.lease_until_ms is not None and row.lease_until_ms > self._now_ms()

    def _lease_end(self, now: float) -> int:
        return int((now + self._settings.lease_s) * 1000)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


@lru_cache(maxsize=_DIGESTS)
def _digest(text: str) -> bytes:
    return bytes.fromhex(text)


def _retry_reason(row: AdmissionRow) -> Reason:
    ambiguous = row.state is State.PUBLISH_AMBIGUOUS
    return Reason.PUBLISH_AMBIGUOUS_RETRY if ambiguous else Reason.PUBLISH_IN_FLIGHT_RETRY


def _copy_of(row: AdmissionRow) -> Callable[[bytes | None, Sequence[tuple[str, bytes]]], bool]:
    """Whether a record is what the row's holder would have published: same run, same event, same payload hash."""
    wanted = {EVENT_ID: row.event_id.encode(), PLATFORM_RUN_ID: row.platform_run_id.encode()}

    def is_copy(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bool:
        found = dict(headers)
        if value is None or any(found.get(name) != content for name, content in wanted.items()):
            return False
        try:
            envelope = decode_envelope(value)
        except msgspec.DecodeError:
            return False  # put there by somebody who is not the edge
        payload = bytes(envelope.payload)
        return bool(payload) and payload_hash(envelope.event_type, payload, envelope.schema_version) == row.payload_hash

    return is_copy

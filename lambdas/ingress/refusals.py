"""Refused items: durable before anybody is told, and what a mismatch says to the audit topic (domain.md 2.7, 2.12)."""

import asyncio
import secrets
from datetime import UTC, datetime

from ingress.admission import DifferentPayloadError
from ingress.anomaly import Mismatch, anomaly_record
from ingress.answers import Answer, retry
from ingress.batches import PublishUnknownError
from ingress.bus import Bus, BusError
from ingress.dynamodb import StoreError
from ingress.health import BUS, STORE, Health
from ingress.inspection import Candidate, Detail, Refused
from ingress.logs import log
from ingress.quarantine import Quarantine, id_of
from ingress.receipt import Decision
from ingress.record import Caller, Record
from ingress.run_pins import Pins, RunPins
from ingress.spike import WINDOW_S, Spike, SpikeDetector, UnplacedSpikeError, spike_record
from ingress.steps import Step, reached
from laws.headers import Correlation, Provenance
from laws.reasons import Reason
from laws.times import format_instant


class Refusals:
    """Keeps what policy refuses."""

    def __init__(self, quarantine: Quarantine, bus: Bus, health: Health, provenance: Provenance, phase_id: str, run_pins: RunPins) -> None:
        self._quarantine = quarantine
        self._bus = bus
        self._health = health
        self._provenance = provenance
        self._phase_id = phase_id
        self._run_pins = run_pins
        self.spikes = SpikeDetector()
        self._edge = secrets.token_hex(8)
        self._spike: Spike | None = None
        """One that no event was made of yet."""
        self._waiting: list[Record] = []
        """The events of those that are not on the bus yet: one a minute while it is away."""
        self._raising = asyncio.Lock()

    async def refuse(self, refused: Refused, caller: Caller, mismatch: Mismatch | None = None) -> Answer:
        """QUARANTINE, told only once the record is durable."""
        event_id = refused.known.text("event_id") or None
        try:
            kept = await self._quarantine.keep(refused, format_instant(datetime.now(UTC)), caller, mismatch)
        except StoreError as error:
            self._health.failed(STORE, str(error))
            return retry(Reason.DEPENDENCY_UNAVAILABLE, event_id, "the store does not answer: send it again")
        log.info("quarantined", reasons=refused.reasons, field=refused.detail.field, event_id=event_id, quarantine_id=kept.quarantine_id)
        reached(Step.REFUSAL_KEPT)
        await self._count(refused)
        if kept.pending is not None:
            await self._publish(kept.pending)
        return Answer(
            Decision.QUARANTINE,
            400,
            event_id,
            reason_codes=refused.reasons,
            detail=refused.detail,
            quarantine_id=kept.quarantine_id,
        )

    async def mismatch(self, candidate: Candidate, caller: Caller, correlation: Correlation, found: DifferentPayloadError) -> Answer:
        """QUARANTINE of a changed payload, and its anomaly."""
        first, envelope = found.row, candidate.envelope
        advice = f"this event_id stands with payload hash {first.payload_hash.hex()}: send a changed fact under an id of its own"
        detail = Detail("payload", candidate.payload_hash.hex(), advice)
        refused = Refused((Reason.PAYLOAD_HASH_MISMATCH,), detail, candidate.known)
        mismatch = Mismatch(
            platform_run_id=candidate.identity.platform_run_id,
            event_class=candidate.identity.event_class.value,
            event_id=candidate.identity.event_id,
            first_payload_hash=first.payload_hash.hex(),
            other_payload_hash=candidate.payload_hash.hex(),
            first_state=first.state.value,
            first_ref=first.origin.ref() if first.origin else None,
            quarantine_id=id_of(refused),
            ts_utc=envelope.ts_utc,
            seen_at_utc=format_instant(datetime.now(UTC)),
            manifest_fingerprint=envelope.manifest_fingerprint,
            parameter_hash=envelope.parameter_hash,
            seed=envelope.seed,
            scenario_id=envelope.scenario_id,
            correlation=correlation,
            provenance=self._provenance,
        )
        return await self.refuse(refused, caller, mismatch)

    async def sweep(self) -> None:
        """Publishes the anomalies that an earlier life of an edge left behind, and a spike that waits. Raises what stands in the way."""
        async for mismatch in self._quarantine.pending():
            await self._announce(mismatch)
        if (spike := self._spike) is not None:
            # Refusals that are all of a foreign run, or of none, are the plainest spike: it may not wait for a better one.
            pins = await self._run_pins.of_a_row()
            if pins is None:
                raise UnplacedSpikeError(f"{spike.refusals} refusals within {WINDOW_S} s, none of the active run, which has no row yet")
            if self._spike is spike:
                self._place(spike, pins)
        await self._raise()

    async def _publish(self, mismatch: Mismatch) -> None:
        """Puts the anomaly on the bus and notes it. What fails here is made up for by the next copy, or by the watch."""
        try:
            await self._announce(mismatch)
        except (BusError, PublishUnknownError) as error:
            self._health.failed(BUS, str(error))
        except StoreError as error:
            self._health.failed(STORE, str(error))

    async def _count(self, refused: Refused) -> None:
        """Counts a refusal. A spike without a refusal of the active run waits for one, or for the watch to find a row of it."""
        spike = self.spikes.refused()
        if spike is not None:
            log.error("quarantine_spike", refusals=spike.refusals, window_s=WINDOW_S)
            self._spike = spike
        if self._spike is None or (pins := self._run_pins.of(refused.known)) is None:
            return
        self._place(self._spike, pins)
        try:
            await self._raise()
        except (BusError, PublishUnknownError) as error:
            self._health.failed(BUS, str(error))  # the watch's next sweep raises it

    def _place(self, spike: Spike, pins: Pins) -> None:
        now = format_instant(datetime.now(UTC))
        record = spike_record(spike, self._edge, pins, now, self._phase_id, self._provenance)
        self._spike = None
        self._waiting.append(record)

    async def _raise(self) -> None:
        """Publishes the events of spikes. The watch and a refusal may both be here: whoever comes second waits for what the first one has
        in hand, and may not take it for told before it is."""
        async with self._raising:
            while self._waiting:
                await self._bus.ensure()
                await self._bus.publish(self._waiting[0])
                del self._waiting[0]

    async def _announce(self, mismatch: Mismatch) -> None:
        await self._bus.ensure()
        await self._bus.publish(anomaly_record(mismatch))
        reached(Step.ANOMALY_SENT)
        await self._quarantine.mark_published(mismatch.quarantine_id)
        reached(Step.ANOMALY_NOTED)

"""A spike of refusals (domain.md 2.15): so many within a minute are a source gone wrong, and an event of their own."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ingress.own_events import Origin, own_record
from ingress.policy import WRITER
from ingress.record import Record
from ingress.run_pins import Pins
from ingress.settings import POLICY_REV
from laws.catalogue import QUARANTINE_SPIKE
from laws.contracts.audit import QuarantineSpike
from laws.encode import canonical_struct
from laws.headers import Correlation, Provenance
from laws.ids import hex64
from laws.trace_context import derive_span_id, derive_trace_id, start

COUNT = 25
WINDOW_S = 60
EVENT_ID_RECIPE = "ig.quarantine_spike.event_id.v1"


class Spike(NamedTuple):
    """One spike: how many refusals stood in the window when it was seen, and the number of the spike within this process."""

    refusals: int
    number: int


class SpikeDetector:
    """Counts refusals of this process. One spike a window: a source that goes on wrong is told once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[float] = deque()
        self._quiet_until = float("-inf")
        self._number = 0

    def refused(self) -> Spike | None:
        """Counts a refusal; the spike that it completes, if it does."""
        now = self._clock()
        self._seen.append(now)
        while self._seen[0] <= now - WINDOW_S:
            self._seen.popleft()
        if len(self._seen) < COUNT or now < self._quiet_until:
            return None
        self._quiet_until = now + WINDOW_S
        self._number += 1
        return Spike(len(self._seen), self._number)


class UnplacedSpikeError(Exception):
    """A spike was told to nobody yet: no pins of the active run are known."""


def spike_record(spike: Spike, edge: str, pins: Pins, seen_at_utc: str, phase_id: str, provenance: Provenance) -> Record:
    """The record for the audit topic; `edge` tells the processes of a run apart, so that each spike has an identity of its own."""
    event_id = hex64(EVENT_ID_RECIPE, {"platform_run_id": pins.platform_run_id, "edge": edge, "number": spike.number})
    trace_id = derive_trace_id(pins.platform_run_id, QUARANTINE_SPIKE.name, event_id)
    place = start(trace_id, derive_span_id(trace_id, "root"), sampled=False)
    correlation = Correlation(place.header(), "", pins.platform_run_id, pins.scenario_run_id, phase_id, event_id, WRITER)
    payload = QuarantineSpike(POLICY_REV.rpartition(".")[0], spike.refusals, WINDOW_S)
    origin = Origin(seen_at_utc, seen_at_utc, pins.manifest_fingerprint, None, None, None, None, correlation, provenance)
    return own_record(QUARANTINE_SPIKE, event_id, canonical_struct(payload), msgspec.to_builtins(payload), origin)

"""The record that an admitted event becomes: canonical bytes, headers, partition (architecture.md, settled questions). Pure."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec

from ingress.inspection import Candidate
from ingress.policy import WRITER
from laws.headers import TRACEPARENT, Correlation, Provenance
from laws.trace_context import (
    TraceContext,
    child,
    child_header,
    continue_or_start,
    derive_span_id,
    derive_trace_id,
    parse_traceparent,
    parse_tracestate,
)

# Canonical for an envelope: its keys are ASCII and fixed, its values texts but for the payload, which is canonical already.
_SORTED = msgspec.json.Encoder(order="sorted").encode


class Record(NamedTuple):
    """One record to publish. `topic` is the catalogue's name."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    @property
    def traceparent(self) -> str:
        """The place in the trace that the record carries."""
        name, value = self.headers[0]
        assert name == TRACEPARENT  # laws.headers.Correlation writes it first
        return value.decode()


class Caller(NamedTuple):
    """What a request says about where it comes from."""

    traceparent: str | None
    tracestate: str | None
    principal: str


def continued(traceparent: str | None, tracestate: str | None, caller: Caller) -> TraceContext | None:
    """The trace that an item says it is of, or else its request; None where neither says so lawfully, and one starts anew."""
    for parent, state in ((traceparent, tracestate), (caller.traceparent, caller.tracestate)):
        if (place := parse_traceparent(parent)) is not None:
            return TraceContext(place, parse_tracestate(state or ""))
    return None


@dataclass(frozen=True)
class Stamp:
    """What this edge adds to every event that goes through it."""

    phase_id: str
    provenance: Provenance
    trace_sample_ratio: float

    def record(self, candidate: Candidate, caller: Caller) -> tuple[Record, Correlation]:
        """The record of a candidate. What the producer said stays; phase, lane and trace are added where they are missing."""
        envelope = candidate.envelope
        traceparent, tracestate = self._place(candidate, caller)
        assert envelope.platform_run_id is not None
        assert envelope.scenario_run_id is not None  # check_envelope: every type of the edge requires both pins
        correlation = Correlation(
            traceparent=traceparent,
            tracestate=tracestate,
            platform_run_id=envelope.platform_run_id,
            scenario_run_id=envelope.scenario_run_id,
            phase_id=envelope.phase_id or self.phase_id,
            event_id=envelope.event_id,
            runtime_lane=envelope.runtime_lane or WRITER,
        )
        stamped = msgspec.structs.replace(
            envelope,
            phase_id=correlation.phase_id,
            runtime_lane=correlation.runtime_lane,
            traceparent=correlation.traceparent,
            tracestate=correlation.tracestate or None,
            payload=msgspec.Raw(candidate.payload),
        )
        headers = [*correlation.headers(), *self._provenance_headers]
        return Record(candidate.topic.name, candidate.partition, candidate.key, _SORTED(stamped), headers), correlation

    @cached_property
    def _provenance_headers(self) -> list[tuple[str, bytes]]:
        return self.provenance.headers()

    def _place(self, candidate: Candidate, caller: Caller) -> tuple[str, str]:
        """traceparent and tracestate of the record."""
        envelope = candidate.envelope
        if envelope.traceparent is not None and envelope.tracestate is None:
            below = child_header(envelope.traceparent, WRITER, envelope.event_id)
            if below is not None:
                return below, ""
        context = self._context(candidate, caller)
        parent = context.traceparent
        return child(parent, derive_span_id(parent.trace_id, WRITER, envelope.event_id)).header(), context.tracestate.header()

    def _context(self, candidate: Candidate, caller: Caller) -> TraceContext:
        """The event's own trace before that of the request, which may carry a hundred events; else one derived from the event."""
        envelope = candidate.envelope
        if (context := continued(envelope.traceparent, envelope.tracestate, caller)) is not None:
            return context
        run, event_class, event_id = candidate.identity
        trace_id = derive_trace_id(run, event_class.value, event_id)
        sampled = int(trace_id[:8], 16) < self.trace_sample_ratio * 2**32
        return continue_or_start(None, None, lambda: trace_id, sampled)

"""What an operator sees: structured logs, metrics with a sentence each, and spans through the bus (authority.md 11, 5.1.1 item 12)."""

import contextvars
import logging
import sys
from collections import Counter as Tally
from collections.abc import Sequence
from pathlib import Path

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spine.inputs import Inlet
from spine.outcome import Applied
from spine.settings import Settings

_LINKS_PER_BATCH = 32

_span_id: contextvars.ContextVar[int] = contextvars.ContextVar("span_id", default=0)


def configure_logs(service: str, worker_id: str) -> None:
    """JSON lines on standard output, one per event, once, where it is handled."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, worker=worker_id)
    # Libraries log through the standard library; theirs go the same way, at the level where they ask for attention.
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stdout, format='{"level":"%(levelname)s","logger":"%(name)s","event":"%(message)s"}'
    )


class _GivenIds(IdGenerator):
    """Span ids of outputs are those that their records carry; all others are random."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        return _span_id.get() or self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        return self._random.generate_trace_id()


class _FileExporter(SpanExporter):
    """Appends finished spans as JSON lines: the collector of a machine without one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            self._file.write(span.to_json(indent=None) + "\n")
        self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


class Telemetry:
    """Metrics and spans of one worker."""

    def __init__(self, settings: Settings, service: str, worker_id: str) -> None:
        self.registry = CollectorRegistry()
        self._inputs = Counter(
            "fp_inputs",
            "Inputs judged, by verdict. A rising POISON or MISMATCH wants a look at fp parked and at the anomalies.",
            ["lane_group", "inlet", "verdict"],
            registry=self.registry,
        )
        self._outputs = Counter(
            "fp_outputs",
            "Records committed for publishing. Flat while inputs rise: the policy decides nothing.",
            ["lane_group"],
            registry=self.registry,
        )
        self._transaction = Histogram(
            "fp_transaction_seconds",
            "Time of one transaction of a lane, waits included. Near the lock timeout: the store is too slow for the batch size.",
            ["lane_group", "inlet"],
            buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12),
            registry=self.registry,
        )
        self.lag = Gauge(
            "fp_lag_events",
            "Records between the lane and the end of its topic. Growing: add a worker.",
            ["lane", "topic"],
            registry=self.registry,
        )
        self.owned = Gauge(
            "fp_lanes_owned", "Lanes of this worker. Zero on a ready worker: there are more workers than lanes.", registry=self.registry
        )
        self.tallies: Tally[str] = Tally()
        resource = Resource.create({"service.name": service, "service.instance.id": worker_id, "service.version": settings.release_id})
        self._provider = TracerProvider(resource=resource, id_generator=_GivenIds())
        self._traced = bool(settings.otlp_file)
        if self._traced:
            self._provider.add_span_processor(BatchSpanProcessor(_FileExporter(Path(settings.otlp_file))))
        self._tracer = self._provider.get_tracer("spine")
        self.provider = self._provider

    def applied(self, group: str, inlet: Inlet, applied: Applied, seconds: float) -> None:
        """Count one committed transaction, and record its spans."""
        for verdict, count in Tally(applied.verdicts).items():
            self._inputs.labels(group, inlet.value, verdict.value).inc(count)
            self.tallies[verdict.value] += count
        self._outputs.labels(group).inc(len(applied.outbox))
        self.tallies["outputs"] += len(applied.outbox)
        self._transaction.labels(group, inlet.value).observe(seconds)
        if self._traced and applied.emitted:
            self._spans(group, inlet, applied)

    def _spans(self, group: str, inlet: Inlet, applied: Applied) -> None:
        links = [Link(_context(cause)) for _, _, cause in applied.emitted[:_LINKS_PER_BATCH]]
        with self._tracer.start_as_current_span(
            f"{group} {inlet.value}",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            links=links,
            attributes={"fp.lane_seq": applied.lane_seq, "fp.inputs": len(applied.verdicts), "fp.outputs": len(applied.outbox)},
        ):
            for event_type, traceparent, cause in applied.emitted:
                token = _span_id.set(int(traceparent[36:52], 16))
                try:
                    parent = trace.set_span_in_context(NonRecordingSpan(_context(cause)))
                    self._tracer.start_span(f"emit {event_type}", context=parent, kind=SpanKind.PRODUCER).end()
                finally:
                    _span_id.reset(token)

    def close(self) -> None:
        """Hand over what is not exported yet."""
        self._provider.shutdown()


def _context(traceparent: str) -> SpanContext:
    return SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
    )

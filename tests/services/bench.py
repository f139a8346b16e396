"""A whole service in memory, from the bytes of its records and commands to what it publishes: the spine's decoder before a fake lane."""

from typing import Any, NamedTuple

from laws.canonical import canonical_json
from laws.catalogue import EventType
from laws.envelope import encode_envelope
from laws.headers import TRACEPARENT, Correlation
from laws.trace_context import derive_span_id, derive_trace_id
from spine.emission import HEADERS_DECODER
from spine.inputs import Decoder, Input, Source
from spine.scheduled import Scheduled
from spine.service import Answer, Call, Cause, Effect, LaneGroup, Reply, Service
from spine.settings import KafkaSecurity, Rung, Settings
from spine.tables import Table
from tests.services.fake_state import PROVENANCE, RUN, SCENARIO_RUN, FakeLane, published

PINS = {
    "platform_run_id": RUN,
    "scenario_run_id": SCENARIO_RUN,
    "manifest_fingerprint": "b" * 64,
    "parameter_hash": "c" * 64,
    "seed": "7",
    "scenario_id": "baseline",
}
INSTANT = "2026-01-05T00:00:00.000000Z"
TOPIC_ID = "00000000-0000-0000-0000-000000000001"


def settings() -> Settings:
    """Settings of a service that reaches nothing outside."""
    return Settings(
        env=Rung.LOCAL_PARITY,
        release_id="local-test",
        kafka_bootstrap="127.0.0.1:1",
        kafka_security=KafkaSecurity.PLAINTEXT,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        http_port=0,
        token_secret="secret",
        label_store_url="http://127.0.0.1:1",
    )


def trace_id(name: str) -> str:
    """The trace of every event that is sent with `trace=name`."""
    return derive_trace_id(name)


def source_of(
    event_type: EventType,
    event_id: str,
    payload: dict[str, Any],
    *,
    trace: str = "",
    offset: int = 0,
    ts_utc: str = INSTANT,
    pins: dict[str, str] | None = None,
    principal: str | None = None,
) -> Source:
    """The record of an event or, with a `principal`, the source of a command as the boundary makes it."""
    fields = {
        **(PINS if pins is None else pins),
        "event_id": event_id,
        "event_type": event_type.name,
        "ts_utc": ts_utc,
        "schema_version": event_type.schema_versions[-1],
        "producer": principal or "test",
    }
    value = encode_envelope(fields, canonical_json(payload))
    trace_of = trace_id(trace or event_id)
    traceparent = f"00-{trace_of}-{derive_span_id(trace_of, event_id)}-01"
    correlation = Correlation(traceparent, "", fields["platform_run_id"], SCENARIO_RUN, "P6", event_id, "ig")
    headers = (*correlation.headers(), *PROVENANCE.headers())
    if principal is not None:
        return Source("", "", "", 0, -1, b"key", value, headers)
    assert event_type.topic is not None
    key = event_type.topic.key.key_of(event_id, payload)
    assert key is not None
    return Source("cluster", TOPIC_ID, event_type.topic.name, event_type.topic.partition(key), offset, key, value, headers)


class Sent(NamedTuple):
    """A record as it stands on its topic, its payload read back with its contract."""

    topic: str
    event_id: str
    parent_event_id: str | None
    trace_id: str
    body: Any


class Bench:
    """One service over a fake lane. An input whose handler raises leaves nothing behind."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lane = FakeLane()
        self._offset = 0
        self.sent: list[Sent] = []
        self.calls: list[tuple[Call, Cause]] = []

    def rows(self, table: Table[Any]) -> list[Any]:
        """The rows of a table, in the order of their first writing."""
        return self._lane.store.all(table)

    def record(self, event_type: EventType, event_id: str, payload: dict[str, Any], **how: Any) -> tuple[Effect, ...]:
        """Apply a record by its door. Raises what the handler raises; AssertionError for a record that is not lawful."""
        self._offset += 1
        group = self._group(lambda group: any(door.event_type is event_type for door in group.doors))
        item = Decoder(group).record(source_of(event_type, event_id, payload, offset=self._offset, **how))
        assert item.poison is None, item.poison
        return self._apply(item)

    def command(self, event_type: EventType, event_id: str, payload: dict[str, Any], principal: str, trace: str = "") -> tuple[Effect, ...]:
        """Apply a command. Raises what the handler raises, and ValueError for one that is not lawful."""
        group = self._group(lambda group: any(command.event_type is event_type for command in group.commands))
        return self._apply(Decoder(group).command(source_of(event_type, event_id, payload, trace=trace, principal=principal)))

    def answer(self, name: str, answer: Answer) -> tuple[Effect, ...]:
        """Apply the settled answer of a call."""
        group = self._group(lambda group: any(task.name == name for task in group.tasks))
        return self._apply(Scheduled(group, Decoder(group)).answer(name, answer, settles=False))

    def _group(self, has: Any) -> LaneGroup:
        (group,) = (group for group in self.service.groups if has(group))
        return group

    def _apply(self, item: Input) -> tuple[Effect, ...]:
        assert item.cause is not None
        if item.apply is None:
            return ()
        effects = self._lane.one(item)
        for output in published(effects, item.cause, service=self.service.name):
            headers = dict(HEADERS_DECODER.decode(output.row.headers))
            trace = headers[TRACEPARENT].decode()[3:35]
            self.sent.append(Sent(output.row.topic, output.event_id, output.parent_event_id, trace, output.body))
        self.calls += [(effect, effect.cause or item.cause) for effect in effects if isinstance(effect, Call)]
        return effects


def reply_of(effects: tuple[Effect, ...]) -> Reply:
    """The one reply among effects."""
    (reply,) = (effect for effect in effects if isinstance(effect, Reply))
    return reply

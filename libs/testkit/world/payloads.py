"""The payloads of the four event types and the envelope around them (domain.md 2.1, 13.1).

Pins stand in the envelope only. What would leak the truth or the future (fraud_flag, campaign_id, session_end_utc,
arrival_count) has no field here. Every id is text; money is integer minor units with a currency.
"""

import msgspec

from testkit.world.clock import format_utc
from testkit.world.config import RunIds, WorldPins
from testkit.world.identity import ARRIVAL, ARRIVAL_ENTITIES, EVENT_CLASS, FLOW_ANCHOR, TRAFFIC, event_id_of


class TrafficPayload(msgspec.Struct, gc=False):
    """s3_event_stream_with_fraud_6B."""

    flow_id: str
    event_seq: int
    event_type: str
    ts_utc: str
    amount_minor: int
    currency: str


class AnchorPayload(msgspec.Struct, gc=False):
    """s3_flow_anchor_with_fraud_6B: which arrival and which entities a flow belongs to."""

    flow_id: str
    merchant_id: str
    arrival_seq: int
    account_id: str
    party_id: str
    amount_minor: int
    currency: str
    ts_utc: str
    instrument_id: str | msgspec.UnsetType = msgspec.UNSET
    device_id: str | msgspec.UnsetType = msgspec.UNSET
    ip_id: str | msgspec.UnsetType = msgspec.UNSET


class ArrivalPayload(msgspec.Struct, gc=False):
    """arrival_events_5B.

    ts_local_primary is the reading of a clock in tzid_primary, without a zone; bucket_index counts hours of the world.
    """

    merchant_id: str
    zone_representation: str
    bucket_index: int
    arrival_seq: int
    ts_utc: str
    tzid_primary: str
    ts_local_primary: str
    is_virtual: bool
    channel_group: str
    site_id: str | msgspec.UnsetType = msgspec.UNSET
    edge_id: str | msgspec.UnsetType = msgspec.UNSET


class ArrivalEntitiesPayload(msgspec.Struct, gc=False):
    """s1_arrival_entities_6B."""

    merchant_id: str
    arrival_seq: int
    party_id: str
    account_id: str
    session_id: str
    ts_utc: str
    instrument_id: str | msgspec.UnsetType = msgspec.UNSET
    device_id: str | msgspec.UnsetType = msgspec.UNSET
    ip_id: str | msgspec.UnsetType = msgspec.UNSET


Payload = TrafficPayload | AnchorPayload | ArrivalPayload | ArrivalEntitiesPayload
_TYPE_OF: dict[type[Payload], str] = {
    TrafficPayload: TRAFFIC,
    AnchorPayload: FLOW_ANCHOR,
    ArrivalPayload: ARRIVAL,
    ArrivalEntitiesPayload: ARRIVAL_ENTITIES,
}


class Envelope(msgspec.Struct, gc=False):
    """The canonical event envelope as this producer fills it; engine outputs have no schema_version (domain.md 2.13)."""

    event_id: str
    event_type: str
    ts_utc: str
    manifest_fingerprint: str
    parameter_hash: str
    seed: str
    scenario_id: str
    run_id: str
    platform_run_id: str
    scenario_run_id: str
    emitted_at_utc: str
    producer: str
    payload: Payload


class Event(msgspec.Struct, gc=False):
    """One row of the world, before it is sent. notes name what is odd about its way into the stream."""

    event_type: str
    event_id: str
    ts_us: int
    payload: Payload
    flow_id: str
    notes: tuple[str, ...] = ()

    @property
    def event_class(self) -> str:
        """domain.md 2.4."""
        return EVENT_CLASS[self.event_type]

    @property
    def is_trigger(self) -> bool:
        """Whether the event asks for a decision: an AUTH_REQUEST of the traffic stream."""
        payload = self.payload
        return type(payload) is TrafficPayload and payload.event_type == "AUTH_REQUEST"


def event_of(payload: Payload, ts_us: int, flow_id: str, pins: WorldPins) -> Event:
    """Names a row by its primary key (domain.md 13.1) and makes an event of it."""
    key: tuple[str | int, ...]
    if isinstance(payload, TrafficPayload):
        key = (payload.flow_id, payload.event_seq)
    elif isinstance(payload, AnchorPayload):
        key = (payload.flow_id,)
    else:
        key = (payload.merchant_id, payload.arrival_seq)
    event_type = _TYPE_OF[type(payload)]
    return Event(event_type, event_id_of(event_type, key, pins), ts_us, payload, flow_id)


class Envelopes:
    """Puts events of one run into envelopes."""

    def __init__(self, run: RunIds, pins: WorldPins, producer: str) -> None:
        self._run = run
        self._pins = pins
        self._producer = producer
        self._encode = msgspec.json.Encoder().encode

    def wrap(self, event: Event, emitted_us: int) -> Envelope:
        """The envelope of an event that is sent at emitted_us, the producer's clock in world time (domain.md 2.2)."""
        pins, run = self._pins, self._run
        return Envelope(
            event.event_id,
            event.event_type,
            event.payload.ts_utc,
            pins.manifest_fingerprint,
            pins.parameter_hash,
            pins.seed,
            pins.scenario_id,
            run.scenario_run_id,
            run.platform_run_id,
            run.scenario_run_id,
            format_utc(emitted_us),
            self._producer,
            event.payload,
        )

    def encode(self, event: Event, emitted_us: int) -> bytes:
        """The envelope's JSON bytes."""
        return self._encode(self.wrap(event, emitted_us))

    def as_dict(self, event: Event, emitted_us: int) -> dict[str, object]:
        """The envelope as plain values, for a body that goes wrong on purpose."""
        plain: dict[str, object] = msgspec.to_builtins(self.wrap(event, emitted_us))
        return plain

"""Envelopes that the edge takes: typed payloads in, canonical bytes out."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from laws.catalogue import EVENT_TYPES, EventType
from laws.encode import canonical_struct
from laws.envelope import Envelope, decode_envelope, encode_envelope
from laws.ids import engine_event_id
from laws.pins import ContextPins
from laws.times import format_instant

_OF_CONTRACT: dict[type[msgspec.Struct], EventType] = {event_type.contract: event_type for event_type in EVENT_TYPES.values()}


class Events:
    """Builds the envelopes of one producer in one run. An event's id is derived from what it is, so a retry can't make a second one."""

    def __init__(self, pins: ContextPins, producer: str) -> None:
        self._pins = {name: str(value) for name, value in msgspec.structs.asdict(pins).items()}
        self._producer = producer

    def event(self, payload: msgspec.Struct, *key: str | int, ts_utc: str, **fields: str) -> bytes:
        """The envelope of a payload of the catalogue, e.g. laws.contracts.world.TrafficEvent.

        `key` is what makes the event this event in its world, e.g. (flow_id, event_seq); `ts_utc` is its domain time. `fields`
        are optional fields of the envelope: traceparent, parent_event_id, event_id (in the place of the derived one) ..
        Raises ValueError where the edge would refuse the envelope; it names the field.
        """
        event_type = _OF_CONTRACT.get(type(payload))
        if event_type is None:
            raise ValueError(f"{type(payload).__name__} is no contract of the catalogue")
        if not key and "event_id" not in fields:
            raise ValueError("give the key of the event, or its event_id: an id that is drawn anew on a retry is a second event")
        head = self._head(event_type, key, ts_utc) | fields
        raw = encode_envelope(head, canonical_struct(_checked(payload)))
        _checked_envelope(raw)
        return raw

    def _head(self, event_type: EventType, key: tuple[str | int, ...], ts_utc: str) -> dict[str, Any]:
        world = {name: self._pins[name] for name in ("manifest_fingerprint", "parameter_hash", "seed", "scenario_id")}
        head = {
            "event_type": event_type.name,
            "ts_utc": ts_utc,
            **self._pins,
            "emitted_at_utc": format_instant(datetime.now(UTC)),
            "producer": self._producer,
        }
        if key:
            head["event_id"] = engine_event_id(event_type.name, list(key), world)
        if "run_id" in event_type.required_pins:
            head["run_id"] = self._pins["scenario_run_id"]
        if event_type.schema_versions:
            head["schema_version"] = event_type.schema_versions[-1]
        return head


def _checked(payload: msgspec.Struct) -> msgspec.Struct:
    """The payload, judged by its contract: a struct that was built in code was not."""
    try:
        msgspec.convert(msgspec.to_builtins(payload), type(payload))
    except msgspec.ValidationError as error:
        raise ValueError(f"payload: {error}") from None
    return payload


def _checked_envelope(raw: bytes) -> Envelope:
    try:
        return decode_envelope(raw)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None

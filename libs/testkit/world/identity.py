"""Names of things: event ids, entity ids, trace ids, event types and classes (domain.md 2.3, 2.4, 13.1)."""

import hashlib
import json
import struct
from typing import Final

import msgspec

from testkit.world.config import WorldPins

TRAFFIC: Final = "s3_event_stream_with_fraud_6B"
ARRIVAL: Final = "arrival_events_5B"
ARRIVAL_ENTITIES: Final = "s1_arrival_entities_6B"
FLOW_ANCHOR: Final = "s3_flow_anchor_with_fraud_6B"

EVENT_CLASS: Final[dict[str, str]] = {
    TRAFFIC: "traffic_fraud",
    ARRIVAL: "context_arrival",
    ARRIVAL_ENTITIES: "context_arrival_entities",
    FLOW_ANCHOR: "context_flow_fraud",
}
"""Event type to event class (domain.md 2.4)."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_two_numbers = struct.Struct("<qq").pack


class Identity(msgspec.Struct, frozen=True, gc=False):
    """The dedupe tuple of an event (domain.md 2.6)."""

    platform_run_id: str
    event_class: str
    event_id: str


def event_id_of(output_id: str, primary_key: tuple[str | int, ...], pins: WorldPins) -> str:
    """SHA-256 hex over the canonical JSON of [output_id, primary key values..., pins] (domain.md 2.3).

    It names a row of the world, so it is the same in every run of that world.
    """
    row = [output_id, *primary_key, pins.manifest_fingerprint, pins.parameter_hash, pins.seed, pins.scenario_id]
    return hashlib.sha256(_canonical(row).encode()).hexdigest()


class EntityIds:
    """Ids of one kind of entity: a member's number to 64 bits in decimal, by hashing, so that no pool is kept in memory."""

    __slots__ = ("_base",)

    def __init__(self, seed: int, kind: str) -> None:
        self._base = hashlib.blake2b(f"{seed}|{kind}".encode(), digest_size=8)

    def number(self, major: int, minor: int = 0) -> int:
        """A uniform 64-bit number for the member (major, minor)."""
        hasher = self._base.copy()
        hasher.update(_two_numbers(major, minor))
        return int.from_bytes(hasher.digest(), "big")

    def name(self, major: int, minor: int = 0) -> str:
        """The id as it is written in a payload: decimal text, because it can exceed 2^53."""
        return str(self.number(major, minor))


def traceparent_of(event_id: str, delivery: int, sampled_one_in: int) -> str:
    """The W3C traceparent of one delivery of an event: one trace per event, one span per delivery.

    delivery is 0 for the first send and 1 for a re-send; one trace in sampled_one_in has the sampled flag.
    """
    span = event_id[32:48] if delivery == 0 else event_id[48:64]
    flags = "01" if int(event_id[:8], 16) % sampled_one_in == 0 else "00"
    return f"00-{event_id[:32]}-{span}-{flags}"

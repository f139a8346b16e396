"""The admission row: what the edge knows of one identity, and its form in DynamoDB (domain.md 2.9)."""

import base64
import uuid
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from laws.coordinates import Coordinate

Item: TypeAlias = dict[str, dict[str, Any]]
"""Typed attributes as DynamoDB's protocol writes them: {"name": {"S": ".."}}. Numbers are decimal texts, bytes are base64."""


class State(StrEnum):
    """States of a row (domain.md 2.8)."""

    PUBLISH_IN_FLIGHT = "PUBLISH_IN_FLIGHT"
    """Somebody publishes it, until the lease is over."""
    PUBLISH_AMBIGUOUS = "PUBLISH_AMBIGUOUS"
    """Nobody knows whether it was appended."""
    RELEASED = "RELEASED"
    """It was not appended, and its holder is gone: the producer's retry publishes it. Key and payload hash stand."""
    ADMITTED = "ADMITTED"
    """It stands on the bus."""


UNSETTLED = (State.PUBLISH_IN_FLIGHT, State.PUBLISH_AMBIGUOUS)
"""What the reconciler brings to an end."""


class AdmissionRow(msgspec.Struct, frozen=True, gc=False):
    """One row. It is the receipt as well: everything that a receipt says and can't be derived is a column.

    Times are epoch milliseconds. The columns from `lease_owner` on stand only while the row is not admitted, those before
    them from `offset` on only when it is.
    """

    dedupe_key: str
    state: State
    platform_run_id: str
    event_class: str
    event_id: str
    ts_utc: str
    manifest_fingerprint: bytes
    scenario_run_id: bytes
    payload_hash: bytes
    partition_key: bytes
    cluster_id: str
    topic_id: bytes
    topic: str
    partition: int
    policy_rev: str
    config_digest: bytes
    release_id: str
    ttl_epoch: int
    # The place in the event's trace, as its record carries it: 16 bytes of the trace, 8 of the span, 1 of flags.
    trace: bytes = b""
    offset: int | None = None
    published_at_ms: int | None = None
    admitted_at_ms: int | None = None
    # Who may settle the row: a fresh nonce for every attempt, so that a sender whose put was repeated knows its own row.
    lease_owner: bytes | None = None
    lease_until_ms: int | None = None
    attempt: int | None = None
    # No copy of this event stands below it: the partition's end before the first attempt, or where a search that saw none ended.
    low_water: int | None = None
    # Offsets of copies that a sender appended after it had lost the row; consumers drop them as duplicates.
    second_copies: tuple[int, ...] = ()

    @property
    def origin(self) -> Coordinate | None:
        """eb_ref: where the event stands; None before it is admitted."""
        if self.offset is None:
            return None
        return Coordinate(self.cluster_id, topic_id_text(self.topic_id), self.topic, self.partition, self.offset)

    @property
    def traceparent(self) -> str:
        """The place in the trace in W3C's words; "" for a row of a build that did not keep it."""
        shown = self.trace.hex()
        return f"00-{shown[:32]}-{shown[32:48]}-{shown[48:]}" if shown else ""


def packed_trace(traceparent: str) -> bytes:
    """The 25 bytes of a traceparent that the edge wrote."""
    return bytes.fromhex(traceparent[3:].replace("-", ""))


@lru_cache(maxsize=64)  # topics, and what they were recreated as
def topic_id_text(topic_id: bytes) -> str:
    """A topic's id as everybody but a row writes it."""
    return str(uuid.UUID(bytes=topic_id))


class Settlement(NamedTuple):
    """What settles a row that the caller holds: where its event stands, and when (epoch milliseconds)."""

    row: AdmissionRow
    offset: int
    published_at_ms: int
    admitted_at_ms: int

    def settled(self) -> AdmissionRow:
        """The row as it is once it is admitted."""
        return replace(
            self.row,
            state=State.ADMITTED,
            offset=self.offset,
            published_at_ms=self.published_at_ms,
            admitted_at_ms=self.admitted_at_ms,
            lease_owner=None,
            lease_until_ms=None,
            attempt=None,
            low_water=None,
        )


_ATTRIBUTES = {  # field -> (attribute, type)
    "dedupe_key": ("dedupe_key", "S"),
    "state": ("state", "S"),
    "platform_run_id": ("platform_run_id", "S"),
    "event_class": ("event_class", "S"),
    "event_id": ("event_id", "S"),
    "ts_utc": ("ts_utc", "S"),
    "manifest_fingerprint": ("manifest_fingerprint", "B"),
    "scenario_run_id": ("scenario_run_id", "B"),
    "payload_hash": ("payload_hash", "B"),
    "partition_key": ("partition_key", "B"),
    "cluster_id": ("eb_cluster_id", "S"),
    "topic_id": ("eb_topic_id", "B"),
    "topic": ("eb_topic", "S"),
    "partition": ("eb_partition", "N"),
    "policy_rev": ("policy_rev", "S"),
    "config_digest": ("config_digest", "B"),
    "release_id": ("release_id", "S"),
    "ttl_epoch": ("ttl_epoch", "N"),
    "trace": ("tp", "B"),  # two letters: the longest event id leaves room for no more
    "offset": ("eb_offset", "N"),
    "published_at_ms": ("eb_published_at_ms", "N"),
    "admitted_at_ms": ("admitted_at_ms", "N"),
    "lease_owner": ("lease_owner", "B"),
    "lease_until_ms": ("lease_until_ms", "N"),
    "attempt": ("attempt", "N"),
    "low_water": ("low_water", "N"),
    "second_copies": ("second_copies", "NS"),
}


def text(value: str) -> dict[str, Any]:
    """A string attribute."""
    return {"S": value}


def number(value: int) -> dict[str, Any]:
    """A number attribute."""
    return {"N": str(value)}


def binary(value: bytes) -> dict[str, Any]:
    """A binary attribute."""
    return {"B": base64.b64encode(value).decode()}


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {"S": text, "N": number, "B": binary}


def to_item(row: AdmissionRow) -> Item:
    """The row as DynamoDB takes it; what is None is left out."""
    fields = msgspec.structs.asdict(row)
    fields.pop("second_copies")  # only ever added to a row that stands
    item: Item = {}
    for name, value in fields.items():
        if value is not None and value != b"":
            attribute, kind = _ATTRIBUTES[name]
            item[attribute] = _WRITERS[kind](value)
    return item


def from_item(item: Item) -> AdmissionRow:
    """The row as DynamoDB gave it, numbers as int: a Decimal would fail where the answer is written (lesson L6)."""
    fields: dict[str, Any] = {}
    for name, (attribute, kind) in _ATTRIBUTES.items():
        if (value := item.get(attribute)) is None:
            continue
        raw = value[kind]
        if kind == "N":
            fields[name] = int(raw)
        elif kind == "B":
            fields[name] = base64.b64decode(raw)
        elif kind == "NS":
            fields[name] = tuple(sorted(int(entry) for entry in raw))
        else:
            fields[name] = raw
    fields["state"] = State(fields["state"])
    return AdmissionRow(**fields)

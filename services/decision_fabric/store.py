"""DF's own tables: anchors, velocities and decisions (domain.md 5.8; runtime.md, State)."""

import msgspec

from laws.contracts.world import FlowAnchor
from laws.fields import Hex32, Hex64
from spine.service import Event
from spine.tables import Mode, Table


class Anchor(msgspec.Struct, frozen=True):
    """The flow anchor of one flow of one run, and where it stands."""

    platform_run_id: str
    flow_id: str
    event_id: str
    payload_hash: bytes
    merchant_id: str
    account_id: str
    party_id: str
    instrument_id: str | None
    device_id: str | None
    ip_id: str | None
    amount_minor: int
    currency: str
    cluster_id: str
    topic_uuid: str
    topic: str
    home_partition: int
    home_offset: int


class Velocity(msgspec.Struct, frozen=True):
    """What one lane saw of one value of a dimension: buckets of counts and amounts, by event time."""

    platform_run_id: str
    dimension: str
    value: str
    buckets: bytes


class Decision(msgspec.Struct, frozen=True):
    """One decision; its event's bytes are in the outbox under the same lane_seq."""

    decision_id: Hex32
    platform_run_id: str
    source_event_id: str
    flow_id: str
    action_kind: str
    context_status: str
    snapshot_hash: Hex64
    reason_codes: str
    decision_event_id: str


ANCHORS = Table("anchor", Anchor, ("platform_run_id", "flow_id"), Mode.STATE)
VELOCITIES = Table("velocity", Velocity, ("platform_run_id", "dimension", "value"), Mode.SHARED)
DECISIONS = Table("decision", Decision, ("decision_id",), Mode.APPEND)
TABLES = (ANCHORS, VELOCITIES, DECISIONS)


def anchor_row(event: Event[FlowAnchor]) -> Anchor:
    """The row of an anchor's event. Raises ValueError for a command: a decision names the place of its anchor."""
    body, origin = event.body, event.origin
    if origin is None:
        raise ValueError(f"anchor {event.identity.event_id} has no origin: only records are anchors")
    return Anchor(
        platform_run_id=event.identity.platform_run_id,
        flow_id=body.flow_id,
        event_id=event.identity.event_id,
        payload_hash=event.payload_hash,
        merchant_id=body.merchant_id,
        account_id=body.account_id,
        party_id=body.party_id,
        instrument_id=body.instrument_id,
        device_id=body.device_id,
        ip_id=body.ip_id,
        amount_minor=body.amount_minor,
        currency=body.currency,
        cluster_id=origin.cluster_id,
        topic_uuid=origin.topic_id,
        topic=origin.topic,
        home_partition=origin.partition,
        home_offset=origin.offset,
    )

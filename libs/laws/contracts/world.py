"""Payloads of the engine's streams, without truth and leak columns (domain.md 13.1, 2.13; lesson L37)."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from laws.fields import Currency, Instant, Label, MinorUnits, Name

Sequence = Annotated[int, Meta(ge=1, le=2**53)]

# Truth and future-derived fields: a live lane may never see them (domain.md 0.5 temporal causality, L37).
LEAK_FIELDS = frozenset({"fraud_flag", "campaign_id", "session_end_utc", "arrival_count"})


class TrafficKind(StrEnum):
    """Event vocabulary inside the traffic stream (domain.md 13.4)."""

    AUTH_REQUEST = "AUTH_REQUEST"
    AUTH_RESPONSE = "AUTH_RESPONSE"
    STEP_UP_CHALLENGE = "STEP_UP_CHALLENGE"
    STEP_UP_COMPLETE = "STEP_UP_COMPLETE"
    CLEARING = "CLEARING"
    REFUND = "REFUND"
    REVERSAL = "REVERSAL"


class TrafficEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """s3_event_stream_with_fraud_6B. A trigger is one whose own event_type is AUTH_REQUEST."""

    flow_id: Label
    event_seq: Sequence
    event_type: TrafficKind
    ts_utc: Instant
    amount_minor: MinorUnits
    currency: Currency


class FlowAnchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """s3_flow_anchor_with_fraud_6B: who and what stands behind a flow."""

    flow_id: Label
    merchant_id: Label
    arrival_seq: Sequence
    account_id: Label
    party_id: Label
    amount_minor: MinorUnits
    currency: Currency
    ts_utc: Instant
    instrument_id: Label | None = None
    device_id: Label | None = None
    ip_id: Label | None = None


class ArrivalEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """arrival_events_5B."""

    merchant_id: Label
    arrival_seq: Sequence
    ts_utc: Instant
    zone_representation: Annotated[str, Meta(min_length=1, max_length=1_048_576)]
    """Free text of the engine: the one field without a small bound, up to the edge's own limit."""
    bucket_index: Annotated[int, Meta(ge=0, le=2**53)]
    tzid_primary: Label
    ts_local_primary: Name
    is_virtual: bool
    channel_group: Label | None = None
    site_id: Label | None = None
    edge_id: Label | None = None
    routing_universe_hash: Label | None = None
    tz_group_id: Label | None = None
    tzid_operational: Label | None = None
    tzid_settlement: Label | None = None


class ArrivalEntities(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """s1_arrival_entities_6B."""

    merchant_id: Label
    arrival_seq: Sequence
    party_id: Label
    account_id: Label
    session_id: Label
    ts_utc: Instant
    instrument_id: Label | None = None
    device_id: Label | None = None
    ip_id: Label | None = None

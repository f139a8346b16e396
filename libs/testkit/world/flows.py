"""From one arrival to the events of its flow, each with the time at which it is sent (domain.md 13.4, 13.6)."""

from random import Random
from typing import Final

import msgspec
from msgspec import UNSET

from testkit.world import amounts
from testkit.world.campaigns import Attack
from testkit.world.clock import US_PER_HOUR, US_PER_MS, US_PER_S, format_local, format_utc, parse_utc
from testkit.world.config import WorldConfig, pins_of
from testkit.world.customers import Customers, Entities
from testkit.world.identity import EntityIds
from testkit.world.merchants import Merchant, Merchants
from testkit.world.payloads import AnchorPayload, ArrivalEntitiesPayload, ArrivalPayload, Event, TrafficPayload, event_of
from testkit.world.strata import NEVER, strata
from testkit.world.truth import FlowIds, FraudKind

STEP_UP_AND_DECLINE: Final = {
    "ECOM": (0.05, 0.10),
    "POS": (0.02, 0.08),
    "ATM": (0.0, 0.08),
    "BANK_RAIL": (0.0, 0.0),
    "HYBRID": (0.04, 0.10),
}
"""Shares of flows with a step-up and of declined flows by channel; the rest clears (domain.md 13.4)."""
REFUND_SHARE = 0.02
REVERSAL_SHARE = 0.004
PARTIAL_REFUND_SHARE = 0.3
AUTH_RESPONSE_CAP_S = 180.0
CLEARING_CAP_S = 6 * 3_600.0
REVERSAL_CAP_S = 6 * 3_600.0
REFUND_CAP_S = 24 * 3_600.0
"""No refund travels in the stream later than a day after its authorisation: it bounds what the stream has to remember."""
LATE_CONTEXT_S = (150.0, 900.0)
"""Beyond the allowed lateness of two minutes (domain.md 3.2)."""
EARLY_FLOWS = 120
"""The first 240 flows, within any world of 2,000 events, hold two of every rare kind."""

MISSING_CONTEXT = "missing_context"
LATE_CONTEXT = "late_context"
CONTEXT_AFTER_TRIGGER = "context_after_trigger"


class Arrival(msgspec.Struct, gc=False):
    """One arrival at a merchant. attack is None for the customer's own arrivals."""

    ts_us: int
    merchant: int
    party: int
    session_id: str
    attack: Attack | None = None


class _Flow(msgspec.Struct, gc=False):
    """What all events of one flow share."""

    flow_id: str
    arrival: Arrival
    merchant: Merchant
    sequence: int
    channel: str
    who: Entities
    amount: int


Scheduled = tuple[int, Event]
"""The world time at which an event is sent, microseconds, and the event."""


class Flows:
    """Turns arrivals into flows. State: one arrival counter per merchant and the serial number of the next flow."""

    def __init__(self, config: WorldConfig, customers: Customers, merchants: Merchants) -> None:
        self._config = config
        self._customers = customers
        self._merchants = merchants
        self._pins = pins_of(config)
        self._start_us = parse_utc(config.start_utc)
        self._flow_ids = FlowIds(config.seed)
        self._places = EntityIds(config.seed, "site")
        self._rng = Random(f"{config.seed}|flows")  # noqa: S311 - the world is reproducible, not secret
        self._lateness = Random(f"{config.seed}|lateness")  # noqa: S311  reproducible, not secret
        self._arrival_seq = [0] * config.merchants
        self._serial = 0
        self._late = strata(f"{config.seed}|late", config.mess.late_context_per_flow, EARLY_FLOWS)
        self._missing = strata(f"{config.seed}|missing", config.mess.missing_context_per_flow, EARLY_FLOWS)
        self._next_late = next(self._late, NEVER)
        self._next_missing = next(self._missing, NEVER)

    def open(self, arrival: Arrival) -> list[Scheduled]:
        """All events of the flow that an arrival opens, not in order."""
        rng = self._rng
        attack = arrival.attack
        merchant = self._merchants.all[arrival.merchant]
        channel = "ECOM" if attack and (attack.device_id or attack.ip_id) else merchant.channel(rng)
        who = self._customers.entities(rng, arrival.party, channel)
        if attack:
            who.device_id = attack.device_id or who.device_id
            who.ip_id = attack.ip_id or who.ip_id
        serial = self._serial
        self._serial += 1
        self._arrival_seq[merchant.index] += 1
        flow = _Flow(
            flow_id=self._flow_ids.flow_id(serial, *self._truth(attack)),
            arrival=arrival,
            merchant=merchant,
            sequence=self._arrival_seq[merchant.index],
            channel=channel,
            who=who,
            amount=self._amount(channel, attack),
        )
        at_us = arrival.ts_us
        request_us = at_us + int(rng.uniform(20, 400) * US_PER_MS)
        anchor_us, note = self._anchor_time(serial, at_us, request_us)
        out = [
            (at_us, event_of(self._arrival_payload(flow), at_us, flow.flow_id, self._pins)),
            (at_us + rng.randint(1, 5_000), event_of(_entities_payload(flow), at_us, flow.flow_id, self._pins)),
        ]
        if anchor_us is not None:
            out.append((anchor_us, event_of(_anchor_payload(flow), at_us, flow.flow_id, self._pins)))
        conversation = self._conversation(request_us, channel, flow.amount, attack)
        for number, (instant_us, kind, minor) in enumerate(conversation, 1):
            payload = TrafficPayload(flow.flow_id, number, kind, format_utc(instant_us), minor, merchant.zone.currency)
            out.append((instant_us, event_of(payload, instant_us, flow.flow_id, self._pins)))
            if number == 1 and note:
                out[-1][1].notes = (note,)
        return out

    def _truth(self, attack: Attack | None) -> tuple[FraudKind, int]:
        if attack:
            return attack.shape.kind, attack.campaign
        return (FraudKind.FRIENDLY, 0) if self._rng.random() < self._config.friendly_share else (FraudKind.NONE, 0)

    def _amount(self, channel: str, attack: Attack | None) -> int:
        rng = self._rng
        if attack and attack.shape.probes:
            return rng.choice(amounts.PROBE_POINTS)
        if channel == "ATM":
            minor = amounts.cash(rng)
        elif channel == "BANK_RAIL":
            minor = amounts.transfer(rng)
        else:
            minor = amounts.purchase(rng)
        return amounts.upshift(rng, minor) if attack and attack.shape.upshift else minor

    def _anchor_time(self, serial: int, arrival_us: int, request_us: int) -> tuple[int | None, str | None]:
        """When the anchor is sent (None: never) and what is odd about it; mess draws from a source of its own."""
        lag_us = self._rng.randint(1, self._config.anchor_lag_ms * US_PER_MS)
        after_trigger = self._rng.random() < self._config.anchor_after_trigger
        if serial >= self._next_missing:
            self._next_missing = next(self._missing)
            return None, MISSING_CONTEXT
        if serial >= self._next_late:
            self._next_late = next(self._late)
            return request_us + int(self._lateness.uniform(*LATE_CONTEXT_S) * US_PER_S), LATE_CONTEXT
        if after_trigger:
            return request_us + lag_us, CONTEXT_AFTER_TRIGGER
        return max(arrival_us, request_us - lag_us), None

    def _conversation(self, request_us: int, channel: str, amount: int, attack: Attack | None) -> list[tuple[int, str, int]]:
        """The traffic of one flow in order of time: instant, event type, amount."""
        rng = self._rng
        step_up, decline = STEP_UP_AND_DECLINE[channel]
        fate = rng.random()
        events = [(request_us, "AUTH_REQUEST", amount)]
        last_us = request_us
        always_declined = attack is not None and attack.shape.always_declined
        if fate < step_up and not always_declined:
            last_us += _seconds(rng.lognormvariate(0.05, 0.55))
            events.append((last_us, "STEP_UP_CHALLENGE", amount))
            last_us += _seconds(rng.lognormvariate(1.30, 0.55))
            events.append((last_us, "STEP_UP_COMPLETE", amount))
        last_us += _seconds(min(AUTH_RESPONSE_CAP_S, rng.lognormvariate(1.10, 1.20)))
        events.append((last_us, "AUTH_RESPONSE", amount))
        declined = always_declined or step_up <= fate < step_up + decline
        if declined:
            return events
        if rng.random() < REVERSAL_SHARE:
            events.append((last_us + _seconds(min(REVERSAL_CAP_S, rng.expovariate(0.002))), "REVERSAL", amount))
            return events
        suppressed = attack is not None and rng.random() < attack.shape.suppress_clearing
        if rng.random() < self._config.clearing_in_stream and not suppressed:
            delay = rng.gammavariate(1.5, 600) if channel == "ATM" else rng.gammavariate(2, 1_500)
            last_us += _seconds(min(CLEARING_CAP_S, delay))
            events.append((last_us, "CLEARING", amount))
        if rng.random() < REFUND_SHARE or (attack is not None and attack.shape.always_refunded):
            back = max(1, round(amount * rng.uniform(0.1, 0.9))) if rng.random() < PARTIAL_REFUND_SHARE else amount
            events.append((last_us + _seconds(min(REFUND_CAP_S, rng.gammavariate(1.1, 7_200))), "REFUND", back))
        return events

    def _arrival_payload(self, flow: _Flow) -> ArrivalPayload:
        merchant, at_us = flow.merchant, flow.arrival.ts_us
        zone = merchant.zone
        payload = ArrivalPayload(
            merchant_id=merchant.merchant_id,
            zone_representation=zone.name,
            bucket_index=(at_us - self._start_us) // US_PER_HOUR,
            arrival_seq=flow.sequence,
            ts_utc=format_utc(at_us),
            tzid_primary=zone.tzid,
            ts_local_primary=format_local(at_us + zone.offset_hours * US_PER_HOUR),
            is_virtual=merchant.is_virtual,
            channel_group=flow.channel,
        )
        place = self._places.name(merchant.index, self._rng.randrange(merchant.sites))
        if merchant.is_virtual:
            payload.edge_id = place
        else:
            payload.site_id = place
        return payload


def _entities_payload(flow: _Flow) -> ArrivalEntitiesPayload:
    who = flow.who
    return ArrivalEntitiesPayload(
        merchant_id=flow.merchant.merchant_id,
        arrival_seq=flow.sequence,
        party_id=who.party_id,
        account_id=who.account_id,
        session_id=flow.arrival.session_id,
        ts_utc=format_utc(flow.arrival.ts_us),
        instrument_id=UNSET if who.instrument_id is None else who.instrument_id,
        device_id=UNSET if who.device_id is None else who.device_id,
        ip_id=UNSET if who.ip_id is None else who.ip_id,
    )


def _anchor_payload(flow: _Flow) -> AnchorPayload:
    who = flow.who
    return AnchorPayload(
        flow_id=flow.flow_id,
        merchant_id=flow.merchant.merchant_id,
        arrival_seq=flow.sequence,
        account_id=who.account_id,
        party_id=who.party_id,
        amount_minor=flow.amount,
        currency=flow.merchant.zone.currency,
        ts_utc=format_utc(flow.arrival.ts_us),
        instrument_id=UNSET if who.instrument_id is None else who.instrument_id,
        device_id=UNSET if who.device_id is None else who.device_id,
        ip_id=UNSET if who.ip_id is None else who.ip_id,
    )


def _seconds(seconds: float) -> int:
    return int(seconds * US_PER_S) + 1

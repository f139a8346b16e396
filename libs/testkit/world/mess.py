"""What goes wrong on the way, at declared rates (domain.md 13.5).

Bodies that the edge must refuse, re-sends, and records put on a topic behind the edge's back.
"""

import hashlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import msgspec

from testkit.world.clock import US_PER_S, format_utc
from testkit.world.config import RunIds, WorldConfig, pins_of
from testkit.world.identity import FLOW_ANCHOR, TRAFFIC, Identity, traceparent_of
from testkit.world.payloads import (
    AnchorPayload,
    ArrivalEntitiesPayload,
    ArrivalPayload,
    Envelopes,
    Event,
    TrafficPayload,
    event_of,
)
from testkit.world.steps import Credential, EdgeKind, EdgeSend, Step, TopicInject, TopicKind
from testkit.world.strata import NEVER, strata
from testkit.world.truth import FlowIds, FraudKind

EARLY_EVENTS = 600
"""Two of every rare kind lie within the first 1,200 valid events, so that their re-sends still fit into a world of 2,000."""
LARGE_BYTES: Final = (600_000, 900_000)
"""Length of the text in a payload near the edge's limit of 1 MiB (domain.md 2.8)."""
OVERSIZE_BYTES = 1_048_576 + 1_024
INEXACT: Final = b"9007199254740993"
"""2^53 + 1: RFC 8785 would write another number."""
RESEND_SOON_S = (0.5, 45.0)
RESEND_LATE_S = (45.0, 900.0)
LATE_RESEND_SHARE = 0.1
DISORDER_S = (5.0, 90.0)
"""Within the allowed lateness of two minutes (domain.md 3.2)."""

OUT_OF_ORDER = "out_of_order"
LARGE_PAYLOAD = "large_payload"
_BODY_PINS = ("parameter_hash", "seed", "scenario_id", "run_id", "scenario_run_id", "platform_run_id")
"""Pins of a class. manifest_fingerprint is not among them: without it the envelope itself is invalid (domain.md 2.1)."""


class Resend(msgspec.Struct, gc=False):
    """A planned second delivery of an event; payload is given if it is a changed one."""

    kind: EdgeKind | TopicKind
    event: Event
    changed: dict[str, object] | None = None


class Wanted:
    """Tells after how many valid events a kind is due; a kind stays due until an event that suits it comes by."""

    __slots__ = ("_next", "_positions", "next_due")

    def __init__(self, seed: int, rates: dict[str, float]) -> None:
        self._positions = {name: strata(f"{seed}|mess|{name}", rate, EARLY_EVENTS) for name, rate in rates.items()}
        self._next = {name: next(positions, NEVER) for name, positions in self._positions.items()}
        self.next_due = min(self._next.values())

    def due(self, count: int) -> list[str]:
        """The kinds that are due after count valid events."""
        return [name for name, position in self._next.items() if position <= count] if self.next_due <= count else []

    def done(self, name: str) -> None:
        """The kind has happened; its next turn comes later."""
        self._next[name] = next(self._positions[name])
        self.next_due = min(self._next.values())


class Mess:
    """Spoils a stream. All its draws come from its own sources, so the world's rows stay the same at any rates."""

    def __init__(self, config: WorldConfig, run: RunIds, envelopes: Envelopes) -> None:
        rates = config.mess
        self._config = config
        self._run = run
        self._pins = pins_of(config)
        self._envelopes = envelopes
        self._rng = Random(f"{config.seed}|mess")  # noqa: S311 - the world is reproducible, not secret
        self._flow_ids = FlowIds(config.seed)
        self._ghosts = 0
        self._before = Wanted(config.seed, {OUT_OF_ORDER: rates.out_of_order, LARGE_PAYLOAD: rates.large_payload})
        self._after: dict[str, Callable[[Event, int], Step | tuple[int, Resend]]] = {
            "edge_duplicate": lambda event, at_us: self._resend(EdgeKind.DUPLICATE, event, at_us),
            "topic_duplicate": lambda event, at_us: self._resend(TopicKind.DUPLICATE, event, at_us),
            "edge_changed_payload": lambda event, at_us: self._resend(EdgeKind.CHANGED_PAYLOAD, event, at_us),
            "topic_changed_payload": lambda event, at_us: self._resend(TopicKind.CHANGED_PAYLOAD, event, at_us),
            "missing_pins": self._missing_pins,
            "unknown_type": self._unknown_type,
            "bad_schema": self._bad_schema,
            "unknown_field": self._unknown_field,
            "foreign_run": self._foreign_run,
            "unauthorised": self._unauthorised,
            "bad_json": self._bad_json,
            "duplicate_key": self._duplicate_key,
            "inexact_number": self._inexact_number,
            "oversize": self._oversize,
        }
        self._wanted = Wanted(config.seed, {name: getattr(rates, name) for name in self._after})

    def before(self, count: int, event: Event) -> int | None:
        """What happens to an event on its way to being the count-th valid one (from 0).

        Makes its payload large, or returns by how many microseconds it comes late; None means that it goes now.
        """
        if self._before.next_due > count or event.notes:
            return None
        due = self._before.due(count)
        if LARGE_PAYLOAD in due and isinstance(event.payload, ArrivalPayload):
            self._before.done(LARGE_PAYLOAD)
            event.payload.zone_representation += "~" * self._rng.randint(*LARGE_BYTES)
            event.notes = (LARGE_PAYLOAD,)
        elif OUT_OF_ORDER in due and event.event_type != FLOW_ANCHOR:
            self._before.done(OUT_OF_ORDER)
            event.notes = (OUT_OF_ORDER,)
            return int(self._rng.uniform(*DISORDER_S) * US_PER_S)
        return None

    def after(self, count: int, event: Event, at_us: int) -> Iterator[Step | tuple[int, Resend]]:
        """What follows the count-th valid event: bodies to refuse at once, and re-sends with the world time they are due at."""
        if self._wanted.next_due > count or LARGE_PAYLOAD in event.notes:
            return
        on_topic = event.event_type in {TRAFFIC, FLOW_ANCHOR}
        for name in self._wanted.due(count):
            if on_topic or not name.startswith("topic_"):
                self._wanted.done(name)
                yield self._after[name](event, at_us)

    def step_of(self, resend: Resend, at_us: int) -> Step:
        """The step of a planned re-send at its time."""
        event = resend.event
        identity = Identity(self._run.platform_run_id, event.event_class, event.event_id)
        trace = traceparent_of(event.event_id, 1, self._config.sampled_one_in)
        if isinstance(resend.kind, TopicKind):
            return TopicInject(resend.kind, identity, event.event_type, at_us, trace, resend.changed)
        body = self._envelopes.encode(event, at_us)
        if resend.changed is not None:
            envelope = self._envelopes.as_dict(event, at_us)
            envelope["payload"] = resend.changed
            body = msgspec.json.encode(envelope)
        return EdgeSend(
            resend.kind,
            body,
            at_us,
            event.ts_us,
            event.event_type,
            identity,
            event.flow_id,
            trace,
            changed_payload=resend.changed,
        )

    def _resend(self, kind: EdgeKind | TopicKind, event: Event, at_us: int) -> tuple[int, Resend]:
        span = RESEND_LATE_S if self._rng.random() < LATE_RESEND_SHARE else RESEND_SOON_S
        due_us = at_us + int(self._rng.uniform(*span) * US_PER_S)
        changed = _changed(event) if kind in {EdgeKind.CHANGED_PAYLOAD, TopicKind.CHANGED_PAYLOAD} else None
        return due_us, Resend(kind, event, changed)

    def _ghost(self, like: Event, at_us: int) -> tuple[Event, dict[str, object]]:
        """A traffic event of no flow, with its envelope: nothing valid ever has its identity."""
        self._ghosts += 1
        flow_id = self._flow_ids.flow_id(self._ghosts, FraudKind.GHOST)
        payload = TrafficPayload(flow_id, 1, "AUTH_REQUEST", format_utc(like.ts_us), self._rng.randint(100, 9_999), "USD")
        event = event_of(payload, like.ts_us, flow_id, self._pins)
        return event, self._envelopes.as_dict(event, at_us)

    def _spoilt(
        self,
        kind: EdgeKind,
        event: Event,
        body: bytes,
        at_us: int,
        *,
        readable: bool = True,
        platform_run_id: str | None = None,
        event_class: str | None = None,
        credential: Credential = Credential.VALID,
    ) -> EdgeSend:
        run_id = self._run.platform_run_id if platform_run_id is None else platform_run_id
        identity = Identity(run_id, event_class or event.event_class, event.event_id) if readable else None
        trace = traceparent_of(event.event_id, 0, self._config.sampled_one_in)
        return EdgeSend(kind, body, at_us, event.ts_us, event.event_type, identity, event.flow_id, trace, credential=credential)

    def _missing_pins(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        pin = _BODY_PINS[self._ghosts % len(_BODY_PINS)]
        del envelope[pin]
        run_id = "" if pin == "platform_run_id" else None
        return self._spoilt(EdgeKind.MISSING_PINS, event, msgspec.json.encode(envelope), at_us, platform_run_id=run_id)

    def _unknown_type(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        envelope["event_type"] = "s9_unannounced_output_6B"
        return self._spoilt(EdgeKind.UNKNOWN_TYPE, event, msgspec.json.encode(envelope), at_us, event_class="unknown")

    def _bad_schema(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        payload: dict[str, object] = msgspec.to_builtins(event.payload)
        flaw = self._ghosts % 4
        if flaw == 0:
            payload["amount_minor"] = "12.50"
        elif flaw == 1:
            payload["event_seq"] = 0
        elif flaw == 2:
            del payload["currency"]
        else:
            payload["event_type"] = "AUTH_MAYBE"
        envelope["payload"] = payload
        return self._spoilt(EdgeKind.BAD_SCHEMA, event, msgspec.json.encode(envelope), at_us)

    def _unknown_field(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        envelope["retry_count"] = 1
        return self._spoilt(EdgeKind.UNKNOWN_FIELD, event, msgspec.json.encode(envelope), at_us)

    def _foreign_run(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        digits = int(hashlib.sha256(self._run.platform_run_id.encode()).hexdigest()[:8], 16) % 86_400
        stranger = f"platform_19991231T{digits // 3_600:02d}{digits // 60 % 60:02d}{digits % 60:02d}Z"
        envelope["platform_run_id"] = stranger
        return self._spoilt(EdgeKind.FOREIGN_RUN, event, msgspec.json.encode(envelope), at_us, platform_run_id=stranger)

    def _unauthorised(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        credential = (Credential.WRONG, Credential.MISSING)[self._ghosts % 2]
        return self._spoilt(EdgeKind.UNAUTHORISED, event, msgspec.json.encode(envelope), at_us, credential=credential)

    def _bad_json(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        body = msgspec.json.encode(envelope)
        flaws = (
            body[:-9],
            body + b"}",
            body.replace(b'"producer":"', b'"producer":"\xff\xfe', 1),
            body.replace(b'"event_seq":1', b'"event_seq":NaN', 1),
            b"",
        )
        return self._spoilt(EdgeKind.BAD_JSON, event, flaws[self._ghosts % len(flaws)], at_us, readable=False)

    def _duplicate_key(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        body = msgspec.json.encode(envelope)
        if self._ghosts % 2:
            body = b'{"scenario_id":"another",' + body[1:]
        else:
            body = body.replace(b'"payload":{', b'"payload":{"amount_minor":1,', 1)
        return self._spoilt(EdgeKind.DUPLICATE_KEY, event, body, at_us, readable=False)

    def _inexact_number(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        amount = b'"amount_minor":%d' % event.payload.amount_minor if isinstance(event.payload, TrafficPayload) else b""
        body = msgspec.json.encode(envelope).replace(amount, b'"amount_minor":' + INEXACT, 1)
        return self._spoilt(EdgeKind.INEXACT_NUMBER, event, body, at_us, readable=False)

    def _oversize(self, like: Event, at_us: int) -> Step:
        event, envelope = self._ghost(like, at_us)
        envelope["scenario_id"] = "~" * OVERSIZE_BYTES
        return self._spoilt(EdgeKind.OVERSIZE, event, msgspec.json.encode(envelope), at_us, readable=False)


def _changed(event: Event) -> dict[str, object]:
    """The payload of an event with one believable difference: still valid by schema, with the same primary key."""
    payload: dict[str, object] = msgspec.to_builtins(event.payload)
    if isinstance(event.payload, TrafficPayload | AnchorPayload):
        payload["amount_minor"] = event.payload.amount_minor + 1
    elif isinstance(event.payload, ArrivalEntitiesPayload):
        payload["session_id"] = event.payload.session_id + "0"
    else:
        payload["bucket_index"] = event.payload.bucket_index + 1
    return payload

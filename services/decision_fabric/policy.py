"""What DF decides: pure functions from a trigger, its anchor and velocities to one decision and one intent (domain.md 5)."""

from operator import attrgetter

from decision_fabric.pack import Fact, Pack
from decision_fabric.response import Judgement, outputs
from decision_fabric.rules import UNKNOWN, Guardrails, most_severe
from decision_fabric.store import ANCHORS, VELOCITIES, Anchor, Velocity, anchor_row
from decision_fabric.velocity import Dimension, added, seconds_of, totals
from laws.actions import ActionKind
from laws.contracts.audit import SubjectKey
from laws.contracts.world import FlowAnchor, TrafficEvent, TrafficKind
from laws.reasons import Reason
from laws.topics import FLOW_ANCHOR
from spine.service import Anomaly, Due, Effect, Effects, Event, Put, Read, Reads, ReadWaits, Settle, State, Wait

CONTEXT_WAIT = "context_wait"
POLICY_REV = "df.guardrails.v1"

# Whom an anchor names, in the order of the pack's facts.
_DIMENSIONS = tuple(dimension.value for dimension in Dimension)
_values_of = attrgetter(*(f"{dimension}_id" for dimension in _DIMENSIONS))
# A value that the anchor does not name has no velocity: its four facts are unknown, and hold no rule.
_NO_VELOCITY = (UNKNOWN,) * 4


def is_trigger(event: Event[TrafficEvent]) -> bool:
    """Whether a traffic event is decided on: requests are, everything after them is not (architecture.md, settled questions)."""
    return event.body.event_type is TrafficKind.AUTH_REQUEST


class Fabric:
    """The handlers of one pack."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._guardrails = Guardrails(pack)

    # --- anchors ---

    def on_anchor(self, event: Event[FlowAnchor], state: State) -> Effects:
        """Keep the anchor, and decide every trigger of the flow that waited for it.

        The first anchor of a flow stays: another one is never put in its place, and one that says something else is an anomaly
        (domain.md 3.4). Triggers that waited together are decided on the velocities before all of them, then counted.
        """
        run, flow = event.identity.platform_run_id, event.body.flow_id
        first = state.get(ANCHORS, run, flow)
        if first is not None:
            return _second_anchor(event, first)
        anchor = anchor_row(event)
        waiting = state.waits(CONTEXT_WAIT, wait_key(run, flow))
        effects: list[Effect] = [Put(ANCHORS, anchor)]
        for wait in waiting:
            effects += [Settle(wait), *self._decide(wait.event, anchor, state)]
        return [*effects, *_counted([wait.event for wait in waiting], anchor, state)]

    @staticmethod
    def anchor_reads(event: Event[FlowAnchor]) -> Reads:
        """The flow's anchor, its waits, and the velocities of whom this anchor names."""
        run, flow = event.identity.platform_run_id, event.body.flow_id
        yield Read(ANCHORS, (run, flow))
        yield ReadWaits(CONTEXT_WAIT, wait_key(run, flow))
        yield from _velocity_reads(anchor_row(event))

    # --- traffic ---

    def on_traffic(self, event: Event[TrafficEvent], state: State) -> Effects:
        """Decide a trigger whose anchor is there; let it wait where it is not. Other traffic has no effect here."""
        if not is_trigger(event):
            return ()
        run, flow = event.identity.platform_run_id, event.body.flow_id
        anchor = state.get(ANCHORS, run, flow)
        if anchor is not None:
            return [*self._decide(event, anchor, state), *_counted([event], anchor, state)]
        budget = self._pack.context
        return [
            Wait(
                CONTEXT_WAIT,
                wait_key(run, flow),
                budget.join_wait_ms / 1000,
                until_read=FLOW_ANCHOR.name,
                cap=budget.cap_ms / 1000,
            )
        ]

    @staticmethod
    def traffic_reads(event: Event[TrafficEvent]) -> Reads:
        """The flow's anchor; velocities are read once the anchor says whose."""
        if is_trigger(event):
            yield Read(ANCHORS, (event.identity.platform_run_id, event.body.flow_id))

    @staticmethod
    def traffic_reads_then(event: Event[TrafficEvent], state: State) -> Reads:
        """The velocities of whom the anchor names, where it is there already."""
        if is_trigger(event):
            anchor = state.get(ANCHORS, event.identity.platform_run_id, event.body.flow_id)
            if anchor is not None:
                yield from _velocity_reads(anchor)

    def on_wait_over(self, due: Due[TrafficEvent], state: State) -> Effects:
        """The anchor did not come in time: decide without it, at least STEP_UP, and name what is missing (domain.md 5.7).

        Raises ValueError where the anchor is there after all: the decision would say that it is missing and show that it is not.
        """
        event = due.event
        run, flow = event.identity.platform_run_id, event.body.flow_id
        if state.get(ANCHORS, run, flow) is not None:
            raise ValueError(f"flow_id={flow} of {run} has its anchor, but its wait was not settled")
        found = self._guardrails.hits([event.body.amount_minor, 1, *_NO_VELOCITY * len(Dimension)])
        reason = Reason.CONTEXT_WAIT_CAP if due.capped else Reason.CONTEXT_MISSING
        judgement = Judgement(most_severe(found, ActionKind.STEP_UP), found, (reason, *([Reason.RULE_HIT] if found else [])))
        return outputs(self._pack, event, None, judgement, state)

    @staticmethod
    def wait_over_reads(due: Due[TrafficEvent]) -> Reads:
        """The absent anchor is what was read."""
        yield Read(ANCHORS, (due.event.identity.platform_run_id, due.event.body.flow_id))

    # --- deciding ---

    def _decide(self, event: Event[TrafficEvent], anchor: Anchor, state: State) -> list[Effect]:
        now_s = seconds_of(event.ts_utc)
        run, facts = anchor.platform_run_id, [event.body.amount_minor, 0]
        for dimension, value in zip(_DIMENSIONS, _values_of(anchor), strict=True):
            if value is None:
                facts += _NO_VELOCITY
            else:
                facts += totals([row.buckets for row in state.all_lanes(VELOCITIES, run, dimension, value)], now_s)
        found = self._guardrails.hits(facts)
        judgement = Judgement(most_severe(found, ActionKind.ALLOW), found, (Reason.RULE_HIT if found else Reason.NO_RULE_HIT,))
        return outputs(self._pack, event, anchor, judgement, state)


def wait_key(platform_run_id: str, flow_id: str) -> str:
    """Under what a trigger waits. Two runs of one world have the same flows: an anchor settles only the waits of its own run."""
    return f"{platform_run_id}/{flow_id}"


def _second_anchor(event: Event[FlowAnchor], first: Anchor) -> Effects:
    if event.payload_hash == first.payload_hash:
        return []
    subject = SubjectKey(event.identity.platform_run_id, event.identity.event_class.value, event.identity.event_id)
    details = {"flow_id": event.body.flow_id, "first_event_id": first.event_id}
    return [Anomaly(Reason.PAYLOAD_HASH_MISMATCH, subject, first.payload_hash, event.payload_hash, details)]


def _counted(triggers: list[Event[TrafficEvent]], anchor: Anchor, state: State) -> list[Effect]:
    """This lane's velocities with these triggers of the anchor's flow."""
    if not triggers:
        return []
    run, cause, writes = anchor.platform_run_id, triggers[-1].cause, list[Effect]()
    seen = [(seconds_of(event.ts_utc), event.body.amount_minor) for event in triggers]
    for dimension, value in zip(_DIMENSIONS, _values_of(anchor), strict=True):
        if value is None:
            continue
        own = state.own(VELOCITIES, run, dimension, value)
        buckets = own.buckets if own else None
        for now_s, amount_minor in seen:
            buckets = added(buckets, now_s, amount_minor)
        if buckets is not None:
            writes.append(Put(VELOCITIES, Velocity(run, dimension, value, buckets), cause))
    return writes


def _velocity_reads(anchor: Anchor) -> Reads:
    run = anchor.platform_run_id
    return [
        Read(VELOCITIES, (run, dimension, value))
        for dimension, value in zip(_DIMENSIONS, _values_of(anchor), strict=True)
        if value is not None
    ]


# The facts of a decision are put together by position: amount, context, then four of each dimension.
assert tuple(Fact)[2:] == tuple(f"{dim}_{window}_{what}" for dim in Dimension for window in ("1h", "24h") for what in ("count", "amount"))

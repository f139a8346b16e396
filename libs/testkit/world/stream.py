"""The world itself: everything that happens, in stream order."""

from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random

import msgspec

from testkit.world.campaigns import Campaigns
from testkit.world.clock import US_PER_S, parse_utc
from testkit.world.config import RunIds, WorldConfig, pins_of
from testkit.world.customers import Customers
from testkit.world.flows import Arrival, Flows
from testkit.world.identity import EVENT_CLASS, EntityIds, Identity, traceparent_of
from testkit.world.merchants import PEAK_HOUR_WEIGHT, ZONES, Merchants
from testkit.world.mess import Mess, Resend
from testkit.world.payloads import Envelopes, Event
from testkit.world.steps import EdgeKind, EdgeSend, Step
from testkit.world.truth import FlowIds

SESSION_LENGTHS = (1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4)
"""1..4 arrivals a session (domain.md 13.6), mean 1.79."""
SAME_MERCHANT_SHARE = 0.6
SESSION_GAP_CAP_S = 380.0
"""Three gaps stay under the hard timeout of a session, 20 minutes (domain.md 13.3)."""


class _SessionDue(msgspec.Struct, gc=False):
    """A candidate for the next session of an honest customer."""


class _BurstDue(msgspec.Struct, gc=False):
    """The start of the number-th campaign burst."""

    number: int


_Happening = _SessionDue | _BurstDue | Arrival | Event | Resend


class Stream:
    """One playing of a world: an iterator over its steps.

    What it remembers is the heap of pending happenings and the fixed pools. A happening waits at most a day (a refund), most
    wait seconds, so the heap is bounded by density times delay, whatever the size.
    """

    def __init__(self, config: WorldConfig, run: RunIds) -> None:
        self._config = config
        self._run = run
        self._customers = Customers(config)
        self._merchants = Merchants(config)
        self._campaigns = Campaigns(config, self._customers, self._merchants)
        self._flows = Flows(config, self._customers, self._merchants)
        self._envelopes = Envelopes(run, pins_of(config), config.producer)
        self._mess = Mess(config, run, self._envelopes)
        self._sessions = EntityIds(config.seed, "session")
        self._session_count = 0
        self._arrivals = Random(f"{config.seed}|arrivals")  # noqa: S311 - the world is reproducible, not secret
        self._attacks = Random(f"{config.seed}|attacks")  # noqa: S311  reproducible, not secret
        self._heap: list[tuple[int, int, _Happening]] = []
        self._pushed = 0
        self._steps = self._play()
        mean_length = sum(SESSION_LENGTHS) / len(SESSION_LENGTHS)
        sessions_per_s = config.density * (1 - config.fraud_share) / mean_length
        self._candidates_per_us = sessions_per_s * PEAK_HOUR_WEIGHT / US_PER_S
        self.valid = 0
        """Valid events sent so far."""
        self.at_us = parse_utc(config.start_utc)
        """World time of the last happening, microseconds."""
        self.pending_peak = 0
        """Largest number of pending happenings so far."""

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        return next(self._steps)

    @property
    def tracked_peak(self) -> int:
        """Largest number of objects that playing needed so far: pending happenings and the pool of merchants."""
        return self.pending_peak + len(self._merchants.all)

    def _push(self, due_us: int, happening: _Happening) -> None:
        self._pushed += 1
        heappush(self._heap, (due_us, self._pushed, happening))

    def _play(self) -> Iterator[Step]:
        self._push_session(self.at_us)
        if self._campaigns.stretch_us is not None:
            self._push(self._campaigns.burst_at(self._attacks, 0), _BurstDue(0))
        heap, size = self._heap, self._config.size
        while self.valid < size:
            self.at_us, _, happening = heappop(heap)
            if type(happening) is Event:
                yield from self._send(happening)
            elif isinstance(happening, Arrival):
                for due_us, event in self._flows.open(happening):
                    self._push(due_us, event)
            elif isinstance(happening, _SessionDue):
                self._push_session(self.at_us)
                self._open_session()
            elif isinstance(happening, Resend):
                yield self._mess.step_of(happening, self.at_us)
            elif isinstance(happening, _BurstDue):
                self._open_burst(happening.number)
            self.pending_peak = max(self.pending_peak, len(heap))

    def _send(self, event: Event) -> Iterator[Step]:
        delay_us = self._mess.before(self.valid, event)
        if delay_us is not None:
            self._push(self.at_us + delay_us, event)
            return
        count = self.valid
        self.valid += 1
        yield EdgeSend(
            EdgeKind.VALID,
            self._envelopes.encode(event, self.at_us),
            self.at_us,
            event.ts_us,
            event.event_type,
            Identity(self._run.platform_run_id, EVENT_CLASS[event.event_type], event.event_id),
            event.flow_id,
            traceparent_of(event.event_id, 0, self._config.sampled_one_in),
            is_trigger=event.is_trigger,
            notes=event.notes,
        )
        for outcome in self._mess.after(count, event, self.at_us):
            if isinstance(outcome, tuple):
                self._push(*outcome)
            else:
                yield outcome

    def _push_session(self, after_us: int) -> None:
        gap_us = self._arrivals.expovariate(self._candidates_per_us)
        self._push(after_us + int(gap_us) + 1, _SessionDue())

    def _open_session(self) -> None:
        """Thins the candidates to the merchant's rate at its local hour, then plans the arrivals of one session."""
        rng = self._arrivals
        merchant = self._merchants.pick(rng)
        if rng.random() * PEAK_HOUR_WEIGHT >= merchant.hour_weight(self.at_us):
            return
        party = self._customers.pick(rng, ZONES.index(merchant.zone))
        session_id = self._next_session()
        instant_us = self.at_us
        for _ in range(rng.choice(SESSION_LENGTHS)):
            self._push(instant_us, Arrival(instant_us, merchant.index, party, session_id))
            instant_us += int(min(SESSION_GAP_CAP_S, rng.lognormvariate(4.0, 0.8)) * US_PER_S)
            if rng.random() >= SAME_MERCHANT_SHARE:
                merchant = self._merchants.pick(rng)

    def _open_burst(self, number: int) -> None:
        rng = self._attacks
        session_id = self._next_session()
        for instant_us, attack in self._campaigns.burst(rng, self.at_us):
            merchant = attack.merchant if attack.merchant is not None else self._merchants.pick(rng).index
            self._push(instant_us, Arrival(instant_us, merchant, attack.party, session_id, attack))
        self._push(self._campaigns.burst_at(rng, number + 1), _BurstDue(number + 1))

    def _next_session(self) -> str:
        self._session_count += 1
        return self._sessions.name(self._session_count)


class World:
    """A seeded world for one run. Each iteration plays it again from its start, byte for byte the same."""

    def __init__(self, config: WorldConfig, run: RunIds) -> None:
        self.config = config
        self.run = run
        self.truth = FlowIds(config.seed)
        """Answers what is true of any flow of this world."""

    def __iter__(self) -> Iterator[Step]:
        return self.play()

    def play(self) -> Stream:
        """A new playing, whose figures (valid, at_us, pending_peak) can be read while it runs."""
        return Stream(self.config, self.run)

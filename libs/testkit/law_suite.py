"""The laws as tests, which a service inherits: `class TestLaws(LawSuite): workload = DecisionFabricWorkload()`.

Real workers on real engines. Two places are made a class: one where two workers run while inputs are broken in every way, and one where
workers are killed at every step that they can pass, frozen past their lease, told to leave, and cut off at their COMMITs. Each test ends
with an audit and a replay of everything that its place has seen so far.

Needs the fixture `engines` (testkit.engines.EngineSet).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, NamedTuple

import aiohttp
import pytest

from laws.canonical import canonical_json
from laws.identity import pack_event_id
from laws.payload_hash import payload_hash
from laws.topics import AUDIT
from spine.deadline import Deadline
from spine.lanes import lane_specs
from spine.steps import Step
from spine.tables import quote
from spine.tokens import issue
from testkit.chaos.commit_proxy import Cut
from testkit.chaos.engine_room import EngineRoom
from testkit.chaos.figures import Figures
from testkit.chaos.ground import Ground, ground
from testkit.chaos.reach import reachable
from testkit.chaos.run import Run
from testkit.chaos.schedule import Kind, Move
from testkit.chaos.stream import Piece, What, stream
from testkit.chaos.workers import ForkServer
from testkit.engines import EngineSet
from testkit.workloads import Ask, Fact, Workload, key_of
from testkit.workloads.facts import garbage, unlawful

_SEED = 7
_SUBJECTS = 12
# Subjects of one test are far from those of another, since they share a place.
_OF = {name: number * 10_000 for number, name in enumerate(("duplicate", "mismatch", "poison", "disorder", "breaker"), 1)}
# The narrowest window that settings allow, so that a breaker opens after few records.
_WINDOW = 10
# Steps at which a worker that sleeps past its lease holds something: a transaction, unmarked outputs, a call, a command.
_ASLEEP_AT = (Step.BEFORE_COMMIT, Step.PUBLISHED, Step.TASK_CALLED, Step.COMMAND_RECEIVED)
# Half of the lives are over within a lease: the shorter it is, the sooner everything has happened.
_LEASE = 0.8
# No more workers than lanes: one that owns nothing passes no step.
_SLOTS = 4
# A step that its worker did not come to in time gets so many workers.
_TRIES = 5


class Survived(NamedTuple):
    """What a place went through, and what was found in it."""

    steps: list[Step]
    frozen: list[Step]
    figures: Figures
    cuts: dict[Cut, int]
    findings: list[str]


class LawSuite:
    """Inherit, and name the workload."""

    workload: ClassVar[Workload]
    # A place is killed at every step before the first test that asks about it: on a busy machine that is minutes, and no hang.
    pytestmark = pytest.mark.timeout(600)

    @pytest.fixture(scope="class")
    @classmethod
    async def server(cls) -> AsyncIterator[ForkServer]:
        """Where the workers come from."""
        server = ForkServer()
        await server.start()
        yield server
        await server.close()

    @pytest.fixture(scope="class")
    @classmethod
    async def place(cls, engines: EngineSet, server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
        """Two workers that run."""
        breaker = {"FP_BREAKER_WINDOW": str(_WINDOW)}
        async with ground(engines.endpoints, server, cls.workload, tmp_path_factory.mktemp("laws"), _SEED, environment=breaker) as place:
            workers = [place.worker(), place.worker()]
            deadline = Deadline(60.0)
            await asyncio.gather(*(worker.ready(deadline) for worker in workers))
            yield place

    @pytest.fixture(scope="class")
    @classmethod
    async def survived(cls, engines: EngineSet, server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Survived:
        """A place after kills at every step, zombies, handovers and cuts."""
        folder = tmp_path_factory.mktemp("kills")
        async with ground(engines.endpoints, server, cls.workload, folder, _SEED, lease=_LEASE) as place:
            return await _survive(place, EngineRoom(engines))

    # --- inputs -----------------------------------------------------------------------------------------------------------------------

    async def test_a_duplicate_is_counted_and_changes_nothing(self, place: Ground) -> None:
        facts = _facts(self.workload, "duplicate")
        await _feed(place, What.FIRST, facts)
        before, counted = await _effects(place), await _duplicates(place)
        await _feed(place, What.DUPLICATE, facts)
        assert await _effects(place) == before
        assert await _duplicates(place) == counted + len(facts)
        await _lawful(place)

    async def test_another_payload_is_an_anomaly_with_both_hashes_and_is_never_applied(self, place: Ground) -> None:
        facts = _facts(self.workload, "mismatch")
        await _feed(place, What.FIRST, facts)
        before = await _effects(place)
        others = [(fact, other) for fact in facts for other in _others(self.workload, fact)]
        await _feed(place, What.MISMATCH, [other for _, other in others])
        assert await _effects(place) == before
        expected = {(pack_event_id(fact.event_id), _hash(fact), _hash(other)) for fact, other in others}
        assert expected - await _anomalies(place) == set()
        await _lawful(place)

    async def test_any_order_on_any_partition_is_lawful(self, place: Ground) -> None:
        await place.feeder.feed(stream(self.workload, _SEED, 20, first=_OF["disorder"]))
        await place.settle()
        assert place.feeder.surprises == {}
        await _lawful(place)

    async def test_poison_is_parked_with_its_key_behind_it(self, place: Ground) -> None:
        first = _OF["poison"]
        fact = _record(self.workload, first)
        if fact is None:
            await _refused(place, self.workload.facts(_SEED, first)[0])
            return
        own = self.workload.poison(_SEED, first + 1)
        other = _record(self.workload, first + 2)
        assert other is not None
        behind = dataclasses.replace(fact, event_id=f"{fact.event_id[:-1]}!")
        before = await _parked(place)
        await _feed(place, What.POISON, [garbage(fact), behind, unlawful(other), *own])
        parked = [row for row in await _parked(place) if row not in before]
        keys = {key_of(item) for item in (fact, other)}
        assert [row["reason"] for row in parked if row["key"] == key_of(fact)] == ["ENVELOPE_INVALID", "BEHIND_PARKED_KEY"]
        assert [row["reason"] for row in parked if row["key"] == key_of(other)] == ["CONTRACT_INVALID"]
        assert bool(own) == any(row["key"] not in keys for row in parked), "the service's own poison is parked too"
        await _lawful(place)

    async def test_too_much_poison_stops_the_lane_until_an_operator_says_so(self, place: Ground) -> None:
        if _record(self.workload, 0) is None:
            pytest.skip("reads no topic: a command that is poison is refused, and no lane stops for it")
        facts = _on_one_lane(self.workload, _OF["breaker"], _WINDOW + 2)
        # Two of three: above the ratio of one half, and never as many in a row as the other limit asks for.
        await place.feeder.feed([_piece(What.POISON, garbage(fact) if i % 3 else fact) for i, fact in enumerate(facts)])
        await _until(place, "SELECT count(*) = 1 FROM lane WHERE stopped_reason LIKE 'BREAKER_OPEN%'")
        await _until(place, "SELECT bool_and(owner IS NULL) FROM lane_lease JOIN lane USING (lane) WHERE stopped_reason IS NOT NULL")
        async with place.site.store(place.service.name) as store:
            await store.execute("UPDATE lane SET stopped_reason = NULL")
        await place.settle()
        await _lawful(place)

    # --- workers ----------------------------------------------------------------------------------------------------------------------

    async def test_killed_at_every_step_nothing_is_lost_or_doubled(self, survived: Survived) -> None:
        assert survived.findings == [], survived.findings
        assert set(survived.figures.kills_at) == set(survived.steps), "every step that a worker can pass has killed one"

    async def test_a_worker_that_wakes_up_past_its_lease_is_refused(self, survived: Survived) -> None:
        assert survived.findings == [], survived.findings
        assert survived.figures.zombies >= len(survived.frozen)

    async def test_lanes_move_while_workers_come_and_go(self, survived: Survived) -> None:
        assert survived.findings == [], survived.findings
        assert survived.figures.handovers > 0
        assert survived.figures.stored["epochs"] > survived.figures.stored["lanes"]

    async def test_a_commit_whose_answer_is_lost_counts_once(self, survived: Survived) -> None:
        assert survived.findings == [], survived.findings
        assert set(survived.cuts) == set(Cut)


# --- the place that is hurt ---------------------------------------------------------------------------------------------------------------


async def _survive(place: Ground, room: EngineRoom) -> Survived:
    steps = reachable(place.service)
    frozen = [step for step in _ASLEEP_AT if step in steps]
    moves = [
        *(Move(Kind.KILL_AT, step=step) for step in steps),
        *(Move(Kind.FREEZE_AT, step=step) for step in frozen),
        Move(Kind.FREEZE, seconds=0.5),
        *(Move(Kind.LEAVE, seconds=1.0) for _ in range(2)),
        Move(Kind.JOIN, seconds=1.0),
        *(Move(Kind.CUT, cut=cut) for cut in (*Cut, *Cut)),
    ]
    moves = [moves[i] for i in sorted(range(len(moves)), key=lambda i: (i * 7) % len(moves))]
    run = Run(place, room, moves, _SEED, tries=_TRIES)
    await run.play(min(_SLOTS, len(lane_specs(place.service))))
    return Survived(steps, frozen, run.figures, dict(place.proxy.cuts), [*run.findings, *await place.audited()])


# --- inputs -------------------------------------------------------------------------------------------------------------------------------


def _facts(workload: Workload, name: str) -> list[Fact]:
    return [fact for number in range(_SUBJECTS) for fact in workload.facts(_SEED, _OF[name] + number)]


def _others(workload: Workload, fact: Fact) -> list[Fact]:
    found = [workload.other(fact), workload.elsewhere(fact)]
    return found[:1] if found[0] == found[1] else found


def _record(workload: Workload, number: int) -> Fact | None:
    """The first record of a subject; None for a service that reads no topic."""
    return next((fact for fact in workload.facts(_SEED, number) if not isinstance(fact, Ask)), None)


def _on_one_lane(workload: Workload, first: int, count: int) -> list[Fact]:
    """Records of different keys that one lane reads."""
    lanes: dict[tuple[str, int], list[Fact]] = {}
    for number in itertools.count(first):
        fact = _record(workload, number)
        if fact is None or fact.event_type.topic is None:
            continue
        lane = lanes.setdefault((fact.event_type.topic.name, fact.event_type.topic.partition(key_of(fact))), [])
        lane.append(fact)
        if len(lane) == count:
            return lane
    raise AssertionError("the numbers never end")


def _piece(what: What, fact: Fact) -> Piece:
    return Piece(what, fact, contested=what is What.MISMATCH)


async def _feed(place: Ground, what: What, facts: Sequence[Fact]) -> None:
    await place.feeder.feed([_piece(what, fact) for fact in facts])
    await place.settle()
    assert place.feeder.surprises == {}


async def _refused(place: Ground, fact: Fact) -> None:
    """A command that is not lawful is refused at the boundary, and nothing of it is kept."""
    assert isinstance(fact, Ask)
    before = await _value(place, "SELECT count(*) FROM input")
    headers = {"authorization": f"Bearer {issue(place.site.token_secret, fact.principal)}"}
    url = f"http://127.0.0.1:{place.workers[0].port}{fact.path}"
    async with aiohttp.ClientSession() as session, session.post(url, json={**fact.payload, "unlawful": True}, headers=headers) as answer:
        assert answer.status == 400
    assert await _value(place, "SELECT count(*) FROM input") == before


def _hash(fact: Fact) -> bytes:
    versions = fact.event_type.schema_versions
    return payload_hash(fact.event_type.name, canonical_json(fact.payload), versions[-1] if versions else None)


# --- what stands in the store -------------------------------------------------------------------------------------------------------------


async def _lawful(place: Ground) -> None:
    assert await place.audited() == []


async def _value(place: Ground, sql: str) -> Any:
    async with place.site.store(place.service.name) as store:
        return await store.fetchval(sql)


async def _until(place: Ground, sql: str) -> None:
    deadline = Deadline(60.0)
    while not await _value(place, sql):
        deadline.check(sql)
        await asyncio.sleep(0.05)


async def _duplicates(place: Ground) -> int:
    return int(await _value(place, "SELECT coalesce(sum((counts->>'DUPLICATE')::int), 0) FROM certificate"))


async def _parked(place: Ground) -> list[dict[str, Any]]:
    async with place.site.store(place.service.name) as store:
        return [dict(row) for row in await store.fetch("SELECT lane, lane_seq, i, key, reason FROM parked ORDER BY lane, lane_seq, i")]


async def _anomalies(place: Ground) -> set[tuple[bytes, bytes, bytes]]:
    async with place.site.store(place.service.name) as store:
        rows = await store.fetch("SELECT event_id, first_hash, other_hash FROM anomaly WHERE reason = 'PAYLOAD_HASH_MISMATCH'")
    return {(bytes(row["event_id"]), bytes(row["first_hash"]), bytes(row["other_hash"])) for row in rows}


async def _effects(place: Ground) -> list[str | None]:
    """A digest of every table of the service and of what it publishes, anomalies apart."""
    tables = [quote(table.name) for table in place.service.tables]
    async with place.site.store(place.service.name) as store:
        sql = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} AS t"
        digests = [await store.fetchval(sql.format(name)) for name in tables]
        published = await store.fetchval(
            "SELECT string_agg(md5(value), ',' ORDER BY lane, lane_seq, i) FROM outbox WHERE topic <> $1", AUDIT.name
        )
    return [*digests, published]

"""Plays a script of the model on the real code: real PostgreSQL and Kafka, real Ownership, LaneWorker, Law and Publisher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from ledger import service as ledger
from rig import Record, Rig, entry
from spine import steps
from spine.deadline import Deadline
from spine.feed import Batch, Feed
from spine.inputs import Source
from spine.intake import Intake
from spine.lane_worker import LaneWorker
from spine.lanes import LaneSpec, group_topics, lane_specs
from spine.outcome import FencedError
from spine.process import build_runtime
from spine.runtime import Runtime
from spine.steps import Step
from testkit.harness import free_port
from testkit.model.moves import APPEND, CRASH, DIES, LANDS, LOST, PAUSE, SKIP, Move, Script
from testkit.model.state import Lane
from tests.model.actor import Actor, hook
from tests.model.network import Network
from tests.model.observed import Claimed, observe

_PATIENCE = 30.0
# Where a worker has no transaction open: one that has would lose it to the idle-in-transaction limit, which is a minute on this stage.
_SAFE_TO_SLEEP = (Step.OUTBOX_READ, Step.PUBLISHED, Step.TASK_RESERVED, Step.TASK_CALLED)
# An actor that has had this many turns of its loop and asked nobody for anything waits for the broker.
_TURNS = 200

# A COMMIT that the store is still busy with: a deferred trigger holds it for as long as the gate is shut.
_GATE = """
CREATE TABLE gate (shut boolean NOT NULL);
INSERT INTO gate VALUES (false);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger AS $$
BEGIN
    WHILE EXISTS (SELECT 1 FROM gate WHERE shut) LOOP PERFORM pg_sleep(0.01); END LOOP;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON certificate DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
"""
_COMMITTING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query ILIKE 'COMMIT%'"
_WAITING = """
SELECT count(*)::int FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE '%FOR UPDATE%'
"""
_LEASE_OVER = "UPDATE lane_lease SET until = now() WHERE owner = $1"


# What makes the test service do what the model's record of that letter does.
_NOTES = {"e": "", "p": "pay"}


class NotOnStageError(Exception):
    """The stage has no way to play this move."""


Play = Callable[[Move], Awaitable[None]]


class _Intake:
    """Stands for the consumer of a lane: the stage hands out the records, the lane says where it wants to stand again."""

    def __init__(self) -> None:
        self.next = 0
        self.stood_again = False

    def rewind(self, positions: dict[str, int]) -> None:
        self.next = positions[ledger.ENTRIES.name]
        self.stood_again = True


class _Seat(NamedTuple):
    """A worker's ownership of the lane, as it believes."""

    worker: LaneWorker
    intake: _Intake


class _Player(NamedTuple):
    """A worker process."""

    actor: Actor
    runtime: Runtime
    network: Network


class Stage:
    """One lane, two workers. Moves that the right code refuses are lines that change nothing."""

    def __init__(self, rig: Rig, spec: LaneSpec, script: Script, account: str) -> None:
        self._rig = rig
        self._account = account
        self._spec = spec
        self._script = script
        self._players: dict[int, _Player] = {}
        self._seats: dict[int, _Seat] = {}
        self._claims: list[Claimed] = []
        self._trespass = ""
        self._in_doubt = 0
        self._publishing: set[int] = set()
        self._begun_again: set[int] = set()
        self._plays: dict[str, Play] = {
            Step.LEASE_TAKEN: self._take_lease,
            Step.CLAIMED: self._claim,
            Step.POSITIONED: self._stand,
            Step.RENEWED: self._learn,
            Step.DRAINING: self._drain,
            Step.RELEASED: self._release,
            Step.LANE_LOCKED: self._lock,
            Step.DEDUPED: self._dedupe,
            Step.COMMITTED: self._commit,
            Step.COMMIT_SETTLED: self._settle,
            Step.OUTBOX_READ: self._read_outbox,
            Step.PUBLISHED: self._publish,
            Step.MARKED: self._mark,
            APPEND: self._append,
            SKIP: self._skip,
            LOST: self._lose,
            LANDS: self._land,
            DIES: self._let_die,
            PAUSE: self._pause,
            CRASH: self._crash,
        }

    async def play(self) -> None:
        """Every line, in order. Raises NotOnStageError for a move that this stage does not know."""
        for move in self._script.moves:
            if move.act not in self._plays:
                raise NotOnStageError(move.line())
            await self._plays[move.act](move)

    def knows(self, plays: dict[str, Play]) -> None:
        """Teach it moves of another inlet."""
        self._plays |= plays

    async def observe(self) -> Lane:
        """The lane as the engines hold it now."""
        return await observe(self._rig, self._spec.lane, self._script.logs[0], self._claims, self._trespass)

    async def rest(self) -> None:
        """Let every worker finish what it has in hand and what it has been told of; the broker takes what it is sent."""
        await self._gate(shut=False)
        for number, player in list(self._players.items()):
            if player.actor.held:
                player.actor.go(None)
            await self._pumped(number)
            seat = self._seats.get(number)
            while seat is not None and seat.worker.publisher._wake.is_set():
                seat.worker.publisher._wake.clear()
                player.actor.begin(seat.worker.publisher.empty, None)
                await self._pumped(number)
                seat = self._seats.get(number)

    async def close(self) -> None:
        """End every worker."""
        await self._gate(shut=False)
        for player in self._players.values():
            await player.actor.die()

    # --- ownership ---

    async def _take_lease(self, move: Move) -> None:
        player = await self._player(move.actor)
        player.actor.begin(lambda: player.runtime.ownership.claim(1), Step.LEASE_TAKEN)
        await player.actor.still(_never)

    async def _claim(self, move: Move) -> None:
        player = await self._player(move.actor)
        player.actor.go(None)
        (claim,) = await player.actor.result()
        assert claim.lane == self._spec.lane
        self._seats[move.actor] = await player.actor.do(lambda: _seat(player.runtime, self._spec, claim))
        self._claims.append(Claimed(claim.epoch, await self._rig.value("SELECT lane_seq FROM lane WHERE lane = $1", claim.lane)))

    async def _stand(self, move: Move) -> None:
        player, seat = await self._player(move.actor), self._seats[move.actor]

        async def stand() -> None:
            consumer = await player.runtime.consumers.take(len(group_topics(self._spec.group)))
            try:
                (position,) = [found for found in await seat.worker._positions.stand(consumer) if found.topic is ledger.ENTRIES]
            finally:
                await consumer.stop()
            seat.intake.next = position.next_offset

        await player.actor.do(stand)

    async def _learn(self, move: Move) -> None:
        player = await self._player(move.actor)
        standing, _ = await player.actor.do(lambda: player.runtime.ownership.renew([self._spec.lane]))
        assert self._spec.lane not in standing.kept
        del self._seats[move.actor]

    async def _drain(self, move: Move) -> None:
        """Taking nothing more in is the script's doing."""

    async def _release(self, move: Move) -> None:
        player, seat = await self._player(move.actor), self._seats.pop(move.actor)
        await player.actor.do(lambda: player.runtime.ownership.release(seat.worker.claim, None))

    async def _pause(self, move: Move) -> None:
        player = await self._player(move.actor)
        if player.actor.busy and player.actor.at not in _SAFE_TO_SLEEP:
            raise NotOnStageError("a pause inside a transaction")
        await self._lease_over(player)

    async def _crash(self, move: Move) -> None:
        player = self._players.pop(move.actor)
        self._seats.pop(move.actor, None)
        await player.actor.die()
        await self._lease_over(player)

    async def _lease_over(self, player: _Player) -> None:
        async with self._rig.site.store("ledger") as store:
            await store.execute(_LEASE_OVER, player.runtime.worker_id)

    # --- the transaction ---

    async def _lock(self, move: Move) -> None:
        player, seat = await self._player(move.actor), self._seats.get(move.actor)
        if player.actor.busy:
            await player.actor.still(_never)
            if move.actor in self._begun_again:
                self._begun_again.discard(move.actor)
                return
            # A batch that the store refuses comes to its end only now.
            await self._on(move.actor, None)
        if seat is None:
            return
        batch = await self._batch(seat, int(move.detail.removeprefix("records ")))
        if batch.inputs:
            assert seat.worker._feed is not None
            seat.worker._feed.hold(batch)
            seat.intake.stood_again = False
            self._publishing.discard(move.actor)
            player.actor.begin(seat.worker._apply_records, Step.LANE_LOCKED)
            await self._still_or_over(move.actor)

    async def _batch(self, seat: _Seat, size: int) -> Batch:
        records = {found.offset: found for found in await self._rig.read(ledger.ENTRIES) if found.partition == self._spec.home}
        (position,) = (position for position in seat.worker._positions.found if position.topic is ledger.ENTRIES)
        identity = position.identity
        sources = [
            Source(
                identity.cluster_id, str(identity.topic_id), ledger.ENTRIES.name, self._spec.home, offset, raw.key, raw.value, raw.headers
            )
            for offset, raw in sorted(records.items())[seat.intake.next : seat.intake.next + size]
        ]
        decoder = seat.worker._rt.decoders[self._spec.group.name]
        return Batch([decoder.record(source) for source in sources], {ledger.ENTRIES.name: len(records)})

    async def _dedupe(self, move: Move) -> None:
        await self._on(move.actor, Step.DEDUPED)

    async def _commit(self, move: Move) -> None:
        await self._on(move.actor, Step.COMMITTED)
        await self._on(move.actor, None)

    async def _settle(self, move: Move) -> None:
        actor = self._players[move.actor].actor
        # The right code waits here for the lane's lock, until the COMMIT in doubt has landed or died.
        await actor.still(self._somebody_waits)
        if actor.held:
            # What is in is over; what is not in is begun again by the code itself, and stands at the lane's lock.
            actor.go(Step.LANE_LOCKED)
            await actor.still(self._somebody_waits)
            if actor.busy:
                self._begun_again.add(move.actor)
            else:
                await self._still_or_over(move.actor)

    async def _on(self, number: int, stop_at: Step | None) -> None:
        player = self._players[number]
        if player.actor.held:
            player.actor.go(stop_at)
            await self._still_or_over(number)

    async def _skip(self, move: Move) -> None:
        self._seats[move.actor].intake.next += 1

    # --- a COMMIT without an answer ---

    async def _lose(self, move: Move) -> None:
        player = self._players[move.actor]
        await self._gate(shut=True)
        player.actor.go(Step.COMMIT_SETTLED)
        deadline = Deadline(_PATIENCE)
        while not (found := await self._rig.rows(_COMMITTING)):
            deadline.check("the store to be busy with COMMIT")
            await asyncio.sleep(0.01)
        self._in_doubt = found[0]["pid"]
        player.actor.loop.call_soon_threadsafe(_hang_up, player.runtime, self._in_doubt)

    async def _land(self, move: Move) -> None:
        await self._gate(shut=False)
        await self._out_of_doubt()

    async def _let_die(self, move: Move) -> None:
        async with self._rig.site.store("ledger") as store:
            await store.execute("SELECT pg_terminate_backend($1)", self._in_doubt)
        await self._out_of_doubt()
        await self._gate(shut=False)

    async def _out_of_doubt(self) -> None:
        await self._rig.until(f"SELECT count(*)::int FROM pg_stat_activity WHERE pid = {self._in_doubt}", 0, _PATIENCE)

    async def _gate(self, *, shut: bool) -> None:
        async with self._rig.site.store("ledger") as store:
            await store.execute("UPDATE gate SET shut = $1", shut)

    async def _somebody_waits(self) -> bool:
        return bool(await self._rig.value(_WAITING))

    # --- publishing ---

    async def _read_outbox(self, move: Move) -> None:
        player, seat = await self._player(move.actor), self._seats[move.actor]
        seat.worker.publisher._wake.clear()
        self._publishing.add(move.actor)
        player.actor.begin(seat.worker.publisher._publish_some, Step.OUTBOX_READ)
        await self._still_or_over(move.actor)

    async def _append(self, move: Move) -> None:
        """What the worker has sent by now, if anything, is taken by the broker."""
        player = self._players[move.actor]
        if player.actor.held:
            # The publisher sends until it waits for acknowledgements; a transaction has sent nothing when it comes to its COMMIT.
            player.actor.go(Step.PUBLISHED if move.actor in self._publishing else Step.BEFORE_COMMIT)
        await player.actor.still(lambda: self._waits_for_broker(player))
        if player.network.waiting:
            await player.network.append(player.actor.loop)

    async def _publish(self, move: Move) -> None:
        player = self._players[move.actor]
        if player.actor.held and player.actor.at is Step.OUTBOX_READ:
            player.actor.go(Step.PUBLISHED)
        # Copies of what is on the topic already are no moves of the model: they arrive here.
        await self._pumped(move.actor)
        await self._on(move.actor, None)

    async def _mark(self, move: Move) -> None:
        player, seat = self._players[move.actor], self._seats.get(move.actor)
        if player.actor.held:
            player.actor.go(Step.PUBLISHED)
            await player.actor.still(lambda: self._waits_for_broker(player))
            if not player.actor.held:
                # Nothing is acknowledged, so there is nothing to mark: the worker waits.
                return
            await self._on(move.actor, None)
        if seat is None:
            return
        before = await self._published()
        player.actor.begin(seat.worker.publisher._mark, None)
        await self._still_or_over(move.actor)
        (row,) = await self._rig.rows("SELECT epoch, token FROM lane WHERE lane = $1", self._spec.lane)
        claim = seat.worker.claim
        if await self._published() != before and (row["epoch"], bytes(row["token"])) != (claim.epoch, claim.token):
            self._trespass = Step.MARKED

    async def _published(self) -> int:
        return int(await self._rig.value("SELECT published_seq FROM lane WHERE lane = $1", self._spec.lane))

    async def _waits_for_broker(self, player: _Player) -> bool:
        turns = asyncio.run_coroutine_threadsafe(_turns(), player.actor.loop)
        while not turns.done() and not player.actor.held:
            await asyncio.sleep(0.005)
        return not player.actor.held and bool(player.network.waiting)

    # --- workers ---

    async def _player(self, number: int) -> _Player:
        if number not in self._players:
            actor = Actor(f"w{number + 1}")
            settings = self._rig.site.settings("ledger", free_port())
            actor.runtime = runtime = await actor.do(lambda: build_runtime(ledger.build(settings), settings))
            await actor.do(runtime.producer.stop)
            network = Network(self._rig.producer)
            runtime.producer = network
            self._players[number] = _Player(actor, runtime, network)
        return self._players[number]

    async def _still_or_over(self, number: int) -> None:
        """Waits until the worker stands still; a job that is over is taken note of, and a fenced worker has lost its lane."""
        actor = self._players[number].actor
        await actor.still(_never)
        if not actor.busy and actor.has_result:
            try:
                await actor.result()
            except FencedError:
                self._seats.pop(number, None)
            seat = self._seats.get(number)
            if seat is not None and number not in self._publishing and not seat.intake.stood_again:
                seat.intake.next = seat.worker.next_offsets.get(ledger.ENTRIES.name, 0)

    async def _pumped(self, number: int) -> None:
        player = self._players[number]
        deadline = Deadline(_PATIENCE)
        while player.actor.busy and not player.actor.held:
            deadline.check(f"{player.actor.name} to come to rest")
            while player.network.waiting:
                await player.network.append(player.actor.loop)
            await asyncio.sleep(0.01)
        if not player.actor.busy:
            await self._still_or_over(number)


@asynccontextmanager
async def stage_for(rig: Rig, script: Script) -> AsyncIterator[Stage]:
    """A stage with the script's records on the topic; the lanes that are not in the script are barred."""
    # The script decides when leases end and what waits for what; the engines' own clocks only bound a test that hangs.
    rig.site.environment |= {
        "FP_TIMEOUT_STATEMENT": "60",
        "FP_TIMEOUT_IDLE_IN_TRANSACTION": "70",
        "FP_TIMEOUT_DRAIN": "80",
        "FP_TIMEOUT_LEASE": "90",
    }
    (home,) = (spec for spec in lane_specs(ledger.build(rig.site.settings("ledger"))) if spec.home == 0)
    account = next(name for name in (f"a{number}" for number in range(100)) if entry("e", account=name).partition == home.home)
    await rig.send(*(_record(name, account) for name in script.logs[0]))
    async with rig.site.store("ledger") as store:
        await store.execute("UPDATE lane SET stopped_reason = 'not in the script' WHERE lane <> $1", home.lane)
        await store.execute(_GATE)
    stage = Stage(rig, home, script, account)
    steps.install(hook)
    try:
        yield stage
    finally:
        steps.install(None)
        await stage.close()


def _record(name: str, account: str) -> Record:
    if name[0] not in _NOTES or name.endswith("'"):
        raise NotOnStageError(f"record {name}")
    return entry(name, account=account, note=_NOTES[name[0]])


async def _seat(runtime: Runtime, spec: LaneSpec, claim: Any) -> _Seat:
    seat = _Seat(LaneWorker(runtime, spec, claim), _Intake())
    seat.worker._feed = Feed(spec.lane, cast(Intake, seat.intake), runtime.decoders[spec.group.name], seat.worker._pace, asyncio.Event())
    return seat


def _hang_up(runtime: Runtime, pid: int) -> None:
    for holder in runtime.pool._holders:  # type: ignore[attr-defined]  # asyncpg keeps it to itself
        if holder._con is not None and not holder._con.is_closed() and holder._con.get_server_pid() == pid:
            holder._con.terminate()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _never() -> bool:
    return False

"""The law: one transaction for identity, effects, outbox, certificate and position (runtime.md, The transaction)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from laws.headers import Provenance
from spine import sql
from spine.db import Db
from spine.emission import Emitter
from spine.faults import CONNECTION_FAULTS
from spine.flushing import Flushing
from spine.inputs import SOURCE_DECODER, Decoder, Inlet
from spine.judged import Judged
from spine.judging import Judging
from spine.lanes import LaneSpec
from spine.outcome import Applied, ContinuityError, Doubt, Part, RefusedByStoreError, UnknownCommitError
from spine.service import Read, ReadWaits, Task, Waiting
from spine.share import Share
from spine.steps import Step, reached
from spine.tables import Table
from spine.turn import Shared, Versioned

# SQLSTATE classes that are about the data of an effect: 22 data exception, 23 integrity constraint violation.
_DATA_FAULTS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Law:
    """Applies inputs to the lanes of one service."""

    def __init__(
        self,
        service: str,
        emitter: Emitter,
        provenance: Provenance,
        provenance_id: int,
        decoders: Mapping[str, Decoder],
        tasks: Mapping[str, Task],
    ) -> None:
        self.service = service
        self.emitter = emitter
        self.provenance = provenance
        self.provenance_id = provenance_id
        self.decoders = decoders
        self.tasks = tasks
        self._run_numbers: dict[str, int] = {}

    async def apply(
        self,
        connection: Db,
        parts: Sequence[Part],
        *,
        notify: tuple[str, str] | None = None,
        at: datetime | None = None,
    ) -> list[Applied | None]:
        """Apply inputs to lanes, of each lane in order, in one transaction of this connection: all of it or nothing.

        None stands for a part whose inputs, selected once its lane is locked, turned out to be none. `notify` (channel, payload) tells a
        lane's owner, with the commit, that there is something to publish. `at` is the time of the transaction where it is a replay's; the
        database's otherwise. Raises RefusedByStoreError, FencedError, LaneStoppedError or ContinuityError where one of the parts is at
        fault, UnknownCommitError where the connection went away during COMMIT.
        """
        transaction = connection.transaction()
        await transaction.start()
        reached(Step.TX_BEGUN)
        try:
            turn = _Transaction(self, connection)
            await turn.run(parts, at)
            if not turn.shares:
                await transaction.rollback()
                return [None] * len(parts)
            if notify is not None:
                await connection.execute("SELECT pg_notify($1, $2)", *notify)
            reached(Step.BEFORE_COMMIT)
        except _DATA_FAULTS as error:
            await transaction.rollback()
            raise RefusedByStoreError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        try:
            await transaction.commit()
        except CONNECTION_FAULTS as error:
            raise UnknownCommitError({share.lane: share.doubt for share in turn.shares}) from error
        reached(Step.COMMITTED)
        done = {share.lane: share.applied() for share in turn.shares}
        return [done.get(part.spec.lane) for part in parts]

    def versions_of(self, spec: LaneSpec, table: Table[Any], keys: Sequence[tuple[Any, ...]], found: list[Versioned]) -> list[Versioned]:
        """The rows of `keys` that handlers may read of a table; those in the store, as they stand."""
        return found

    async def run_numbers(self, connection: Db, names: set[str]) -> dict[str, int]:
        """Numbers of the registered runs among `names`; numbers never change, so they are kept."""
        if missing := names - self._run_numbers.keys():
            rows = await connection.fetch(sql.RUNS, sorted(missing))
            self._run_numbers.update((row["platform_run_id"], row["run_no"]) for row in rows)
        return {name: self._run_numbers[name] for name in names if name in self._run_numbers}


async def was_committed(connection: Db, lane: int, doubt: Doubt) -> bool:
    """Whether a lane's share of a transaction whose COMMIT was not answered is in.

    Takes the lane's row lock: a plain read can still show the state before a commit that is under way (runtime.md, finding 11).
    """
    async with connection.transaction():
        await connection.fetchrow(sql.LOCK_LANES, [lane])
        stored = await connection.fetchval("SELECT hash FROM certificate WHERE lane = $1 AND lane_seq = $2", lane, doubt.lane_seq)
        return bool(stored == doubt.certificate)


class _Transaction:
    """The work of one transaction, step by step for all its lanes; see `Law.apply`."""

    def __init__(self, law: Law, connection: Db) -> None:
        self._law = law
        self._connection = connection
        self.shares: list[Share] = []

    async def run(self, parts: Sequence[Part], given_at: datetime | None) -> None:
        """Everything between BEGIN and COMMIT; leaves no shares where there is nothing to apply."""
        self.shares = await self._locked(parts, given_at)
        reached(Step.LANE_LOCKED)
        if not self.shares:
            return
        for share in self.shares:
            if share.parked_before:
                share.hold({row["key"] for row in await self._connection.fetch(sql.HELD_KEYS, share.lane)})
        await self._judge()
        reached(Step.DEDUPED)
        await self._read()
        reached(Step.STATE_READ)
        for share in self.shares:
            share.decide()
        reached(Step.EFFECTS_DECIDED)
        flushing = Flushing(self._connection, self._law.provenance_id, self.shares)
        await flushing.effects()
        reached(Step.EFFECTS_WRITTEN)
        await flushing.outbox()
        await self._close()

    async def _locked(self, parts: Sequence[Part], given_at: datetime | None) -> list[Share]:
        rows = await self._connection.fetch(sql.LOCK_LANES, sorted(part.spec.lane for part in parts))
        lanes = {row["lane"]: row for row in rows}
        if missing := [part.spec.lane for part in parts if part.spec.lane not in lanes]:
            raise RuntimeError(f"lanes {missing} are not in the store: run the migrations of {self._law.service}")
        # One time for all of it.
        self._at = given_at or max(row["at"] for row in rows)
        shared: Shared = {}
        shares = []
        for part in sorted(parts, key=lambda part: part.spec.lane):
            share = Share(self._law, part, lanes[part.spec.lane], self._at, shared)
            inputs = await part.inputs(self._connection) if callable(part.inputs) else part.inputs
            if inputs:
                share.take(inputs)
                shares.append(share)
        return shares

    # --- judge ---

    async def _judge(self) -> None:
        judged = [entry for share in self.shares for entry in share.judged]
        names = {entry.item.cause.correlation.platform_run_id for entry in judged if entry.item.cause is not None}
        numbers = await self._law.run_numbers(self._connection, names) if names else {}
        judging = Judging(self._connection, judged)
        await judging.judge(numbers)
        if any(share.inlet is Inlet.COMMAND for share in self.shares) and (known := judging.known_before()):
            await self._read_replies(known)

    async def _read_replies(self, duplicates: list[Judged]) -> None:
        rows = await self._connection.fetch(
            sql.REPLIES,
            [judged.run_no for judged in duplicates],
            [judged.class_no for judged in duplicates],
            [judged.event_id for judged in duplicates],
        )
        stored = {(row["class_no"], bytes(row["event_id"])): (row["status"], bytes(row["body"])) for row in rows}
        of_lane = {share.lane: share.stored_replies for share in self.shares}
        for judged in duplicates:
            if found := stored.get((judged.class_no, judged.event_id)):
                of_lane[judged.stamp[0]][id(judged.item)] = found

    # --- read ---

    async def _read(self) -> None:
        await self._fetch([(share, *share.reads()) for share in self.shares])
        if any(judged.item.reads_then is not None for share in self.shares for judged in share.judged):
            await self._fetch([(share, *share.reads_then()) for share in self.shares])

    async def _fetch(self, wanted: list[tuple[Share, set[Read], set[ReadWaits]]]) -> None:
        by_table: defaultdict[Table[Any], defaultdict[Share, list[tuple[Any, ...]]]] = defaultdict(lambda: defaultdict(list))
        for share, reads, _ in wanted:
            for read in reads:
                by_table[read.table][share].append(read.key)
        for table, of_shares in sorted(by_table.items(), key=lambda entry: entry[0].name):
            await self._fetch_rows(table, of_shares)
        if waits := [(share, some) for share, _, some in wanted if some]:
            await self._fetch_waits(waits)

    async def _fetch_rows(self, table: Table[Any], of_shares: Mapping[Share, list[tuple[Any, ...]]]) -> None:
        # The same row may be asked for by several lanes: it is read once.
        keys = list({key: None for keys in of_shares.values() for key in keys})
        columns = list(zip(*map(table.key_to_sql, keys), strict=True))
        found: defaultdict[tuple[Any, ...], list[Versioned]] = defaultdict(list)
        key_of, from_sql = table.key_of, table.from_sql
        for record in await self._connection.fetch(sql.read_rows(table), *columns):
            row = from_sql(record)
            found[key_of(row)].append(Versioned(row, record["lane"], record["lane_seq"]))
        for share, asked in of_shares.items():
            rows = [versioned for key in asked for versioned in found.get(key, ())]
            share.turn.load(table, asked, self._law.versions_of(share.part.spec, table, asked, rows))

    async def _fetch_waits(self, of_shares: list[tuple[Share, set[ReadWaits]]]) -> None:
        wanted = {share.lane: (share, reads) for share, reads in of_shares}
        found: defaultdict[int, list[Waiting]] = defaultdict(list)
        kinds, keys = ({getattr(read, name) for _, reads in of_shares for read in reads} for name in ("kind", "key"))
        for row in await self._connection.fetch(sql.READ_WAITS, sorted(wanted), sorted(kinds), sorted(keys)):
            share, reads = wanted[row["lane"]]
            if ReadWaits(row["kind"], row["key"]) in reads:
                decoder = self._law.decoders[share.part.spec.group.name]
                event = decoder.any_event(SOURCE_DECODER.decode(row["body"]))
                found[share.lane].append(Waiting(row["kind"], row["ref"], row["key"], event))
        for share, reads in of_shares:
            share.turn.load_waits(reads, found[share.lane])

    # --- close ---

    async def _close(self) -> None:
        closings, moves = [], []
        for share in self.shares:
            closing, moved = share.close()
            closings.append(closing)
            moves += moved
        rows = await self._connection.fetch(
            sql.CLOSE,
            *(list(map(list, zip(*moves, strict=True))) or [[]] * 7),
            *map(list, zip(*closings, strict=True)),
            self._at,
            self._law.provenance_id,
        )
        asked, moved_by_lane = Counter(lane for lane, *_ in moves), Counter({row["lane"]: row["moved"] for row in rows})
        for closing in closings:
            if moved_by_lane[closing.lane] != asked[closing.lane]:
                raise ContinuityError(f"lane {closing.lane} does not stand at {closing.ranges}: another range or topic id is stored")

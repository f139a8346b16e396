"""Folds a lane's recorded inputs once more, through the real transaction, with the facts that it went by then.

What a transaction of the past knew and its inputs don't say is taken from what it recorded: the time, the epoch, the ends of other topics,
which runs it found unknown or closed, what other lanes had written (its read sets), and identities that another lane saw first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from audit.chain import Cert, Lane
from audit.shadow import Shadow
from audit.topic import Read
from laws.headers import Provenance
from laws.identity import Identity, pack_event_id
from laws.reasons import Reason
from spine.claims import claimed_of, with_payloads
from spine.db import Db
from spine.emission import Emitter
from spine.inputs import SOURCE_DECODER, Decoder, Input, Poison, Source
from spine.lanes import LaneSpec, lane_specs
from spine.outcome import Part, RefusedByStoreError, Select
from spine.scheduled import ANSWER_DECODER, FIRED_DECODER, Scheduled
from spine.service import Service
from spine.tables import Mode, Table, quote
from spine.transaction import Law
from spine.turn import Versioned

_Others = dict[tuple[str, tuple[Any, ...]], list[Versioned]]


class RecordedLaw(Law):
    """The law, with what a transaction of the past read of other lanes and of the registry of runs."""

    def know(self, runs: Mapping[str, int], others: _Others) -> None:
        """What the next transaction finds."""
        self._known_runs = runs
        self._others = others

    def versions_of(self, spec: LaneSpec, table: Table[Any], keys: Sequence[tuple[Any, ...]], found: list[Versioned]) -> list[Versioned]:
        """This lane's rows as they were folded; other lanes' as they were recorded."""
        if table.mode is not Mode.SHARED:
            return found
        own = [versioned for versioned in found if versioned.lane == spec.lane]
        return own + [version for key in keys for version in self._others.get((table.name, key), ())]

    async def run_numbers(self, connection: Db, names: set[str]) -> dict[str, int]:
        """The runs that were registered then."""
        return {name: self._known_runs[name] for name in names if name in self._known_runs}


class Refold:
    """Replays certificates of one lane on a shadow."""

    def __init__(self, store: Db, shadow: Shadow, service: Service, lane: Lane, runs: Mapping[str, int], phase_id: str) -> None:
        self._store = store
        self._original = quote(shadow.original)
        self._service = service
        self._lane = lane
        self._runs = runs
        self._phase_id = phase_id
        self._spec = next(spec for spec in lane_specs(service) if spec.lane == lane.lane)
        self._decoder = Decoder(self._spec.group)
        self._scheduled = Scheduled(self._spec.group, self._decoder)
        self._tables = {table.name: table for table in service.tables}
        self._laws: dict[int, RecordedLaw] = {}
        self._epoch = -1
        self._closed: set[int] = set()
        self._clusters: dict[str, str] = {}

    async def begin(self) -> None:
        """Stand the lane where it began."""
        positions = await self._store.fetch(
            f"INSERT INTO lane_position SELECT topic, partition, lane, cluster_id, topic_id, start_offset, start_offset "
            f"FROM {self._original}.lane_position WHERE lane = $1 RETURNING topic, cluster_id",
            self._lane.lane,
        )
        self._clusters = {row["topic"]: row["cluster_id"] for row in positions}
        for row in await self._store.fetch("SELECT * FROM provenance"):
            number, *fields = row.values()
            provenance = Provenance(*fields)
            emitter = Emitter(self._service.name, self._service.runtime_lane, self._phase_id, provenance)
            tasks = {task.name: task for group in self._service.groups for task in group.tasks}
            decoders = {self._spec.group.name: self._decoder}
            self._laws[number] = RecordedLaw(self._service.name, emitter, provenance, number, decoders, tasks)

    async def apply(self, cert: Cert, records: list[Read]) -> None:
        """Apply what the certificate covers. Raises what the law raises."""
        inputs = await self._of_log(cert, records) if cert.spans else await self._kept(cert)
        law = self._laws[cert.provenance_id]
        unknown = await self._stand_as_then(cert)
        runs = {name: number for name, number in self._runs.items() if name not in unknown}
        law.know(runs, await self._others(cert))
        foreign = await self._foreign(cert, inputs) if set(cert.verdicts) & {"D", "M"} and isinstance(inputs, list) else []
        try:
            await self._transact(law, cert, inputs)
        finally:
            if foreign:
                await self._store.execute(_FORGET, *map(list, zip(*foreign, strict=True)))

    async def _transact(self, law: RecordedLaw, cert: Cert, inputs: Sequence[Input] | Select) -> None:
        ends = {topic: int(end) for topic, end in cert.ends.items()}
        try:
            await law.apply(self._store, [Part(self._spec, None, inputs, ends=ends)], at=cert.applied_at)
        except RefusedByStoreError as refused:
            # As the lane's worker does it: alone in its batch, the input is parked for what the store said.
            if not isinstance(inputs, list) or len(inputs) != 1:
                raise
            inputs[0].poison = Poison(Reason.STORE_REFUSED, refused.detail)
            await law.apply(self._store, [Part(self._spec, None, inputs, ends=ends)], at=cert.applied_at)

    # --- what came in ---

    async def _of_log(self, cert: Cert, records: list[Read]) -> list[Input]:
        inputs = [self._record(cert, read) for read in records]
        if claimed := claimed_of(inputs):
            await with_payloads(inputs, claimed, self._decoder)
        return inputs

    def _record(self, cert: Cert, read: Read) -> Input:
        topic_id = next(span.topic_id for span in cert.spans if span.topic == read.topic)
        cluster = self._clusters[read.topic]
        return self._decoder.record(Source(cluster, topic_id, read.topic, read.partition, read.offset, read.key, read.value, read.headers))

    async def _kept(self, cert: Cert) -> Sequence[Input] | Select:
        rows = await self._store.fetch(
            f"SELECT inlet, name, body FROM {self._original}.input WHERE lane = $1 AND lane_seq = $2 ORDER BY i", cert.lane, cert.lane_seq
        )
        if rows and rows[0]["name"] == "parked.release":
            key = await self._store.fetchval("SELECT key FROM parked WHERE lane = $1 AND source = $2 LIMIT 1", cert.lane, rows[0]["body"])
            return lambda connection: self._scheduled.parked(connection, self._spec, key)
        return [self._input(row["inlet"], row["name"], row["body"]) for row in rows]

    def _input(self, inlet: str, name: str, body: bytes) -> Input:
        if inlet == "timer":
            return self._scheduled.fired(FIRED_DECODER.decode(body), settles=True)
        if inlet == "answer":
            return self._scheduled.answer(name, ANSWER_DECODER.decode(body), settles=True)
        return self._decoder.command(SOURCE_DECODER.decode(body))

    # --- what was known then ---

    async def _stand_as_then(self, cert: Cert) -> set[str]:
        """Epoch and closed runs as that transaction found them; the runs that it did not know."""
        if cert.epoch != self._epoch:
            await self._store.execute("UPDATE lane SET epoch = $2 WHERE lane = $1", cert.lane, cert.epoch)
            self._epoch = cert.epoch
        parked = await self._runs_parked(cert) if "P" in cert.verdicts else []
        closed = {self._runs[run] for run, reason in parked if reason == Reason.CLOSED_RUN.value}
        if closed != self._closed:
            await self._store.execute(
                "UPDATE run SET state = CASE WHEN run_no = ANY($1::int[]) THEN 'CLOSED' ELSE 'OPEN' END", sorted(closed)
            )
            self._closed = closed
        return {run for run, reason in parked if reason == Reason.RUN_UNKNOWN.value}

    async def _runs_parked(self, cert: Cert) -> list[tuple[str, str]]:
        rows = await self._store.fetch(
            f"SELECT DISTINCT platform_run_id, reason FROM {self._original}.parked "
            "WHERE lane = $1 AND lane_seq = $2 AND reason = ANY($3::text[])",
            cert.lane,
            cert.lane_seq,
            [Reason.CLOSED_RUN.value, Reason.RUN_UNKNOWN.value],
        )
        return [(row["platform_run_id"], row["reason"]) for row in rows]

    async def _others(self, cert: Cert) -> _Others:
        """Rows of other lanes that the transaction read, out of its read sets."""
        found: _Others = {}
        rows = await self._store.fetch(
            f"SELECT body FROM {self._original}.read_set WHERE lane = $1 AND lane_seq = $2 ORDER BY i", cert.lane, cert.lane_seq
        )
        for row in rows:
            for name, key, versions in json.loads(row["body"]):
                table = self._tables.get(name)
                if table is None or table.mode is not Mode.SHARED:
                    continue
                others = [Versioned(_row(table, values), lane, seq) for lane, seq, values in versions if lane != cert.lane]
                found[(name, tuple(key))] = others
        return found

    async def _foreign(self, cert: Cert, inputs: Sequence[Input]) -> list[tuple[int, int, bytes]]:
        """Put in the inbox what another lane saw first; the keys, to be taken out again."""
        keys = [
            (self._runs[identity.platform_run_id], identity.event_class.number, pack_event_id(identity.event_id))
            for identity in _identities(inputs)
            if identity.platform_run_id in self._runs
        ]
        if not keys:
            return []
        rows = await self._store.fetch(_FOREIGN.format(original=self._original), *map(list, zip(*keys, strict=True)), cert.lane)
        return [(row["run_no"], row["class_no"], row["event_id"]) for row in rows]


_FOREIGN = """
INSERT INTO inbox SELECT i.* FROM unnest($1::int[], $2::smallint[], $3::bytea[]) AS g(run_no, class_no, event_id)
JOIN {original}.inbox i ON (i.run_no, i.class_no, i.event_id) = (g.run_no, g.class_no, g.event_id)
WHERE i.lane <> $4
ON CONFLICT DO NOTHING
RETURNING run_no, class_no, event_id
"""

_FORGET = """
DELETE FROM inbox i USING unnest($1::int[], $2::smallint[], $3::bytea[]) AS g(run_no, class_no, event_id)
WHERE (i.run_no, i.class_no, i.event_id) = (g.run_no, g.class_no, g.event_id)
"""


def _identities(inputs: Sequence[Input]) -> list[Identity]:
    return [item.event.identity for item in inputs if item.event is not None]


def _row(table: Table[Any], values: list[Any]) -> Any:
    """A row out of a read set, which holds raw bytes as hex."""
    fields: dict[str, Any] = {}
    for column, value in zip(table.columns, values, strict=True):
        if value is not None and column.pg_type == "bytea" and not column.is_hex:
            fields[column.name] = bytes.fromhex(value)
        else:
            fields[column.name] = column.enum(value) if column.enum and value is not None else value
    return table.row(**fields)

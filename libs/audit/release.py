"""What the release of a parked key would do: done on a shadow, with copies of what its inputs may read."""

from dataclasses import dataclass, field

from audit.rows import effect_tables
from audit.shadow import copy_registry, shadow_of, working
from audit.target import Target
from laws.envelope import decode_envelope
from laws.headers import Provenance
from laws.identity import unpack_event_id
from spine.commands import release_parked
from spine.db import Db
from spine.emission import Emitter
from spine.inputs import Decoder
from spine.lanes import lane_specs
from spine.process import bundle_id
from spine.scheduled import Scheduled
from spine.service import Service
from spine.settings import Settings
from spine.store import provenance_number
from spine.tables import Mode, quote
from spine.transaction import Law


@dataclass
class Rehearsal:
    """What would become of a key's parked inputs, in their order."""

    parked: int
    released: int = 0
    stays: list[str] = field(default_factory=list)
    """Inputs that would stay parked, with the reason of the first."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows that would be written, by table."""
    outputs: list[str] = field(default_factory=list)
    """Records that would be published: topic, event type and event id."""


async def rehearse(target: Target, service: Service, settings: Settings, lane: int, key: bytes) -> Rehearsal:
    """Release the key on a shadow of the service as it is now, under the code that runs this."""
    spec = next((spec for spec in lane_specs(service) if spec.lane == lane), None)
    if spec is None:
        raise ValueError(f"lane={lane} is no lane of {service.name}: fp parked list shows the lanes of parked keys")
    async with shadow_of(target.dsn, service) as shadow, working(shadow) as store:
        await copy_registry(store, shadow)
        await _copy(store, quote(shadow.original), service, lane)
        before = await store.fetchval("SELECT lane_seq FROM lane WHERE lane = $1", lane)
        parked = await store.fetchval("SELECT count(*) FROM parked WHERE lane = $1 AND key = $2 AND released_seq IS NULL", lane, key)
        provenance = Provenance(service.policy_rev, bundle_id(service), settings.config_digest(), settings.release_id)
        decoder = Decoder(spec.group)
        law = Law(
            service.name,
            Emitter(service.name, service.runtime_lane, settings.phase_id, provenance),
            provenance,
            await provenance_number(store, provenance),
            {spec.group.name: decoder},
            {task.name: task for group in service.groups for task in group.tasks},
        )
        await release_parked(law, store, spec, Scheduled(spec.group, decoder), key)
        return await _told(store, lane, key, before, parked)


async def _copy(store: Db, original: str, service: Service, lane: int) -> None:
    """The lane, its rows, what lanes share, and the identities of what is parked."""
    await store.execute("DELETE FROM lane_lease WHERE lane = $1", lane)
    await store.execute("DELETE FROM lane WHERE lane = $1", lane)
    for name in ("lane", "lane_position", "pending", "parked"):
        await store.execute(f"INSERT INTO {quote(name)} SELECT * FROM {original}.{quote(name)} WHERE lane = $1", lane)
    await store.execute(
        f"INSERT INTO inbox SELECT i.* FROM {original}.inbox i WHERE EXISTS (SELECT 1 FROM parked p JOIN run r USING (platform_run_id) "
        "WHERE (r.run_no, p.class_no, p.event_id) = (i.run_no, i.class_no, i.event_id))"
    )
    for table in service.tables:
        # Of what lanes share, a handler reads every lane's row; of the rest its own lane's, by keys that nobody knows before it runs.
        where = "" if table.mode is Mode.SHARED else " WHERE lane = $1"
        await store.execute(
            f"INSERT INTO {quote(table.name)} SELECT * FROM {original}.{quote(table.name)}{where}", *([lane] if where else [])
        )


async def _told(store: Db, lane: int, key: bytes, before: int, parked: int) -> Rehearsal:
    rehearsal = Rehearsal(parked)
    for row in await store.fetch(
        "SELECT released_seq, reason, detail, event_id, inlet, name FROM parked WHERE lane = $1 AND key = $2 ORDER BY lane_seq, i",
        lane,
        key,
    ):
        if row["released_seq"] is None:
            who = unpack_event_id(row["event_id"]) if row["event_id"] is not None else row["name"] or row["inlet"]
            rehearsal.stays.append(f"{who}: {row['reason']}: {row['detail']}")
        elif row["released_seq"] > before:
            rehearsal.released += 1
    for table in await effect_tables(store):
        count = await store.fetchval(f"SELECT count(*) FROM {quote(table.name)} WHERE lane = $1 AND lane_seq > $2", lane, before)
        if count:
            rehearsal.rows[table.name] = count
    for row in await store.fetch("SELECT topic, value FROM outbox WHERE lane = $1 AND lane_seq > $2 ORDER BY lane_seq, i", lane, before):
        envelope = decode_envelope(row["value"])
        rehearsal.outputs.append(f"{row['topic']} {envelope.event_type} {envelope.event_id}")
    return rehearsal

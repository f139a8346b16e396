"""Who may write a lane, and from where: fence, continuity, topic identity, runs."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from laws.identity import pack_event_id
from ledger.service import ENTRIES, POSTED, TOPICS
from rig import Rig, entry
from spine.inputs import Source
from spine.lanes import lane_specs
from spine.migrate import close_run, open_run
from spine.outcome import ContinuityError, Fence, FencedError, Part

OTHER_RUN = "platform_20260106T000000Z"


def source_at(offset: int, like: Source) -> Source:
    return Source(like.cluster_id, like.topic_id, like.topic, like.partition, offset, like.key, like.value, like.headers)


async def test_a_zombie_is_refused_and_writes_nothing(rig: Rig) -> None:
    async with rig.worker() as (worker, door):
        await rig.send(entry("e1"))
        await rig.quiet(1)
        runtime = worker._rt
        (lane,) = [row["lane"] for row in await rig.rows("SELECT lane FROM lane_position WHERE next_offset > 0")]
        (row,) = await rig.rows("SELECT epoch, token FROM lane WHERE lane = $1", lane)
        spec = next(spec for spec in lane_specs(runtime.service) if spec.lane == lane)
        before = await rig.value("SELECT lane_seq FROM lane WHERE lane = $1", lane)
        place = (await rig.rows("SELECT * FROM lane_position WHERE lane = $1 AND topic = $2", lane, ENTRIES.name))[0]
        made = entry("e2")
        source = Source(
            place["cluster_id"], str(place["topic_id"]), ENTRIES.name, lane, place["next_offset"], made.key, made.value, made.headers
        )
        async with runtime.pool.acquire() as connection:
            with pytest.raises(FencedError):
                item = runtime.decoders["account"].record(source)
                await runtime.law.apply(connection, [Part(spec, Fence(row["epoch"] - 1, bytes(row["token"])), [item])])
            with pytest.raises(FencedError):
                await runtime.law.apply(connection, [Part(spec, Fence(row["epoch"], b"another token..."), [item])])
            # The right fence, the wrong place: a hole before, and an overlap.
            for offset in (place["next_offset"] + 1, place["next_offset"] - 1):
                with pytest.raises(ContinuityError):
                    item = runtime.decoders["account"].record(source_at(offset, source))
                    await runtime.law.apply(connection, [Part(spec, Fence(row["epoch"], bytes(row["token"])), [item])])
            # The right place of another topic of the same name.
            with pytest.raises(ContinuityError):
                stranger = Source(
                    source.cluster_id,
                    "00000000-0000-0000-0000-000000000001",
                    source.topic,
                    source.partition,
                    source.offset,
                    source.key,
                    source.value,
                    source.headers,
                )
                item = runtime.decoders["account"].record(stranger)
                await runtime.law.apply(connection, [Part(spec, Fence(row["epoch"], bytes(row["token"])), [item])])
        assert await rig.value("SELECT lane_seq FROM lane WHERE lane = $1", lane) == before
        assert await rig.value("SELECT count(*)::int FROM inbox WHERE event_id = $1", pack_event_id("e2")) == 0


async def test_a_recreated_topic_stops_its_lanes(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(entry("e1"), entry("e2", account="b"), entry("e3", account="c"))
        await rig.quiet(3)
        admin = AIOKafkaAdminClient(bootstrap_servers=rig.engines.endpoints.kafka_bootstrap)
        await admin.start()
        await admin.delete_topics([rig.site.prefix + ENTRIES.name])
        await admin.close()
        await rig.site.topics(TOPICS)
        # Offsets restart at 0 under the same name: as many records as stood there, and one more, would look like the next ones.
        for number in range(12):
            await rig.send(*(entry(f"n{number}-{account}", account=account) for account in "abcdefgh"))
        await rig.until("SELECT count(*)::int FROM lane WHERE stopped_reason LIKE 'TOPIC_CHANGED%' OR stopped_reason LIKE 'GAP%'", 3)
    assert await rig.value("SELECT count(*)::int FROM entry WHERE event_id LIKE 'n%'") == 0


async def test_records_of_an_unknown_or_closed_run_are_parked_and_hold_nobody_up(rig: Rig) -> None:
    await open_run(rig.site.operator_dsn, "ledger", OTHER_RUN)
    await close_run(rig.site.operator_dsn, "ledger", OTHER_RUN)
    async with rig.worker():
        await rig.send(
            entry("e1", run="platform_20270101T000000Z"),
            entry("e2", run=OTHER_RUN),
            entry("e3", amount=5),
        )
        await rig.quiet(3)
    assert {row["reason"] for row in await rig.rows("SELECT reason FROM parked")} == {"RUN_UNKNOWN", "CLOSED_RUN"}
    # Parked before dedupe: an identity in the inbox would make a later, lawful copy of it a duplicate.
    assert await rig.value("SELECT count(*)::int FROM inbox") == 1
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 5
    assert len(await rig.read(POSTED)) == 1


async def test_a_service_cannot_change_a_truth(rig: Rig) -> None:
    """Append-only is kept by the database: the service's own role has no right to rewrite."""
    import asyncpg  # noqa: PLC0415  only where it is used

    connection = await asyncpg.connect(rig.site.dsn("ledger"))
    try:
        for table in ("inbox", "outbox", "anomaly", "certificate", "input", "reply", "read_set", "entry", "run"):
            for statement in (f"UPDATE {table} SET run_no = 1" if table in ("inbox", "run") else None, f"DELETE FROM {table}"):
                if statement is not None:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE entry SET amount = 0")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO run (run_no, platform_run_id, state) VALUES (9, 'x', 'OPEN')")
    finally:
        await connection.close()

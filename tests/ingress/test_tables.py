"""The admission rows keep the same conditions wherever they live: DynamoDB, and the process's own memory for a benchmark."""

import secrets
import time
from collections import Counter

import pytest
from msgspec.structs import replace

from ingress.admission_store import AdmissionStore, AdmissionTable
from ingress.memory_table import MemoryTable
from ingress.row import AdmissionRow, Settlement, State
from ingress.settings import posture_reasons
from tests.ingress.rig import Site, push, traffic
from tests.ingress.test_parts import row_of, settings


@pytest.fixture(params=["dynamodb", "memory"])
def table(request: pytest.FixtureRequest, site: Site) -> AdmissionTable:
    return MemoryTable() if request.param == "memory" else AdmissionStore(site.store, f"{site.name}-idempotency", 8)


def fresh(owner: bytes = b"owner--1") -> AdmissionRow:
    row = row_of("e1", State.PUBLISH_IN_FLIGHT)
    return replace(row, dedupe_key=secrets.token_hex(32), lease_owner=owner, ttl_epoch=int(time.time()) + 100, attempt=1)


async def test_the_first_of_a_key_stands_and_the_others_are_told_of_it(table: AdmissionTable) -> None:
    rows = [fresh() for _ in range(20)]
    assert await table.claim(rows) == rows
    rivals = [replace(row, lease_owner=b"owner--2", payload_hash=b"2" * 32) for row in rows]
    assert await table.claim(rivals) == rows
    assert await table.standing(rows[3].dedupe_key) == rows[3]
    assert await table.standing("nobody") is None


async def test_only_the_holder_settles_and_an_admitted_row_stays(table: AdmissionTable) -> None:
    row, lost = fresh(), fresh()
    await table.claim([row, lost])
    foreign = replace(lost, lease_owner=b"owner--2")
    assert await table.admit([Settlement(row, 7, 1, 2), Settlement(foreign, 8, 1, 2)]) == [Settlement(row, 7, 1, 2).settled(), None]
    settled = await table.standing(row.dedupe_key)
    assert settled == Settlement(row, 7, 1, 2).settled()
    await table.mark_ambiguous(row)
    assert await table.take_over(row, b"owner--2", 99) is None
    assert await table.standing(row.dedupe_key) == settled
    assert await table.standing(lost.dedupe_key) == lost


async def test_a_row_is_taken_over_once_an_attempt(table: AdmissionTable) -> None:
    row = fresh()
    await table.claim([row])
    await table.mark_ambiguous(replace(row, lease_owner=b"owner--2"))
    assert await table.standing(row.dedupe_key) == row
    await table.mark_ambiguous(row)
    ambiguous = await table.standing(row.dedupe_key)
    assert ambiguous == replace(row, state=State.PUBLISH_AMBIGUOUS)
    taken = await table.take_over(ambiguous, b"owner--2", 99)
    assert taken == replace(row, attempt=2, lease_owner=b"owner--2", lease_until_ms=99)
    assert await table.take_over(ambiguous, b"owner--3", 99) is None
    assert await table.admit([Settlement(row, 7, 1, 2)]) == [None]
    await table.note_second_copy(row, 9)
    await table.note_second_copy(row, 7)
    noted = await table.standing(row.dedupe_key)
    assert noted == replace(taken, second_copies=(7, 9))


async def test_in_memory_a_row_lives_as_long_as_it_says() -> None:
    now = 0.0
    table = MemoryTable(lambda: now)
    row = replace(fresh(), ttl_epoch=10)
    await table.claim([row, replace(fresh(), ttl_epoch=20)])
    now = 10.0
    again = replace(row, ttl_epoch=30)
    assert await table.claim([again]) == [again]


def test_rows_in_memory_are_refused_beyond_local_parity() -> None:
    for env in ("dev_min", "dev_full", "prod_target"):
        assert any("FP_IG_TABLE" in reason for reason in posture_reasons(settings(env=env, table="memory")))
    assert posture_reasons(settings(env="local_parity", table="memory")) == []


async def test_an_array_is_admitted_with_rows_in_memory_as_with_any_others(site: Site) -> None:
    async with site.edge(table="memory") as edge:
        events = [traffic(flow_id=f"f{index % 7}") for index in range(300)]
        edge.store.calls.clear()
        first = await push(edge, events + events[:3])
        assert Counter(item["decision"] for item in first.body["items"]) == {"ADMIT": 300, "DUPLICATE": 3}
        second = await push(edge, events)
        assert {item["decision"] for item in second.body["items"]} == {"DUPLICATE"}
        refs = [item["receipt"]["eb_ref"] for item in first.body["items"]]
        assert refs[:300] == [item["receipt"]["eb_ref"] for item in second.body["items"]]
        assert refs[300:] == refs[:3]
        stands = {(record.partition, record.offset): dict(record.headers)["x-fp-event-id"].decode() for record in await site.records()}
        assert [stands[ref["partition"], int(ref["offset"])] for ref in refs[:300]] == [event["event_id"] for event in events]
        assert len(stands) == 300
        assert not {"PutItem", "UpdateItem", "GetItem"} & edge.store.calls.keys()

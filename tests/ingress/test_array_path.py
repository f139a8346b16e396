"""What an array of events costs less for, and that it says the same as single requests do."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import ingress.record as record_module
from ingress.admission_store import AdmissionStore
from ingress.dynamodb import STATEMENTS, StoreError
from ingress.edge import Edge
from ingress.inspection import Candidate, inspect_typed
from ingress.items import _BLOCKS
from ingress.record import Caller, Stamp
from ingress.row import AdmissionRow, Settlement, State
from laws.headers import Provenance
from tests.ingress.rig import RUN, Site, changed, fresh_row, push, spent, traffic

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
NOBODY = Caller(None, None, "SYSTEM::test")


@pytest.fixture
async def edge(site: Site) -> AsyncIterator[Edge]:
    async with site.edge() as edge:
        yield edge


async def statuses(edge: Edge, events: list[dict[str, Any]]) -> list[tuple[int, str]]:
    answered = await push(edge, events)
    return [(item["status"], item["decision"]) for item in answered.body["items"]]


async def test_an_array_takes_two_writes_an_event_and_a_request_for_many(edge: Edge) -> None:
    """No read, and no more requests than it takes to carry them."""
    count = 2 * STATEMENTS + 3
    await push(edge, [traffic() for _ in range(count)])  # an engine that loads its classes first answers too late, and is asked again
    edge.store.calls.clear()
    assert await statuses(edge, [traffic() for _ in range(count)]) == [(202, "ADMIT")] * count
    assert spent(edge) == Counter(PutItem=count, UpdateItem=count)
    assert edge.store.calls["BatchExecuteStatement"] == 2 * 3


async def test_an_array_row_is_the_row_of_a_single_request(edge: Edge, site: Site) -> None:
    """Column by column: the reconciler, the archive and a duplicate read it."""
    alone, first, second = traffic(), traffic(), traffic()
    await push(edge, alone)
    await push(edge, [first, second])
    columns = [await site.item(event) for event in (alone, first, second)]
    assert columns[0] is not None
    assert all(item is not None and item.keys() == columns[0].keys() for item in columns)
    rows = [await site.row(event) for event in (first, second)]
    assert [row.state for row in rows] == [State.ADMITTED] * 2
    assert all(row.lease_owner is None and row.low_water is None and row.attempt is None for row in rows)


async def test_rows_of_an_array_share_only_what_their_events_have_in_common(edge: Edge, site: Site) -> None:
    """Two streams on the same partitions: the row of each event says what that event said, and where it went."""
    events = []
    for number in range(24):
        stream, ts = str(number % 2), f"2026-01-05T10:00:{number:02}.000000Z"
        events.append(traffic(flow_id=f"flow-{number}") | {"ts_utc": ts, "manifest_fingerprint": stream * 64})
        if number % 3 == 0:
            events[-1] |= {"scenario_run_id": stream * 32, "run_id": stream * 32}
    assert await statuses(edge, events) == [(202, "ADMIT")] * len(events)
    for event in events:
        row, candidate = await site.row(event), _candidate(event)
        assert (row.event_id, row.ts_utc, row.dedupe_key) == (event["event_id"], event["ts_utc"], candidate.dedupe_key)
        assert (row.manifest_fingerprint.hex(), row.scenario_run_id.hex()) == (event["manifest_fingerprint"], event["scenario_run_id"])
        assert (row.payload_hash, row.partition_key.hex().encode()) == (candidate.payload_hash, candidate.key)
        assert (row.topic, row.partition) == (candidate.topic.name, candidate.partition)


async def test_copies_and_changed_payloads_in_an_array_are_told_apart(edge: Edge) -> None:
    """The statement of a row that stands is refused; the others of its request are done all the same."""
    stood, contested, fresh = [traffic() for _ in range(3)], traffic(), [traffic() for _ in range(3)]
    await push(edge, [*stood, contested])
    mixed = [stood[0], fresh[0], changed(contested), fresh[1], stood[1], fresh[2], stood[2]]
    assert await statuses(edge, mixed) == [
        (202, "DUPLICATE"),
        (202, "ADMIT"),
        (400, "QUARANTINE"),
        (202, "ADMIT"),
        (202, "DUPLICATE"),
        (202, "ADMIT"),
        (202, "DUPLICATE"),
    ]
    assert await statuses(edge, fresh) == [(202, "DUPLICATE")] * 3


async def test_a_batch_whose_answer_got_lost_knows_its_own_rows_again(site: Site, edge: Edge) -> None:
    """The service has done it and nobody heard: repeated, each row meets itself, and its settlement too."""
    table = AdmissionStore(edge.store, edge.settings.idempotency_table, 4)
    rows = [_row(edge, traffic()) for _ in range(3)]
    assert await table.claim(rows) == rows
    assert await table.claim(rows) == rows
    settlements = [Settlement(row, 7 + index, 1, 2) for index, row in enumerate(rows)]
    settled = await table.admit(settlements)
    again = await table.admit(settlements)
    assert [row.offset for row in settled if isinstance(row, AdmissionRow)] == [7, 8, 9]
    assert settled == again


async def test_who_lost_a_row_settles_nothing_for_its_neighbours_sake(site: Site, edge: Edge) -> None:
    """The fence of each row is its own."""
    table = AdmissionStore(edge.store, edge.settings.idempotency_table, 4)
    rows = [_row(edge, traffic()) for _ in range(3)]
    await table.claim(rows)
    assert await table.take_over(rows[1], b"somebody", 2**40) is not None
    found = await table.admit([Settlement(row, 7, 1, 2) for row in rows])
    assert [isinstance(row, AdmissionRow) for row in found] == [True, False, True]
    assert found[1] is None
    standing = await table.standing(rows[1].dedupe_key)
    assert standing is not None and (standing.state, standing.lease_owner) == (State.PUBLISH_IN_FLIGHT, b"somebody")


async def test_a_store_that_is_away_costs_every_row_of_the_array_a_retry(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> dict[str, Any]:
        raise StoreError("away")

    monkeypatch.setattr(edge.store, "call", away)
    assert await statuses(edge, [traffic() for _ in range(3)]) == [(503, "RETRY")] * 3


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_the_short_way_through_a_trace_is_the_long_one(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and headers, for what it takes and for what it leaves."""
    stamp = Stamp("P6", Provenance("p.1", "a" * 64, "b" * 64, "r"), 0.0)
    parents = [f"00-{TRACE}-{SPAN}-{flags}", f"cc-{TRACE}-{SPAN}-{flags}-x", f" 00-{TRACE}-{SPAN}-{flags}", f"00-{'0' * 32}-{SPAN}-{flags}"]
    candidates = [_candidate(traffic() | {"traceparent": parent}) for parent in parents]
    short = [stamp.record(candidate, NOBODY) for candidate in candidates]
    monkeypatch.setattr(record_module, "child_header", lambda *_: None)
    assert [stamp.record(candidate, NOBODY) for candidate in candidates] == short


def _candidate(event: dict[str, Any]) -> Candidate:
    candidate = inspect_typed(json.dumps(event).encode(), RUN)
    assert isinstance(candidate, Candidate)
    return candidate


def _row(edge: Edge, event: dict[str, Any]) -> AdmissionRow:
    return fresh_row(edge, _candidate(event), 0.0, event["event_id"][:8].encode())


async def test_few_blocks_are_at_work_at_once(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases run from the first claim of a block: those that wait have none yet."""
    at_once, most = 0, 0
    admit = edge._admission.admit

    async def counted(work: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await admit(work)
        finally:
            at_once -= 1

    monkeypatch.setattr(edge._admission, "admit", counted)
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(statuses(edge, [traffic() for _ in range(20)])) for _ in range(6)]
    assert all(answer.result() == [(202, "ADMIT")] * 20 for answer in answers)
    assert most == _BLOCKS

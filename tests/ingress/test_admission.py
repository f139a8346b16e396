"""Admission on real engines: what is written, what is published, what is answered (domain.md 2.6 to 2.8)."""

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec import json as msgjson
from msgspec.structs import replace

from ingress import edge as edge_module
from ingress import items as items_module
from ingress.edge import Edge
from ingress.inspection import Candidate, inspect
from ingress.producers import Producer
from ingress.rate import TokenBucket
from ingress.record import Caller
from ingress.row import State, to_item
from laws.contracts.audit import CorridorAnomaly
from laws.envelope import decode_envelope
from laws.headers import missing_headers
from laws.topics import AUDIT
from tests.ingress.rig import KEY, RUN, Answered, Site, changed, event_of, fresh_row, push, settled, spent, traffic
from tests.ingress.test_parts import TRACE, item_bytes


async def test_an_event_is_admitted_once_and_its_copy_refers_to_it(site: Site, edge: Edge) -> None:
    event = traffic()
    first = await push(edge, event, {"traceparent": TRACE, "tracestate": "vendor=1"})
    assert (first.status, first.decision) == (202, "ADMIT"), first.body
    second = await push(edge, event | {"emitted_at_utc": "2026-01-05T11:00:00.000000Z"})
    assert (second.status, second.decision) == (202, "DUPLICATE")
    one, two = first.body["receipt"], second.body["receipt"]
    assert one.pop("receipt_id") != two.pop("receipt_id")
    assert (one.pop("decision"), two.pop("decision")) == ("ADMIT", "DUPLICATE")
    assert one == two

    [record] = await site.of_event(event["event_id"])
    ref = one["eb_ref"]
    assert (ref["topic"], ref["partition"], ref["offset"]) == ("fp.bus.traffic.fraud.v1", record.partition, str(record.offset))
    headers = dict(record.headers)
    assert missing_headers(headers) == ()
    assert headers["traceparent"].decode()[3:35] == TRACE[3:35]
    assert headers["tracestate"] == b"vendor=1"
    assert first.body["correlation_echo"]["traceparent"] == headers["traceparent"].decode()
    assert record.key.decode() == one["partition_key"]
    sent = json.loads(record.value)
    assert {name: sent[name] for name in event} == event


async def test_an_admission_costs_two_writes_and_a_duplicate_changes_nothing(site: Site, edge: Edge) -> None:
    event = traffic()
    edge.store.calls.clear()
    await push(edge, event)
    assert spent(edge) == Counter(PutItem=1, UpdateItem=1)
    item = await site.item(event)
    assert item is not None
    assert item_bytes(item) <= 1024
    edge.store.calls.clear()
    assert (await push(edge, event)).decision == "DUPLICATE"
    assert spent(edge) == Counter(PutItem=1)  # a conditional put whose condition fails
    assert await site.item(event) == item
    assert len(await site.of_event(event["event_id"])) == 1


async def test_a_changed_payload_is_quarantined_and_becomes_one_anomaly(site: Site, edge: Edge) -> None:
    event = traffic()
    first = await push(edge, event)
    other = changed(event)
    for _ in range(2):
        answer = await push(edge, other)
        assert (answer.status, answer.decision, answer.reasons) == (400, "QUARANTINE", ["PAYLOAD_HASH_MISMATCH"])
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "field", "value", "reason"} <= answer.body.keys()
    assert len(await site.of_event(event["event_id"])) == 1
    assert (await push(edge, event)).decision == "DUPLICATE"

    [kept] = [item for item in await site.quarantined() if item.get("event_id") == {"S": event["event_id"]}]
    assert kept["anomaly_published"] == {"BOOL": True}
    assert "anomaly_pending" not in kept
    assert kept["quarantine_id"]["S"] == answer.body["quarantine_id"]
    assert "payload" not in json.loads(kept["envelope"]["S"])

    [anomaly] = [record for record in await site.records(AUDIT.name) if decode_envelope(record.value).parent_event_id == event["event_id"]]
    assert missing_headers(dict(anomaly.headers)) == ()
    body = msgjson.decode(decode_envelope(anomaly.value).payload, type=CorridorAnomaly)
    assert body.first_payload_hash == first.body["receipt"]["payload_hash"]["hex"]
    assert body.other_payload_hash == kept["payload_hash"]["S"]
    assert body.first_ref is not None
    assert body.first_ref.offset == first.body["receipt"]["eb_ref"]["offset"]
    assert (body.observer, body.subject.event_id) == ("ig", event["event_id"])


async def test_an_anomaly_that_did_not_reach_the_bus_is_published_by_the_next_edge(site: Site, edge: Edge) -> None:
    event = traffic()
    await push(edge, event)
    answer = await push(edge, changed(event))
    ours = {"TableName": f"{site.name}-quarantine", "Key": {"quarantine_id": {"S": answer.body["quarantine_id"]}}}
    await site.store.call(
        "UpdateItem",
        ours
        | {
            "UpdateExpression": "SET anomaly_published = :no, anomaly_pending = :yes",
            "ExpressionAttributeValues": {":no": {"BOOL": False}, ":yes": {"S": "1"}},
        },
    )
    async with site.edge():
        pass
    item = (await site.store.call("GetItem", ours | {"ConsistentRead": True}))["Item"]
    assert item["anomaly_published"] == {"BOOL": True}
    copies = [record for record in await site.records(AUDIT.name) if decode_envelope(record.value).parent_event_id == event["event_id"]]
    assert len(copies) == 2
    assert len({(record.partition, record.key, record.value, record.headers) for record in copies}) == 1


async def in_state(site: Site, edge: Edge, event: dict[str, Any], state: State, lease_s: float, **columns: Any) -> Candidate:
    """Puts the row of an event that some other edge has begun to publish."""
    candidate = inspect(json.dumps(event).encode(), RUN)
    assert isinstance(candidate, Candidate)
    row = fresh_row(edge, candidate, time.time(), b"an owner")
    assert row.lease_until_ms is not None
    until = row.lease_until_ms - int((edge.settings.lease_s - lease_s) * 1000)
    await site.put_row(to_item(replace(row, state=state, lease_until_ms=until, **columns)))
    return candidate


@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.PUBLISH_IN_FLIGHT, "PUBLISH_IN_FLIGHT_RETRY"), (State.PUBLISH_AMBIGUOUS, "PUBLISH_AMBIGUOUS_RETRY")],
)
async def test_while_another_holds_the_row_a_copy_waits_and_a_changed_payload_does_not(
    site: Site, edge: Edge, state: State, reason: str
) -> None:
    event = traffic()
    await in_state(site, edge, event, state, lease_s=30)
    waits = await push(edge, event)
    assert (waits.status, waits.decision, waits.reasons) == (503, "RETRY", [reason])
    assert waits.headers["retry-after"] == "1"
    mismatch = await push(edge, changed(event))
    assert (mismatch.status, mismatch.reasons) == (400, ["PAYLOAD_HASH_MISMATCH"])
    assert await site.of_event(event["event_id"]) == []
    [kept] = [item for item in await site.quarantined() if item.get("event_id") == {"S": event["event_id"]}]
    assert kept["anomaly_published"] == {"BOOL": True}


@pytest.mark.parametrize("state", [State.PUBLISH_IN_FLIGHT, State.PUBLISH_AMBIGUOUS])
async def test_when_the_lease_is_over_and_nothing_was_appended_the_event_is_published_once(site: Site, edge: Edge, state: State) -> None:
    event = traffic()
    await in_state(site, edge, event, state, lease_s=-1)
    assert (await push(edge, event)).decision == "ADMIT"
    assert len(await site.of_event(event["event_id"])) == 1
    row = await site.row(event)
    assert (row.state, row.attempt, row.lease_owner) == (State.ADMITTED, None, None)
    assert (await push(edge, event)).decision == "DUPLICATE"


async def test_when_the_lease_is_over_the_log_decides_which_copy_came_first(site: Site, edge: Edge) -> None:
    event = traffic()
    candidate = await in_state(site, edge, event, State.PUBLISH_AMBIGUOUS, lease_s=-1)
    record, _ = edge._stamp.record(candidate, Caller(None, None, "SYSTEM::x"))
    # The same id with another payload, put there behind the edge's back, is no copy of ours.
    foreign = inspect(json.dumps(changed(event)).encode(), RUN)
    assert isinstance(foreign, Candidate)
    await edge.bus.publish(edge._stamp.record(foreign, Caller(None, None, "SYSTEM::x"))[0])
    first = await edge.bus.publish(record)
    await edge.bus.publish(record)
    answer = await push(edge, event)
    assert answer.decision == "ADMIT"
    assert answer.body["receipt"]["eb_ref"]["offset"] == str(first.offset)
    assert len(await site.of_event(event["event_id"])) == 3


async def test_a_copy_below_the_low_water_is_not_looked_for(site: Site, edge: Edge) -> None:
    """The mark is the end of the partition before the first attempt, so nothing of that attempt can stand below it."""
    event = traffic()
    candidate = await in_state(site, edge, event, State.PUBLISH_IN_FLIGHT, lease_s=-1)
    ack = await edge.bus.publish(edge._stamp.record(candidate, Caller(None, None, "SYSTEM::x"))[0])
    row = await site.row(event)
    assert row.low_water is not None
    assert row.low_water <= ack.offset
    await site.put_row(to_item(replace(row, low_water=ack.offset + 1)))
    answer = await push(edge, event)
    assert answer.body["receipt"]["eb_ref"]["offset"] == str(ack.offset + 1)


async def test_of_many_edges_and_two_payloads_one_wins_and_every_mismatch_is_kept(site: Site) -> None:
    event = traffic()
    bodies = [event, changed(event)]
    async with AsyncExitStack() as stack:
        edges = [await stack.enter_async_context(site.edge()) for _ in range(5)]
        answers = await asyncio.gather(*(push(edges[index % 5], bodies[index // 5 % 2]) for index in range(50)))
    decisions = Counter(answer.decision for answer in answers)
    assert decisions["ADMIT"] == 1
    assert set(decisions) <= {"ADMIT", "DUPLICATE", "RETRY", "QUARANTINE"}
    assert all(answer.reasons == ["PAYLOAD_HASH_MISMATCH"] for answer in answers if answer.decision == "QUARANTINE")
    assert decisions["QUARANTINE"] == 25
    assert len(await site.of_event(event["event_id"])) == 1
    kept = [item for item in await site.quarantined() if item.get("event_id") == {"S": event["event_id"]}]
    [named] = {answer.body["quarantine_id"] for answer in answers if answer.decision == "QUARANTINE"}
    assert [item["quarantine_id"]["S"] for item in kept] == [named]


async def test_an_array_answers_each_item_in_order(site: Site, edge: Edge) -> None:
    good, other = traffic(), traffic(flow_id="flow-2")
    leak = traffic(fraud_flag=True)
    raw = b"[" + b",".join([*(json.dumps(item).encode() for item in (good, leak, other, good)), b'{"a":1,"a":1}', b"7"]) + b"]"
    answer = await push(edge, raw)
    assert answer.status == 200
    items = answer.body["items"]
    assert [item["decision"] for item in items] == ["ADMIT", "QUARANTINE", "ADMIT", "DUPLICATE", "QUARANTINE", "QUARANTINE"]
    assert [item["status"] for item in items] == [202, 400, 202, 202, 400, 400]
    assert [item["event_id"] for item in items] == [good["event_id"], leak["event_id"], other["event_id"], good["event_id"], None, None]
    assert items[1]["detail"]["field"] == "payload.fraud_flag"
    assert len(await site.of_event(good["event_id"])) == 1


async def test_a_malformed_array_is_one_quarantine_by_its_digest(site: Site, edge: Edge) -> None:
    before = len(await site.quarantined())
    answers = [await push(edge, b'[{"a":}]') for _ in range(2)]
    assert [answer.status for answer in answers] == [400, 400]
    assert answers[0].reasons == ["ENVELOPE_INVALID", "MALFORMED_JSON"]
    assert answers[0].body["quarantine_id"] == answers[1].body["quarantine_id"]
    assert len(await site.quarantined()) == before + 1
    assert (await push(edge, b'[{"b":}]')).body["quarantine_id"] != answers[0].body["quarantine_id"]


async def test_a_refusal_is_durable_before_it_is_told_and_keeps_no_more_than_a_bounded_body(site: Site, edge: Edge) -> None:
    event = traffic(note="x" * 200_000)
    answer = await push(edge, event)
    assert (answer.status, answer.reasons) == (400, ["SCHEMA_FAIL"])
    [kept] = [item for item in await site.quarantined() if item.get("event_id") == {"S": event["event_id"]}]
    assert int(kept["payload_bytes"]["N"]) > 200_000
    assert len(kept["payload"]["B"]) < 100_000
    assert kept["reason_codes"] == {"L": [{"S": "SCHEMA_FAIL"}]}


async def test_a_wrong_key_costs_nothing(site: Site, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("nothing may be read for a caller without a key")

    monkeypatch.setattr(edge_module, "split", nobody)
    monkeypatch.setattr(items_module, "inspect", nobody)
    edge.store.calls.clear()
    for key in ("wrong", ""):
        answer = await push(edge, traffic(), {"X-IG-Api-Key": key})
        assert (answer.status, answer.decision, answer.reasons) == (401, None, ["UNAUTHORIZED"])
        assert KEY not in json.dumps(answer.body)
    # The order is size, key, rate, health: what is too long is not even asked for a key.
    assert (await push(edge, b"x" * (2**20 + 1), {"X-IG-Api-Key": "wrong"})).status == 413
    assert not spent(edge)


async def _shared_producer(edge: Edge) -> Producer:
    assert await edge.authority.ready()
    producer = edge.authority.who({"x-ig-api-key": KEY})
    assert producer is not None
    return producer


async def test_too_much_at_once_is_told_when_to_come_again(site: Site) -> None:
    async with site.edge(rate_profile="seed") as edge:
        shared = await _shared_producer(edge)
        edge.buckets[shared.principal, shared.per_second, shared.burst] = TokenBucket(200, 400, lambda: 0.0)
        answer = await push(edge, [{}] * 400)
        assert answer.status == 200
        answer = await push(edge, traffic())
        assert (answer.status, answer.reasons) == (429, ["RATE_LIMITED"])
        assert int(answer.headers["retry-after"]) >= 1
    async with site.edge(max_items=3) as edge:
        assert (await push(edge, [{}] * 4)).status == 413


async def test_the_measured_profile_lets_through_what_the_scale_profile_holds_back(site: Site) -> None:
    for profile, status in (("scale", 429), ("measured", 200)):
        async with site.edge(rate_profile=profile) as edge:
            shared = await _shared_producer(edge)
            bucket = TokenBucket(shared.per_second, shared.burst, lambda: 0.0)
            edge.buckets[shared.principal, shared.per_second, shared.burst] = bucket
            bucket.charge(6000)
            assert (await push(edge, [{}] * 2)).status == status


async def test_paths_and_health(edge: Edge) -> None:
    assert (await edge.handle(event_of(b"", path="/v1/other")))["statusCode"] == 404
    wrong = await edge.handle(event_of(b"", method="GET"))
    assert (wrong["statusCode"], wrong["headers"]["allow"]) == (405, "POST")
    health = Answered(await edge.handle(event_of(b"", method="GET", path="/v1/ops/health")))
    assert (health.status, health.body["state"], health.body["causes"]) == (200, "GREEN", [])


async def test_every_type_of_the_edge_reaches_its_topic(site: Site, edge: Edge) -> None:
    arrival = {"merchant_id": "m1", "arrival_seq": 7, "ts_utc": "2026-01-05T10:00:00.000000Z"}
    entities = {"party_id": "p", "account_id": "a"}
    payloads = {
        "arrival_events_5B": arrival
        | {"zone_representation": "tz", "bucket_index": 1, "tzid_primary": "Europe/Berlin", "ts_local_primary": "x", "is_virtual": False},
        "s1_arrival_entities_6B": arrival | entities | {"session_id": "s"},
        "s3_flow_anchor_with_fraud_6B": arrival | entities | {"flow_id": "f", "amount_minor": 1, "currency": "EUR"},
    }
    for event_type, payload in payloads.items():
        event = traffic() | {"event_type": event_type, "payload": payload}
        answer = await settled(edge, event)
        assert answer.decision == "ADMIT", answer.body
        topic = answer.body["receipt"]["eb_ref"]["topic"]
        assert len(await site.of_event(event["event_id"], topic)) == 1

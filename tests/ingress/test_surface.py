"""The surface that producers see: lines, hints, problems, large payloads, the topics' own limit (domain.md 2.10)."""

import json

import pytest

from ingress.capacity import Capacity
from ingress.edge import Edge
from laws.claims import CLAIM, Claim, ClaimError, Fetch, payload_of, read_claim
from laws.envelope import decode_envelope
from laws.payload_hash import payload_hash
from laws.topics import ARRIVAL_EVENTS, TRAFFIC
from laws.trace_context import parse_traceparent
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.messy import PAYLOADS
from tests.ingress.proxy import Proxy
from tests.ingress.rig import Site, push, spent, traffic
from tests.ingress.test_parts import TRACE


async def test_lines_are_answered_line_by_line(site: Site, edge: Edge) -> None:
    good, leak = traffic(), traffic(campaign_id="c")
    body = b"\n".join([json.dumps(good).encode(), b"", b"{no json", json.dumps(leak).encode() + b"\r", json.dumps(good).encode(), b""])
    answer = await push(edge, body, {"Content-Type": "application/x-ndjson; charset=utf-8"})
    assert answer.status == 200
    assert [item["decision"] for item in answer.body["items"]] == ["ADMIT", "QUARANTINE", "QUARANTINE", "DUPLICATE"]
    assert answer.body["items"][1]["reason_codes"] == ["ENVELOPE_INVALID", "MALFORMED_JSON"]
    assert (await push(edge, b"\n", {"Content-Type": "application/x-ndjson"})).body["items"] == []


async def test_an_idempotency_key_is_a_hint_and_decides_nothing(site: Site, edge: Edge) -> None:
    first, second = traffic(), traffic()
    one = await push(edge, first, {"Idempotency-Key": "same"})
    two = await push(edge, second, {"Idempotency-Key": "same"})
    three = await push(edge, first, {"Idempotency-Key": "other"})
    assert [answer.decision for answer in (one, two, three)] == ["ADMIT", "ADMIT", "DUPLICATE"]
    assert [answer.headers["idempotency-key"] for answer in (one, two, three)] == ["same", "same", "other"]
    assert "idempotency-key" not in (await push(edge, first, {"Idempotency-Key": "a b\r\n"})).headers


async def test_a_problem_names_field_value_and_reason(edge: Edge) -> None:
    answer = await push(edge, traffic(amount_minor=-1))
    assert answer.headers["content-type"] == "application/problem+json"
    problem = {name: answer.body[name] for name in ("type", "title", "status", "reason", "field", "value")}
    assert problem == {
        "type": "urn:fp:reason:SCHEMA_FAIL",
        "title": "Schema fail",
        "status": 400,
        "reason": "SCHEMA_FAIL",
        "field": "payload.amount_minor",
        "value": -1,
    }
    assert isinstance(answer.body["detail"], str)


def test_a_topic_takes_what_its_partitions_carry_and_no_more() -> None:
    now = 0.0
    capacity = Capacity(share=0.5, clock=lambda: now)
    size = 1_000_000
    assert [capacity.take(TRAFFIC.name, size) for _ in range(15)] == [0] * 15  # 6 partitions at 5 MB/s, half of it
    assert capacity.take(TRAFFIC.name, size) == 1
    assert capacity.take(ARRIVAL_EVENTS.name, size) == 0  # another topic has its own
    now = 1.0
    assert capacity.take(TRAFFIC.name, size) == 0


async def test_without_capacity_an_event_is_told_when_to_come_again_and_no_row_is_put(site: Site) -> None:
    async with site.edge() as edge:
        await push(edge, traffic())
        edge._items._capacity = Capacity(share=1e-9, clock=lambda: 0.0)
        edge.store.calls.clear()
        answer = await push(edge, traffic())
        assert (answer.status, answer.reasons) == (429, ["RATE_LIMITED"])
        assert "fp.bus.traffic" in answer.body["detail"]
        assert answer.headers["retry-after"]
        assert not spent(edge)


async def test_a_large_payload_goes_by_reference_and_is_read_back_verified(site: Site, cloud: Cloud) -> None:
    bucket = f"claims-{site.name}"
    cloud.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    large = "ü" * 150_000  # escaped it fills a body, canonical it is above the limit of a record
    event = traffic() | {"event_type": "arrival_events_5B", "payload": PAYLOADS["arrival_events_5B"] | {"zone_representation": large}}
    async with Proxy(cloud.endpoint) as network:
        fields = {"claim_bucket": bucket, "s3_endpoint": network.endpoint, "region": REGION, "probe_s": 3600}
        async with site.edge(**fields) as edge:
            await network.cut()
            away = await push(edge, event)
            assert (away.status, away.reasons) == (503, ["DEPENDENCY_UNAVAILABLE"])
            assert (await push(edge, traffic())).decision == "ADMIT"  # what fits into a record needs no S3
            assert await site.item(event) is None
            await network.mend()
            assert (await push(edge, event)).decision == "ADMIT"
            assert (await push(edge, event)).decision == "DUPLICATE"
            other = event | {"payload": event["payload"] | {"zone_representation": large + "x"}}
            assert (await push(edge, other)).reasons == ["PAYLOAD_HASH_MISMATCH"]

            [record] = await site.of_event(event["event_id"], ARRIVAL_EVENTS.name)
            assert len(record.value) < 4096
            envelope, headers = decode_envelope(record.value), dict(record.headers)
            assert edge.objects is not None
            objects = edge.objects

            async def fetch(uri: str) -> bytes | None:
                return await objects.get(uri.removeprefix(f"s3://{bucket}/"))

            payload = await payload_of(envelope, headers, fetch)
            assert json.loads(payload) == event["payload"]
            assert payload_hash(envelope.event_type, payload, None) == (await site.row(event)).payload_hash

            claim = read_claim(envelope)
            for found, word in ((b"x", "other bytes"), (None, "missing")):
                with pytest.raises(ClaimError, match=word):
                    await payload_of(envelope, headers, _gives(found))
            with pytest.raises(ClaimError, match="two places"):
                await payload_of(envelope, {CLAIM: b"s3://elsewhere/x"}, fetch)
            assert isinstance(claim, Claim)
            key = claim.claim_ref.removeprefix(f"s3://{bucket}/")
            assert not await objects.put_once(key, b"other")  # written once
            assert await objects.get(key) == payload


def _gives(content: bytes | None) -> Fetch:
    async def fetch(_: str) -> bytes | None:
        return content

    return fetch


async def test_the_trace_of_a_request_is_continued_into_record_row_receipt_and_quarantine(site: Site, edge: Edge) -> None:
    event, refused = traffic(), traffic(amount_minor=-1)
    headers = {"traceparent": TRACE, "tracestate": "vendor=1"}
    answer = await push(edge, event, headers)
    [record] = await site.of_event(event["event_id"])
    place = dict(record.headers)["traceparent"].decode()
    assert place[3:35] == TRACE[3:35]
    assert (await site.row(event)).traceparent == place
    assert answer.body["receipt"]["evidence_refs"] == [{"kind": "traceparent", "ref": place}]
    assert (await push(edge, event)).body["receipt"]["evidence_refs"] == answer.body["receipt"]["evidence_refs"]
    told = await push(edge, refused, headers)
    [kept] = [item for item in await site.quarantined() if item["quarantine_id"]["S"] == told.body["quarantine_id"]]
    assert kept["traceparent"]["S"][3:35] == TRACE[3:35]


async def test_a_trace_that_is_not_lawful_starts_anew_and_fails_nothing(site: Site, edge: Edge) -> None:
    for broken in ("", "00-zz", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01"):
        event = traffic()
        assert (await push(edge, event, {"traceparent": broken})).decision == "ADMIT"
        assert parse_traceparent((await site.row(event)).traceparent) is not None
    told = await push(edge, b"no json", {"traceparent": "00-zz"})
    [kept] = [item for item in await site.quarantined() if item["quarantine_id"]["S"] == told.body["quarantine_id"]]
    assert parse_traceparent(kept["traceparent"]["S"]) is not None


async def test_without_a_bucket_what_no_record_can_carry_is_told_so_before_any_row(site: Site, edge: Edge) -> None:
    payload = PAYLOADS["arrival_events_5B"] | {"zone_representation": "x" * 1_010_000}
    event = traffic() | {"event_type": "arrival_events_5B", "payload": payload}
    line = edge.bus._line
    answer = await push(edge, event)
    assert (answer.status, answer.reasons) == (413, ["TOO_LARGE"])
    assert await site.item(event) is None
    assert edge.bus._line is line

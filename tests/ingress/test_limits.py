"""The limits of authority.md 5.1.1 item 11, and that identities of what the edge writes are of one run and one class (domain.md 2.11)."""

import json
import time

from ingress.aws_json import BACKOFF_S, RETRIES
from ingress.edge import Edge
from ingress.settings import RateProfile
from laws.ids import quarantine_id, receipt_id
from tests.ingress.proxy import Proxy
from tests.ingress.rig import Site, push, spent, traffic

OTHER_RUN = "platform_20260202T000000Z"


def test_the_defaults_are_those_of_the_contract(site: Site) -> None:
    settings = site.settings(rate_profile="seed")
    assert (settings.max_body_bytes, settings.request_timeout_s, settings.idempotency_ttl_s) == (1_048_576, 30.0, 72 * 3600)
    assert (RETRIES, BACKOFF_S) == (3, 0.25)
    assert (RateProfile.SEED.per_second, RateProfile.SEED.burst) == (200, 400)


async def test_a_row_lives_for_72_hours(site: Site, edge: Edge) -> None:
    event = traffic()
    before = int(time.time())
    await push(edge, event)
    assert before <= (await site.row(event)).ttl_epoch - 72 * 3600 <= time.time()


async def test_what_would_begin_behind_a_request_s_time_is_told_so_and_leaves_no_row(site: Site) -> None:
    async with site.edge(request_timeout_s=1.0) as edge:  # the last 2 s of a request are the answer's
        event = traffic()
        edge.store.calls.clear()
        for body in (event, [event]):
            answer = (await push(edge, body)).body
            told = answer.get("items", [answer])[0]
            assert (told["decision"], told["status"], told["reason_codes"]) == ("RETRY", 503, ["DEPENDENCY_UNAVAILABLE"])
            assert "time is over" in json.dumps(told)
        assert not spent(edge)
        assert await site.item(event) is None


async def test_a_store_that_does_not_answer_is_asked_four_times(site: Site) -> None:
    async with Proxy(site.endpoints.dynamodb_endpoint) as network, site.edge(dynamodb_endpoint=network.endpoint, probe_s=3600) as edge:
        await push(edge, traffic())
        edge.store.calls.clear()
        await network.cut()
        assert (await push(edge, traffic())).reasons == ["DEPENDENCY_UNAVAILABLE"]
        assert edge.store.calls["PutItem"] == 1 + RETRIES


async def test_a_body_of_a_byte_too_many_is_not_looked_into(edge: Edge) -> None:
    edge.store.calls.clear()
    for size, status in ((1_048_576, 400), (1_048_577, 413)):
        assert (await push(edge, b"[" + b" " * (size - 1))).status == status
    assert spent(edge)["PutItem"] == 1  # the record of the one that was read, and was no JSON


def test_ids_of_receipts_and_refusals_are_of_one_run_and_one_class() -> None:
    run = "platform_20260101T000000Z"
    scopes = [(run, "traffic_fraud"), (OTHER_RUN, "traffic_fraud"), (run, "context_arrival")]
    assert len({receipt_id(*scope, "e", "ADMIT", "a" * 64) for scope in scopes}) == 3
    assert len({quarantine_id(*scope, "e", "a" * 64, ["SCHEMA_FAIL"]) for scope in scopes}) == 3

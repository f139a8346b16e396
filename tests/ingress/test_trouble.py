"""What the edge does when the store, the bus or the edge itself goes away in the middle."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ingress.batches import Ack
from ingress.edge import Edge
from ingress.health import HealthState
from ingress.record import Record
from ingress.row import State, to_item
from testkit.engines import EngineSet
from tests.ingress.http import EdgeProcess
from tests.ingress.proxy import Proxy
from tests.ingress.rig import Answered, Site, changed, event_of, push, settled, spent, traffic


async def test_without_the_store_nothing_is_published_and_afterwards_the_event_is_admitted_once(site: Site) -> None:
    event = traffic()
    async with Proxy(site.endpoints.dynamodb_endpoint) as network, site.edge(dynamodb_endpoint=network.endpoint) as edge:
        await network.cut()
        answer = await push(edge, event)
        assert (answer.status, answer.decision) == (503, "RETRY")
        assert answer.reasons[0] in ("DEPENDENCY_UNAVAILABLE", "IG_UNHEALTHY")
        assert answer.headers["retry-after"]
        refusal = await push(edge, b"no json")
        assert (refusal.status, refusal.decision) == (503, "RETRY")  # a QUARANTINE that is not durable is none
        assert await site.of_event(event["event_id"]) == []
        for _ in range(3):
            await push(edge, traffic())
        assert edge.health.state is HealthState.RED
        unhealthy = await push(edge, event)
        assert unhealthy.reasons == ["IG_UNHEALTHY"]
        health = Answered(await edge.handle(event_of(b"", method="GET", path="/v1/ops/health")))
        assert (health.status, health.body["state"]) == (503, "RED")
        assert [cause["dependency"] for cause in health.body["causes"] if cause["dependency"] == "store"] == ["store"]
        await network.mend()
        assert (await settled(edge, event)).decision == "ADMIT"
        assert len(await site.of_event(event["event_id"])) == 1
        assert (await push(edge, event)).decision == "DUPLICATE"


async def test_a_write_whose_answer_got_lost_is_known_again(site: Site) -> None:
    """The put and the update were done, their answers vanished: the repeated write meets the edge's own row, not a rival's."""
    event = traffic()
    async with Proxy(site.endpoints.dynamodb_endpoint) as network, site.edge(dynamodb_endpoint=network.endpoint, probe_s=3600) as edge:
        edge.store.calls.clear()
        network.swallow = 1
        assert (await push(edge, event)).decision == "ADMIT"
        assert spent(edge) == Counter(PutItem=2, UpdateItem=1)

        second = traffic()
        publish = edge.bus.publish

        async def publish_then_lose_an_answer(record: Record) -> Ack:
            ack = await publish(record)
            network.swallow = 1
            return ack

        edge.store.calls.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge.bus, "publish", publish_then_lose_an_answer)
            assert (await push(edge, second)).decision == "ADMIT"
        assert spent(edge) == Counter(PutItem=1, UpdateItem=2)
    for admitted in (event, second):
        assert (await site.row(admitted)).state is State.ADMITTED
        assert len(await site.of_event(admitted["event_id"])) == 1


async def test_a_publish_that_nobody_answers_is_ambiguous_until_the_log_can_be_read(site: Site, engines: EngineSet) -> None:
    event = traffic()
    async with site.edge(publish_timeout_s=1.0, lease_s=6.0, probe_s=3600) as edge:
        await push(edge, traffic())
        await asyncio.to_thread(engines.kafka.pause)
        try:
            answer = await push(edge, event)
            assert (answer.status, answer.reasons) == (503, ["PUBLISH_AMBIGUOUS"])
            assert (await site.row(event)).state is State.PUBLISH_AMBIGUOUS
            blocked = await push(edge, event)
            assert blocked.reasons == ["DEPENDENCY_UNAVAILABLE"]
        finally:
            await asyncio.to_thread(engines.kafka.resume)
        waits = await until_bus_serves(edge, event)
        assert waits.reasons == ["PUBLISH_AMBIGUOUS_RETRY"]
        assert (await push(edge, changed(event))).reasons == ["PAYLOAD_HASH_MISMATCH"]
        admitted = await settled(edge, event)
        assert admitted.decision == "ADMIT"
        copies = await site.of_event(event["event_id"])
        assert [str(copy.offset) for copy in copies] == [admitted.body["receipt"]["eb_ref"]["offset"]]


async def test_a_holder_that_lost_its_row_keeps_where_its_copy_stands(site: Site) -> None:
    """It stood still between the lease's check and the append; meanwhile somebody else has taken the row over."""
    event = traffic()
    async with site.edge() as edge:
        publish = edge.bus.publish

        async def publish_too_late(record: Record) -> Ack:
            row = await site.row(event)
            assert row.attempt == 1
            await site.put_row(to_item(replace(row, attempt=2, lease_owner=b"somebody", lease_until_ms=0)))
            return await publish(record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge.bus, "publish", publish_too_late)
            answer = await push(edge, event)
        assert (answer.status, answer.reasons) == (503, ["PUBLISH_IN_FLIGHT_RETRY"])
        [copy] = await site.of_event(event["event_id"])
        assert (await site.row(event)).second_copies == (copy.offset,)
        assert (await push(edge, event)).body["receipt"]["eb_ref"]["offset"] == str(copy.offset)
        assert len(await site.of_event(event["event_id"])) == 1


async def test_a_store_so_slow_that_it_eats_the_lease_keeps_the_edge_from_publishing(site: Site) -> None:
    event = traffic()
    async with site.edge(publish_timeout_s=1.0, lease_s=2.0) as edge:
        call = edge.store.call

        async def slow(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            answer = await call(operation, request)
            await asyncio.sleep(1.1)
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge.store, "call", slow)
            answer = await push(edge, event)
        assert answer.reasons == ["PUBLISH_IN_FLIGHT_RETRY"]
        assert await site.of_event(event["event_id"]) == []
        assert (await settled(edge, event)).decision == "ADMIT"
        assert len(await site.of_event(event["event_id"])) == 1


async def until_bus_serves(edge: Edge, event: dict[str, object]) -> Answered:
    for _ in range(40):
        answer = await push(edge, event)
        if answer.reasons not in (["DEPENDENCY_UNAVAILABLE"], ["IG_UNHEALTHY"]):
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(answer.body)


async def test_after_a_failed_publish_a_new_producer_takes_over(site: Site, engines: EngineSet) -> None:
    """An idempotent producer never gives up: left alone, it would append minutes later what another edge has published since."""
    events = [traffic(flow_id=f"f{index}") for index in range(30)]
    async with site.edge(publish_timeout_s=1.0, lease_s=2.0) as edge:
        await push(edge, traffic())
        first = edge.bus._line
        await asyncio.to_thread(engines.kafka.pause)
        try:
            answer = await push(edge, events)
            assert {item["decision"] for item in answer.body["items"]} == {"RETRY"}
        finally:
            await asyncio.to_thread(engines.kafka.resume)
        for event in events:
            assert (await settled(edge, event)).decision == "ADMIT"
        assert edge.bus._line is not first
        for event in events:
            [copy] = await site.of_event(event["event_id"])
            assert (await site.row(event)).offset == copy.offset


async def test_an_edge_that_is_killed_between_put_and_update_leaves_one_event(site: Site, engines: EngineSet, tmp_path: Path) -> None:
    event = traffic()
    limits = {"FP_IG_PUBLISH_TIMEOUT_S": "2", "FP_IG_LEASE_S": "3"}
    async with EdgeProcess(site, tmp_path, **limits) as first, EdgeProcess(site, tmp_path, **limits) as second:
        assert (await first.push(traffic())).decision == "ADMIT"
        await asyncio.to_thread(engines.kafka.pause)
        try:
            request = asyncio.create_task(first.push(event))
            while (item := await site.item(event)) is None:
                await asyncio.sleep(0.01)
            assert item["state"] == {"S": "PUBLISH_IN_FLIGHT"}
            await asyncio.sleep(0.2)  # by now the record lies in the broker's socket
            os.kill(first.pid, signal.SIGKILL)
            await asyncio.gather(request, return_exceptions=True)
        finally:
            await asyncio.to_thread(engines.kafka.resume)
        answer = await second.settled(event)
        assert answer.decision == "ADMIT"
        copies = await site.of_event(event["event_id"])
        assert [str(copy.offset) for copy in copies] == [answer.body["receipt"]["eb_ref"]["offset"]]
        assert (await second.push(event)).decision == "DUPLICATE"


async def test_a_topic_that_is_not_there_is_red_and_named(site: Site) -> None:
    async with site.edge(topic_prefix="nowhere.") as edge:
        answer = await push(edge, traffic())
        assert answer.reasons[0] in ("DEPENDENCY_UNAVAILABLE", "IG_UNHEALTHY")
        assert "nowhere.fp.bus" in str(edge.health.causes)

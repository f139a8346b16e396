"""What a producer gave to the client arrives once, through retries, an edge that is away, and kill -9 of the producer."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from client import Client, Events
from ingress.inspection import Candidate, inspect
from laws.contracts.world import TrafficEvent, TrafficKind
from laws.pins import ContextPins
from testkit.engines import Deadline
from tests.ingress.rig import RUN, SCENARIO_RUN

PINS = ContextPins(RUN, SCENARIO_RUN, "1" * 64, "2" * 64, "42", "baseline_v1")
EVENTS = Events(PINS, producer="wsp")
INSTANT = "2026-01-05T10:00:00.000000Z"

Handler = Callable[[web.Request], Awaitable[web.Response]]


def traffic(number: int) -> bytes:
    payload = TrafficEvent(f"flow-{number}", 1, TrafficKind.AUTH_REQUEST, INSTANT, 1999, "EUR")
    return EVENTS.event(payload, f"flow-{number}", 1, ts_utc=INSTANT)


class StandIn:
    """An edge as its answers look: says what it is told to, and remembers what came."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.bodies: list[int] = []
        self.admitted: set[str] = set()
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self.whole: Callable[[], web.Response | None] = lambda: None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-ndjson"
        body = [json.loads(line) for line in (await request.text()).split("\n")]
        self.bodies.append(len(body))
        if (said := self.whole()) is not None:
            return said
        items = []
        for event in body:
            name = event["event_id"]
            self.seen.append(name)
            decision = "DUPLICATE" if name in self.admitted else "ADMIT"
            answer = self.answer(event) or {"decision": decision, "status": 202, "event_id": name}
            if answer["status"] == 202:
                self.admitted.add(name)
            items.append(answer)
        return web.json_response({"items": items})


@asynccontextmanager
async def running(edge: StandIn) -> AsyncIterator[StandIn]:
    app = web.Application(client_max_size=2**21)
    app.router.add_post("/v1/ingest/push", edge.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    edge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield edge
    finally:
        await runner.cleanup()


def test_an_envelope_of_the_builder_is_lawful_and_the_same_event_whenever_it_is_built() -> None:
    one, two = traffic(1), traffic(1)
    judged = inspect(one, RUN)
    assert isinstance(judged, Candidate), judged
    assert json.loads(one)["event_id"] == json.loads(two)["event_id"] != json.loads(traffic(2))["event_id"]


def test_what_the_edge_would_refuse_is_refused_where_it_is_built() -> None:
    payload = TrafficEvent("flow", 1, TrafficKind.AUTH_REQUEST, INSTANT, -1, "EUR")
    with pytest.raises(ValueError, match="amount_minor"):
        EVENTS.event(payload, "flow", 1, ts_utc=INSTANT)
    with pytest.raises(ValueError, match="ts_utc"):
        EVENTS.event(TrafficEvent("flow", 1, TrafficKind.AUTH_REQUEST, INSTANT, 1, "EUR"), "flow", 1, ts_utc="today")
    with pytest.raises(ValueError, match="event_id"):
        EVENTS.event(TrafficEvent("flow", 1, TrafficKind.AUTH_REQUEST, INSTANT, 1, "EUR"), ts_utc=INSTANT)


async def test_events_go_in_arrays_and_each_is_answered(tmp_path: Path) -> None:
    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        await client.send(*(traffic(number) for number in range(1200)))
        await client.flush(10)
        assert (client.counts.admitted, client.counts.refused, client.unanswered) == (1200, 0, 0)
        assert sorted(edge.bodies) == [200, 500, 500]
        assert len(edge.seen) == len(edge.admitted) == 1200


async def test_what_is_undecided_goes_again_with_the_same_id_after_the_time_it_was_told(tmp_path: Path) -> None:
    waits = iter([{"decision": "RETRY", "status": 503, "retry_after_s": 0}, {"decision": "RETRY", "status": 429, "retry_after_s": 0}])
    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        edge.answer = lambda event: next(waits, None) if event["payload"]["flow_id"] == "flow-3" else None
        await client.send(*(traffic(number) for number in range(5)))
        await client.flush(10)
        name = json.loads(traffic(3))["event_id"]
        assert edge.seen.count(name) == 3
        assert len(edge.seen) == 7  # only what was undecided went again
        assert client.counts.retries == 2


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_request_that_fails_as_a_whole_loses_nothing(tmp_path: Path, status: int) -> None:
    left = 2

    def whole() -> web.Response | None:
        nonlocal left
        left -= 1
        return None if left < 0 else web.Response(status=status, text="<html>", headers={"Retry-After": "0"})

    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        edge.whole = whole
        await client.send(*(traffic(number) for number in range(3)))
        await client.flush(10)
        assert client.counts.admitted == 3


async def test_a_page_that_says_success_is_no_answer(tmp_path: Path) -> None:
    left = 1

    def whole() -> web.Response | None:
        nonlocal left
        left -= 1
        return None if left < 0 else web.Response(status=200, text="<html>welcome</html>")

    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        edge.whole = whole
        await client.send(traffic(1))
        await client.flush(10)
        assert (client.counts.admitted, len(edge.admitted)) == (1, 1)


async def test_an_array_that_is_too_long_is_halved(tmp_path: Path) -> None:
    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        edge.whole = lambda: web.Response(status=413) if edge.bodies[-1] > 3 else None
        await client.send(*(traffic(number) for number in range(10)))
        await client.flush(10)
        assert client.counts.admitted == 10


async def test_what_is_refused_for_good_is_kept_with_the_answer(tmp_path: Path) -> None:
    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        edge.answer = lambda _: {"decision": "QUARANTINE", "status": 400, "reason_codes": ["SCHEMA_FAIL"]}
        await client.send(traffic(1))
        await client.flush(10)
        assert client.counts.refused == 1
    [line] = (tmp_path / "refused.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert json.loads(kept["event"])["payload"]["flow_id"] == "flow-1"
    assert kept["answer"]["reason_codes"] == ["SCHEMA_FAIL"]


async def test_an_edge_that_is_away_costs_disk_and_nothing_else(tmp_path: Path) -> None:
    edge = StandIn()
    async with Client("http://127.0.0.1:1", "key", tmp_path) as client:
        await client.send(*(traffic(number) for number in range(700)))
        with pytest.raises(TimeoutError, match="700 events"):
            await client.flush(0.3)
    async with running(edge), Client(edge.url, "key", tmp_path) as client:
        assert client.unanswered == 700
        await client.flush(10)
    assert len(edge.admitted) == 700
    async with running(edge), Client(edge.url, "key", tmp_path) as client:
        assert client.unanswered == 0


PRODUCER = """
import asyncio, sys
from client import Client
from tests.client.test_client import traffic

async def main():
    async with Client(sys.argv[1], "key", sys.argv[2]) as client:
        for start in range(0, 100_000, 20):
            await client.send(*(traffic(number) for number in range(start, start + 20)))
            print(start + 20, flush=True)

asyncio.run(main())
"""


async def test_an_event_with_line_breaks_is_one_line_and_a_blank_one_is_refused_at_once(tmp_path: Path) -> None:
    spread = json.dumps(json.loads(traffic(1)), indent=2).encode()
    async with running(StandIn()) as edge, Client(edge.url, "key", tmp_path) as client:
        await client.send(spread, traffic(2))
        await client.flush(10)
        assert client.counts.admitted == 2
        for blank in (b"", b" \n"):
            with pytest.raises(ValueError, match="blank"):
                await client.send(traffic(3), blank)
        assert client.unanswered == 0


async def test_kill_9_of_the_producer_loses_nothing_that_it_had_sent(tmp_path: Path) -> None:
    async with running(StandIn()) as edge:
        promised = 0
        for kill in range(3):
            environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
            producer = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PRODUCER, edge.url, str(tmp_path), env=environment, stdout=subprocess.PIPE
            )
            assert producer.stdout is not None
            wanted, deadline = 200 + 300 * kill, Deadline(60)
            while (line := await producer.stdout.readline()) and int(line) < wanted:
                deadline.check("the producer to send")
            producer.send_signal(signal.SIGKILL)
            rest = (await producer.stdout.read()).split()
            await producer.wait()
            promised = max(promised, int(line or 0), *(int(number) for number in rest))
        async with Client(edge.url, "key", tmp_path) as client:
            await client.flush(30)
        expected = {json.loads(traffic(number))["event_id"] for number in range(promised)}
        assert expected <= edge.admitted
        assert promised >= 800

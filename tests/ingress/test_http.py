"""The edge behind real HTTP, as a process of its own (domain.md 2.10)."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ingress.edge import Edge
from tests.ingress.http import EdgeProcess
from tests.ingress.rig import Site, event_of, traffic
from tests.ingress.test_parts import TRACE


async def test_the_answers_over_http(site: Site, tmp_path: Path) -> None:
    async with EdgeProcess(site, tmp_path) as edge:
        event = traffic()
        first = await edge.push(event, {"traceparent": TRACE})
        assert (first.status, first.decision) == (202, "ADMIT")
        assert first.body["correlation_echo"]["traceparent"][3:35] == TRACE[3:35]
        assert (await edge.push(event)).decision == "DUPLICATE"
        refused = await edge.push(event | {"colour": "red"})
        assert (refused.status, refused.headers["content-type"]) == (400, "application/problem+json")
        assert refused.body["field"] == "colour"
        assert (await edge.push(b'{"a":"\xff"}')).reasons == ["ENVELOPE_INVALID", "MALFORMED_JSON"]
        assert (await edge.push(event, {"X-IG-Api-Key": "wrong"})).status == 401
        assert (await edge.push(b" " * (2**20 + 1))).status == 413
        assert (await edge.request("GET", "/v1/ingest/push")).status == 405
        assert (await edge.request("POST", "/other")).status == 404
        health = await edge.request("GET", "/v1/ops/health")
        assert (health.status, health.body["state"]) == (200, "GREEN")
        many = await edge.push([traffic() for _ in range(50)])
        assert [item["decision"] for item in many.body["items"]] == ["ADMIT"] * 50
        lines = [json.loads(line) for line in edge.log.splitlines()]
        assert "amount_minor" not in edge.log
        assert [line["event"] for line in lines if line.get("event_id") == event["event_id"]] == ["quarantined"]


async def test_sigterm_answers_what_was_accepted_and_then_ends(site: Site, tmp_path: Path) -> None:
    async with EdgeProcess(site, tmp_path) as edge:
        requests = [asyncio.create_task(edge.push([traffic() for _ in range(20)])) for _ in range(10)]
        await asyncio.sleep(0.1)
        status = await edge.terminate()
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert status == 0
    answered = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert answered
    for answer in answered:
        assert [item["decision"] for item in answer.body["items"]] == ["ADMIT"] * 20


async def test_an_edge_ends_though_a_client_takes_the_first_cancel_for_its_own(site: Site) -> None:
    edge = Edge(site.settings(probe_s=3600))
    probing = asyncio.Event()

    async def closes() -> None:
        probing.set()
        with contextlib.suppress(asyncio.CancelledError):  # as aiokafka's clients do while they close
            await asyncio.sleep(3600)

    edge._refusals.sweep = closes  # type: ignore[method-assign]  # the probe that is under way
    await edge.start(probe=False)
    await probing.wait()
    async with asyncio.timeout(30):
        await edge.stop()


async def test_the_lambda_handler_keeps_its_clients_warm(site: Site) -> None:
    events = [event_of(json.dumps(traffic()).encode()) for _ in range(2)]
    code = (
        "import json, sys\nfrom ingress.handler import handler, _warm\n"
        "for event in json.loads(sys.stdin.read()):\n    print(handler(event, None)['statusCode'], id(_warm.opened.bus._line))\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        env={**os.environ, **site.environment()},
        check=True,
    )
    first, second = done.stdout.split("\n")[:2]
    assert first == second
    assert first.startswith("202 ")


async def test_settings_that_break_the_posture_refuse_to_start_with_every_reason(site: Site) -> None:
    environment = {**os.environ, **site.environment(FP_ENV="dev_full")}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "ingress", "--port", "0"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("FP_IG_KAFKA_SECURITY", "FP_IG_TOPIC_PREFIX", "FP_IG_DYNAMODB_ENDPOINT"))

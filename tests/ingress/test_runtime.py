"""The functions under Lambda's own runtime client, in sandboxes of one invocation at a time, behind the HTTP adapter."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from msgspec.structs import replace

from ingress.edge import Edge
from ingress.row import State, to_item
from testkit.engines import Deadline
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.http import EdgeProcess
from tests.ingress.rig import Site, changed, fresh_row, traffic
from tests.ingress.test_reconciler import candidate_of


@pytest.fixture(scope="module")
async def served(site: Site, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeProcess]:
    limits = {"FP_IG_LEASE_S": "6", "FP_IG_REGION": REGION, "FP_IG_DLQ_URL": cloud.queue()}
    folder: Path = tmp_path_factory.mktemp("runtime")
    async with EdgeProcess(site, folder, "--sandboxes", "2", "--reconcile-every", "0.5", **limits) as process:
        yield process


def sandboxes(served: EdgeProcess, handler: str = "ingress.handler.handler") -> list[int]:
    return [child.pid for child in psutil.Process(served.pid).children() if handler in child.cmdline()]


async def test_requests_are_answered_as_in_process(site: Site, served: EdgeProcess) -> None:
    event = traffic()
    # The first requests find cold sandboxes, which on a busy machine connect in more than a request waits for.
    assert [(await served.settled(event)).decision for _ in range(2)] == ["ADMIT", "DUPLICATE"]
    mismatch = await served.push(changed(event))
    assert (mismatch.status, mismatch.reasons) == (400, ["PAYLOAD_HASH_MISMATCH"])
    assert mismatch.headers["content-type"].startswith("application/problem+json")
    assert (await served.push(b"\xff\xfe no json")).reasons == ["ENVELOPE_INVALID", "MALFORMED_JSON"]
    assert (await served.push(event, {"X-IG-Api-Key": "wrong"})).status == 401
    health = await served.request("GET", "/v1/ops/health")
    assert (health.status, health.body["service"]) == (200, "ingress")
    array = await served.push([traffic() for _ in range(50)])
    assert {item["decision"] for item in array.body["items"]} <= {"ADMIT", "RETRY"}
    assert len(await site.of_event(event["event_id"])) == 1


async def test_requests_at_once_are_spread_over_sandboxes_and_wait_for_a_free_one(site: Site, served: EdgeProcess) -> None:
    events = [traffic() for _ in range(30)]
    answers = await asyncio.gather(*(served.settled(event) for event in events))
    assert {answer.decision for answer in answers} == {"ADMIT"}
    assert len(sandboxes(served)) == 2


async def test_a_sandbox_that_dies_is_replaced_and_the_event_is_admitted_once(site: Site, served: EdgeProcess) -> None:
    before = sandboxes(served)
    event = traffic()
    os.kill(before[0], signal.SIGKILL)
    answers = await asyncio.gather(*(served.settled(event) for _ in range(4)))
    assert {answer.decision for answer in answers} <= {"ADMIT", "DUPLICATE"}
    deadline = Deadline(30)
    while len(after := sandboxes(served)) < 2 or before[0] in after:
        deadline.check("a new sandbox")
        await asyncio.sleep(0.1)
    assert (await served.settled(event)).decision == "DUPLICATE"
    assert len(await site.of_event(event["event_id"])) == 1


async def test_the_reconciler_runs_on_its_schedule(site: Site, served: EdgeProcess, edge: Edge) -> None:
    event = traffic()
    row = fresh_row(edge, candidate_of(event), time.time() - 60, secrets.token_bytes(8))
    await site.put_row(to_item(replace(row, state=State.PUBLISH_AMBIGUOUS)))
    deadline = Deadline(30)
    while (await site.row(event)).state is not State.RELEASED:
        deadline.check("the row to be released")
        await asyncio.sleep(0.1)
    assert len(sandboxes(served, "ingress.reconciler_handler.handler")) == 1


async def test_sigterm_ends_the_sandboxes(site: Site, tmp_path: Path) -> None:
    async with EdgeProcess(site, tmp_path, "--sandboxes", "1") as process:
        pids = sandboxes(process)
        assert len(pids) == 1
        assert await process.terminate() == 0
        assert not any(psutil.pid_exists(pid) for pid in pids)

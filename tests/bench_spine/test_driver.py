"""The driver keeps its schedule whatever the edge answers, holds second deliveries back, and keeps its books."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web

from testkit.bench.bodies import Body, Injection, read_bodies, write_bodies
from testkit.bench.driver import Driver
from testkit.bench.driving import Driving
from testkit.run.answers import Answers, Place
from testkit.run.platform import Platform
from testkit.workloads.stand_in import served
from testkit.world import Answer, EdgeKind, RunIds, TopicInject, WorldConfig

RUN = RunIds("platform_20260105T000000Z", "a" * 32)
KEY = "good key"


class FakeEdge:
    """Answers as the edge would: every first body of an identity is admitted, unless it is told to be away."""

    def __init__(self, expected: dict[bytes, Body], away_every: int, lost_every: int) -> None:
        self._expected = expected
        self._away_every = away_every
        self._lost_every = lost_every
        self._admitted: set[str] = set()
        self.requests = 0
        self.order: list[tuple[str, str]] = []
        self.sizes: list[int] = []

    async def push(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = await request.read()
        if self._away_every and self.requests % self._away_every == 0:
            return web.json_response({"reason_codes": ["DEPENDENCY_UNAVAILABLE"], "decision": "RETRY"}, status=503)
        if body in self._expected:
            item = self._item(self._expected[body])
            return web.json_response(item, status=item["status"])
        bodies = [self._expected[value] for value in _split(body)]
        self.sizes.append(len(bodies))
        items = [self._item(body) for body in bodies]
        if self._lost_every and self.requests % self._lost_every == 0:
            # Everything is done, and the answer does not say so.
            return web.json_response({"reason_codes": ["PUBLISH_AMBIGUOUS"], "decision": "RETRY"}, status=503)
        return web.json_response({"items": items})

    def _item(self, body: Body) -> dict[str, Any]:
        identity = body.sent.identity
        expected = body.sent.expected
        if identity is not None:
            self.order.append((body.sent.kind, identity.event_id))
        item: dict[str, Any] = {"status": expected.status, "reason_codes": [expected.reason] if expected.reason else []}
        if expected.answer is Answer.ADMITTED and identity is not None:
            ref = {"topic": "t", "partition": 0, "offset": "7"}
            if identity.event_id in self._admitted:
                return item | {"decision": "DUPLICATE", "receipt": {"eb_ref": ref}}
            self._admitted.add(identity.event_id)
            return item | {"decision": "ADMIT", "receipt": {"eb_ref": ref, "decision": "ADMIT"}}
        if expected.answer is Answer.DUPLICATE:
            return item | {"decision": "DUPLICATE", "receipt": {"eb_ref": {"topic": "t", "partition": 0, "offset": "7"}}}
        if expected.answer is Answer.QUARANTINED:
            return item | {"decision": "QUARANTINE", "quarantine_id": f"q{len(self.order)}"}
        return item


def _split(body: bytes) -> list[bytes]:
    """The bodies of an array, as they stand."""
    marker = b'{"traceparent":"'
    parts = body[1:-1].split(b"," + marker)
    return [parts[0], *(marker + part for part in parts[1:])]


class FakeBehind:
    """Takes injections and remembers them."""

    def __init__(self) -> None:
        self.injected = 0
        self.changed: set[str] = set()
        self.steps: list[TopicInject] = []

    async def inject(self, steps: list[tuple[TopicInject, Place]]) -> None:
        self.steps += [step for step, _ in steps]
        self.injected += len(steps)


async def drive(
    tmp_path: Path, away_every: int = 0, lost_every: int = 0
) -> tuple[Driver, FakeEdge, FakeBehind, dict[str, Any], Counter[str]]:
    path, out = tmp_path / "bodies", tmp_path / "out"
    out.mkdir()
    write_bodies(path, WorldConfig(seed=3, size=3000), RUN)
    steps = list(read_bodies(path))
    kinds = Counter(str(step.sent.kind) for step in steps if isinstance(step, Body))
    edge = FakeEdge({step.value: step for step in steps if isinstance(step, Body)}, away_every, lost_every)
    behind = FakeBehind()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/v1/ingest/push", edge.push)
    async with served(app) as url:
        driver = Driver(iter(steps), url, KEY, 50, out, behind)  # type: ignore[arg-type]  # a stand-in for the producer behind the edge
        await driver.phase(20_000, 0.1)
        half = driver.tell()
        await driver.phase(20_000, 10)
        await driver.settle()
        driver.write()
    return driver, edge, behind, half, kinds


async def test_every_body_is_sent_once_answered_and_counted(tmp_path: Path) -> None:
    driver, edge, behind, half, kinds = await drive(tmp_path, away_every=0)
    assert 2000 <= half["valid"] < 2100
    found = json.loads((tmp_path / "out" / "driver.json").read_text())
    assert found["kinds"] == dict(kinds)
    assert found["sent"] == sum(kinds.values()) == sum(found["counts"].values())
    assert (found["counts"]["admitted"], found["retries"], found["surprises"]) == (3000, 0, [])
    assert driver.unanswered == 0
    assert max(edge.sizes) == 50
    assert found["injections_named"] == found["injected"] == behind.injected > 10
    answers = Answers.left_in(tmp_path / "out")
    assert len(answers.admitted) == len(answers.traces) == 3000
    assert len(answers.triggers) == sum(step.sent.is_trigger for step in read_bodies(tmp_path / "bodies") if isinstance(step, Body))


async def test_a_second_delivery_comes_after_the_answer_to_its_original(tmp_path: Path) -> None:
    _, edge, _, _, kinds = await drive(tmp_path, away_every=3)
    found = json.loads((tmp_path / "out" / "driver.json").read_text())
    assert found["retries"] > 100
    assert found["sent"] == sum(kinds.values()) == sum(found["counts"].values())
    assert found["surprises"] == []
    first: dict[str, str] = {}
    for kind, event_id in edge.order:
        first.setdefault(event_id, kind)
    again = {event_id for kind, event_id in edge.order if kind in (EdgeKind.DUPLICATE, EdgeKind.CHANGED_PAYLOAD)}
    assert len(again) > 20
    assert {first[event_id] for event_id in again} == {EdgeKind.VALID}


async def test_what_was_admitted_by_a_delivery_whose_answer_was_lost_is_admitted(tmp_path: Path) -> None:
    await drive(tmp_path, lost_every=2)
    found = json.loads((tmp_path / "out" / "driver.json").read_text())
    assert found["retries"] > 1000
    assert found["counts"]["admitted"] == 3000
    assert [surprise for surprise in found["surprises"] if surprise[0] == EdgeKind.VALID] == []


def test_the_file_is_the_world_in_its_order(tmp_path: Path) -> None:
    mix = write_bodies(tmp_path / "bodies", WorldConfig(seed=3, size=2000), RUN)
    steps = list(read_bodies(tmp_path / "bodies"))
    assert mix.steps == len(steps)
    assert mix.valid == sum(isinstance(step, Body) and step.is_valid for step in steps) == 2000
    assert 18 < mix.triggers_per_100 < 20
    assert sum(isinstance(step, Injection) for step in steps) == sum(count for kind, count in mix.kinds.items() if kind.startswith("topic"))


async def test_a_phase_that_is_hopeless_from_its_beginning_ends_at_once(tmp_path: Path) -> None:
    driving = Driving(cast(Platform, SimpleNamespace(folder=tmp_path)), tmp_path / "bodies", 100)
    async with asyncio.timeout(5):
        assert not await driving.phase(1000.0, 60.0, lambda: True)

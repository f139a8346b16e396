"""A service on a real store, without a broker: its routes, its commands, and its records by the law's own transaction."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from fastapi import FastAPI

from laws.catalogue import EventType
from laws.headers import Provenance
from spine.commands import CommandDoor
from spine.consumers import Consumers
from spine.contention import Contention
from spine.emission import Emitter
from spine.inputs import Decoder, Source
from spine.lanes import LaneSpec, group_topics, lane_specs
from spine.outcome import Applied, Part
from spine.ownership import Ownership
from spine.process import bundle_id
from spine.runtime import Runtime
from spine.scheduled import Scheduled
from spine.service import Service
from spine.store import open_pool, provenance_number
from spine.surface import build_app
from spine.telemetry import Telemetry
from spine.together import Together
from spine.tokens import issue
from spine.transaction import Law
from testkit.engines import EngineSet
from testkit.harness import Site, new_site
from tests.services.bench import TOPIC_ID, source_of


class Answered(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any


class Surface:
    """One service; `app` is what its worker serves."""

    def __init__(self, site: Site, runtime: Runtime) -> None:
        self.site = site
        self.runtime = runtime
        self.app: FastAPI = build_app(runtime, CommandDoor(runtime), dict, list)
        self._offsets: dict[tuple[str, int], int] = {}

    async def get(self, path: str, principal: str | None = "HUMAN::analyst-03") -> Answered:
        """GET as a principal; None sends no credential."""
        return await self._call("GET", path, principal, b"")

    async def post(self, path: str, body: Any, principal: str | None) -> Answered:
        """POST a JSON body as a principal; None sends no credential."""
        return await self._call("POST", path, principal, json.dumps(body).encode())

    async def feed(self, *records: tuple[EventType, str, dict[str, Any]]) -> Applied:
        """Apply records of one partition in one transaction."""
        sources = [self._next(source_of(*record)) for record in records]
        spec = self._home(sources)
        decoder = self.runtime.decoders[spec.group.name]
        async with self.runtime.pool.acquire() as connection:
            (applied,) = await self.runtime.law.apply(connection, [Part(spec, None, [decoder.record(source) for source in sources])])
        assert applied is not None
        return applied

    def _next(self, source: Source) -> Source:
        place = (source.topic, source.partition)
        offset = self._offsets.get(place, 0)
        self._offsets[place] = offset + 1
        return msgspec.structs.replace(source, offset=offset)

    def _home(self, sources: Sequence[Source]) -> LaneSpec:
        ((topic, partition),) = {(source.topic, source.partition) for source in sources}
        (spec,) = (
            spec
            for spec in lane_specs(self.runtime.service)
            if spec.home == partition and topic in [found.name for found in group_topics(spec.group)]
        )
        return spec

    async def _call(self, method: str, path: str, principal: str | None, body: bytes) -> Answered:
        headers = [(b"content-length", str(len(body)).encode())]
        if principal is not None:
            headers.append((b"authorization", f"Bearer {issue(self.site.token_secret, principal)}".encode()))
        return await call(self.app, method, path, headers, body)


async def call(app: FastAPI, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answered:
    """One request straight into an ASGI application."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    text = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Answered(status, json.loads(text) if text else None)


@contextlib.asynccontextmanager
async def surface_of(engines: EngineSet, build: Any) -> AsyncIterator[Surface]:
    """A service's surface on a database of its own, with one open run."""
    site = await new_site(engines.endpoints)
    site.passwords["none"] = ""
    service: Service = build(site.settings("none"))
    await site.install(service)
    settings = site.settings(service.name)
    pool = await open_pool(settings, service.name)
    provenance = Provenance(service.policy_rev, bundle_id(service), settings.config_digest(), settings.release_id)
    decoders = {group.name: Decoder(group) for group in service.groups}
    tasks = {task.name: task for group in service.groups for task in group.tasks}
    emitter = Emitter(service.name, service.runtime_lane, settings.phase_id, provenance)
    law = Law(service.name, emitter, provenance, await provenance_number(pool, provenance), decoders, tasks)
    telemetry = Telemetry(settings, service.name, "test")
    contention = Contention()
    runtime = Runtime(
        service=service,
        settings=settings,
        worker_id="test",
        pool=pool,
        producer=cast("Any", None),
        watch=cast("Any", None),
        bus_options={},
        consumers=Consumers({}, ()),
        law=law,
        decoders=decoders,
        scheduled={group.name: Scheduled(group, decoders[group.name]) for group in service.groups},
        ownership=Ownership(pool, "test", "", f"fp_{service.name}", settings.timeouts.lease),
        telemetry=telemetry,
        together=Together(law, pool, 1, settings.batch_max, contention),
        contention=contention,
        task_slots=asyncio.Semaphore(1),
    )
    async with site.store(service.name) as operator:
        for spec in lane_specs(service):
            for topic in group_topics(spec.group):
                await operator.execute(
                    "INSERT INTO lane_position VALUES ($1, $2, $3, 'cluster', $4, 0, 0)", topic.name, spec.home, spec.lane, TOPIC_ID
                )
    try:
        yield Surface(site, runtime)
    finally:
        if service.cleanup is not None:
            await service.cleanup()
        await pool.close()
        telemetry.close()

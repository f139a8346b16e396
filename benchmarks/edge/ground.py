"""A site of the edge for one measurement: topics and tables of its own, the edge as a process, and a look at what it appended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.edge.producer import Plan, Told
from ingress.tables import ensure_tables
from laws.topics import TOPICS, TRAFFIC
from spine.deadline import Deadline
from spine.provision import apply
from testkit.edge_site import edge_environment, edge_ready
from testkit.engines import EngineSet
from testkit.harness import Process, free_port, module_argv

API_KEY = secrets.token_hex(16)

_START_S = 30.0
# It answers what it has accepted within its request timeout (30 s).
_END_S = 40.0


class Ground:
    """Where edges are measured."""

    def __init__(self, engines: EngineSet, folder: Path) -> None:
        self.engines = engines
        self._name = f"edge{secrets.token_hex(4)}"
        self._folder = folder

    async def make(self) -> None:
        """Topics and tables."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "local")  # the emulator takes any credentials, and wants some
        found = self.engines.endpoints
        await apply({"bootstrap_servers": found.kafka_bootstrap}, TOPICS, f"{self._name}.")
        await ensure_tables(found.dynamodb_endpoint, "local", f"{self._name}-idempotency", f"{self._name}-quarantine")

    @contextlib.asynccontextmanager
    async def edge(self, table: str, *, runner: str | None = None, profile: Path | None = None) -> AsyncIterator[Process]:
        """The edge as `python -m ingress` runs it, with its rows in `table` (memory or dynamodb)."""
        port = free_port()
        argv = [*module_argv("ingress", runner), "--port", str(port)]
        environment = self._environment(table) | ({"FP_PROFILE_OUT": str(profile)} if profile is not None else {})
        process = Process("ingress", argv, environment, port, self._folder / f"edge-{port}.log")
        process.start()
        try:
            await edge_ready(process, Deadline(_START_S))
            yield process
        finally:
            process.terminate()
            try:
                await process.ended(Deadline(_END_S))
            finally:
                if process.alive:
                    process.kill()

    def _environment(self, table: str) -> dict[str, str]:
        return edge_environment(self.engines.endpoints, self._name, hashlib.sha256(API_KEY.encode()).hexdigest()) | {
            "FP_IG_TABLE": table,
            # Nothing holds the producer back: the rate is the measurement's own.
            "FP_IG_RATE_PROFILE": "measured",
        }

    async def appended(self) -> int:
        """Records on the traffic topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.engines.endpoints.kafka_bootstrap)
        await consumer.start()
        try:
            places = [TopicPartition(f"{self._name}.{TRAFFIC.name}", partition) for partition in range(TRAFFIC.partitions)]
            return sum((await consumer.end_offsets(places)).values())
        finally:
            await consumer.stop()


class Producer:
    """The producer's process: ready when it is entered, `run` lets it send."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Producer:
        argv = [sys.executable, "-m", "benchmarks.edge.producer", msgspec.json.encode(self._plan).decode()]
        pipe = asyncio.subprocess.PIPE
        # Its answer is one line with a figure a request.
        self._process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=2**24)
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        return self

    async def run(self) -> Told:
        """What it saw. Raises RuntimeError where it ended without a word."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"go\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the producer ended with {await self._process.wait()}")
        return msgspec.json.decode(line, type=Told)

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

"""The edge as a process of its own, and a producer that speaks HTTP to it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp

from testkit.engines import Deadline
from tests.ingress.rig import KEY, Answered, Site

START_S = 30.0


class EdgeProcess:
    """`python -m ingress` on a site."""

    def __init__(self, site: Site, folder: Path, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._environment = {**os.environ, **site.environment(**environment)}
        self._log = folder / "edge.log"
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.session = aiohttp.ClientSession()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text()

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ingress",
                "--port",
                "0",
                *self._arguments,
                env=self._environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            line = await self._process.stdout.readline()
        assert line, self.log
        self.port = json.loads(line)["port"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()

    async def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answered:
        """One request."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, data=body, headers={"X-IG-Api-Key": KEY} | (headers or {})) as response:
            return Answered(
                {
                    "statusCode": response.status,
                    "headers": {name.lower(): value for name, value in response.headers.items()},
                    "body": await response.read(),
                }
            )

    async def push(self, body: Any, headers: dict[str, str] | None = None) -> Answered:
        """Pushes a value, or bytes as they stand."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", "/v1/ingest/push", raw, headers)

    async def settled(self, body: Any) -> Answered:
        """Pushes again while the answer is RETRY."""
        deadline = Deadline(20)
        while (answered := await self.push(body)).decision == "RETRY":
            deadline.check(f"a decision instead of {answered.reasons}")
            await asyncio.sleep(0.1)
        return answered

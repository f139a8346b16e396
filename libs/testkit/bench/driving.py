"""The driver's process as its parent sees it: phases go in, what it says of itself comes out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spine.deadline import Deadline
from testkit.harness import die_with_parent
from testkit.run.platform import Platform

# A driver waits for its last answers for three minutes.
_END_SECONDS = 300.0
# A driver that says nothing for so long does not run any more: it says something every second.
_SILENCE_SECONDS = 60.0
# What a phase is cut into: after each of them it may end early.
_SLICE_SECONDS = 10.0


class Driving:
    """A driver under way."""

    def __init__(self, platform: Platform, bodies: Path, array: int) -> None:
        self._platform = platform
        self._argv = [sys.executable, "-m", "testkit.bench.driver", "--bodies", str(bodies), "--array", str(array)]
        self.folder = platform.folder / "driver"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._over = 0
        self.told: list[dict[str, Any]] = []
        """What it said, once a second."""

    @property
    def pid(self) -> int:
        """Raises RuntimeError for a driver that is not started."""
        return self._running().pid

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the driver is not started")
        return self._process

    async def start(self) -> None:
        """Start it; it sends nothing before its first phase."""
        self.folder.mkdir()
        site = self._platform.site
        environment = {
            **os.environ,
            "FP_IG_API_KEY": self._platform.api_key,
            "FP_BENCH_KAFKA": site.endpoints.kafka_bootstrap,
            "FP_BENCH_PREFIX": site.prefix,
        }
        with (self.folder / "driver.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                "--url",
                self._platform.url("ingress"),
                "--out",
                str(self.folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment,
                preexec_fn=die_with_parent,
            )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        out = self._running().stdout
        if out is None:
            raise RuntimeError("the driver has no output")
        while line := await out.readline():
            said = json.loads(line)
            self.told.append(said)
            self._over += "phase_over" in said

    async def phase(self, rate: float, seconds: float, hopeless: Callable[[], bool] = lambda: False) -> bool:
        """Send at a rate for some seconds, or until it is `hopeless`; whether all of it was sent. Returns when that is over.

        The driver is told in slices, one ahead, so that it never waits for the next. Raises RuntimeError where it ends first.
        """
        slices = max(1, round(seconds / _SLICE_SECONDS))
        begun = self._over
        told = 0
        deadline = Deadline(seconds * 2 + _SILENCE_SECONDS)
        while self._over < begun + told or told < min(1, slices):
            if told < slices and self._over >= begun + told - 1:
                if hopeless():
                    slices = told
                else:
                    await self._tell(rate, seconds / slices)
                    told += 1
                continue
            self._check()
            deadline.check(f"the driver to send {rate:g}/s for {seconds:g} s")
            await asyncio.sleep(0.05)
        return slices == max(1, round(seconds / _SLICE_SECONDS))

    async def _tell(self, rate: float, seconds: float) -> None:
        entering = self._running().stdin
        if entering is None:
            raise RuntimeError("the driver has no input")
        entering.write(f"{rate} {seconds}\n".encode())
        await entering.drain()

    def _check(self) -> None:
        if self._running().returncode is not None:
            log = (self.folder / "driver.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the driver ended with {self._running().returncode}:\n{log}")

    async def finish(self) -> dict[str, Any]:
        """No more phases: returns what the driver found once everything has its final answer."""
        process = self._running()
        if process.stdin is not None:
            process.stdin.close()
        async with asyncio.timeout(_END_SECONDS):
            code = await process.wait()
        if code != 0:
            self._check()
        if self._reading is not None:
            await self._reading
        found: dict[str, Any] = json.loads((self.folder / "driver.json").read_text(encoding="utf-8"))
        return found

    async def stop(self) -> None:
        """End it, wherever it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

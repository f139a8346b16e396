"""Workers out of the fork server, as their user sees them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from spine.deadline import Deadline
from testkit.chaos.fork_server import Order, Told
from testkit.harness import Site, free_port


@dataclass
class Forked:
    """One worker process."""

    number: int
    port: int
    log: Path
    server: ForkServer
    pid: int = 0
    code: int | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self.ended.is_set()

    def send(self, number: signal.Signals) -> None:
        """Any signal; nothing happens to one that has ended."""
        self.server.order(Order(self.number, signal=number))

    async def gone(self, deadline: Deadline) -> int:
        """Its exit code once it has ended (negative for a signal). Raises DeadlineExceededError."""
        await within(self.ended, deadline, f"worker {self.number} ({self.log.name}) to end")
        return self.code if self.code is not None else 0

    async def ready(self, deadline: Deadline) -> None:
        """Waits for /readyz. Raises RuntimeError when it ended first, with the end of its log."""
        async with aiohttp.ClientSession() as session:
            while True:
                deadline.check(f"worker {self.number} to be ready")
                if not self.alive:
                    raise RuntimeError(f"worker {self.number} ended with {self.code}:\n{self.log.read_text(errors='replace')[-2000:]}")
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    url = f"http://127.0.0.1:{self.port}/readyz"
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.03)


class ForkServer:
    """One server for a whole run; `start` it in the main thread, since it ends with the thread that made it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._workers: dict[int, Forked] = {}
        self._count = 0

    async def start(self) -> None:
        """Start the server process."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  our own interpreter and module, before anything runs
                [sys.executable, "-m", "testkit.chaos.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # ^C is for the run, which ends its workers in order
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._listener = asyncio.create_task(self._listen(reader))

    async def close(self) -> None:
        """End the server and every worker that is left."""
        if self._writer is not None:
            self._writer.close()
        if self._listener is not None:
            await self._listener
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    def worker(self, site: Site, service: str, module: str, paths: tuple[Path, ...], folder: Path, environment: dict[str, str]) -> Forked:
        """Start a worker of `module`'s `build` on a site."""
        self._count += 1
        port = free_port()
        worker = Forked(self._count, port, folder / f"{service}-{self._count}.log", self)
        self._workers[worker.number] = worker
        given = {**site.env(service, port), **environment}
        self.order(Order(worker.number, module, tuple(map(str, paths)), given, str(worker.log)))
        return worker

    def order(self, order: Order) -> None:
        """Hand an order to the server."""
        if self._writer is None:
            raise RuntimeError("the fork server is not started")
        self._writer.write(msgspec.json.encode(order) + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            told = msgspec.json.decode(line, type=Told)
            worker = self._workers[told.number]
            if told.what == "started":
                worker.pid = told.value
                worker.started.set()
            elif told.what == "stopped":
                worker.stopped.set()
            else:
                worker.code = told.value
                worker.ended.set()
        for worker in self._workers.values():
            if worker.alive:  # the server is gone, and its workers with it
                worker.code = -signal.SIGKILL
                worker.ended.set()


async def within(event: asyncio.Event, deadline: Deadline, what: str) -> None:
    """Waits for an event. Raises DeadlineExceededError naming `what`."""
    try:
        async with asyncio.timeout(deadline.left):
            await event.wait()
    except TimeoutError:
        deadline.check(what)
        raise


def exit_word(code: int) -> str:
    """An exit code in words."""
    return f"code {code}" if code >= 0 else signal.Signals(-code).name
